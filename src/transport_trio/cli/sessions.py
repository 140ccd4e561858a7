"""`transport-trio sessions`: create, list, show, extend and end the sessions of a running service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote

import click

from transport_trio.cli.client import Answer, Call, Refused, ask
from transport_trio.cli.report import created, ended, extended, listing, shown, summed_up
from transport_trio.cli.target import Target, service_options
from transport_trio.models import Privacy, SessionStatus

# Where in the request an option's value goes.
PLACES = {
    "provider": ("provider",),
    "name": ("room_config", "name"),
    "privacy": ("room_config", "privacy"),
    "max_participants": ("room_config", "max_participants"),
    "enable_recording": ("room_config", "enable_recording"),
    "enable_transcription": ("room_config", "enable_transcription"),
    "auto_start_recording": ("room_config", "auto_start_recording"),
    "auto_start_transcription": ("room_config", "auto_start_transcription"),
    "participant_name": ("participant_config", "name"),
    "user_id": ("participant_config", "user_id"),
    "owner": ("participant_config", "is_owner"),
    "session_ttl_s": ("options", "session_ttl_s"),
    "token_ttl_s": ("options", "token_ttl_s"),
    "empty_timeout_s": ("options", "empty_timeout_s"),
    "bot_user_id_prefix": ("options", "bot_user_id_prefix"),
    "events_after_end": ("options", "events_after_end"),
    "max_duration_s": ("options", "max_duration_s"),
}

json_option = click.option("--json", "as_json", is_flag=True, help="The service's answer as JSON, refusals too.")


class IdempotencyKey(click.ParamType[str]):
    """What can stand in the header of that name."""

    name = "KEY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?", str(value)):
            self.fail("give 1 to 255 printable ASCII characters, no blank at either end", param, ctx)
        return str(value)


@click.group(
    epilog="""\b
    Examples:
      transport-trio sessions create
      transport-trio sessions list --status active
    """
)
def sessions() -> None:
    """Create, list, show, extend and end sessions of a running service."""


@sessions.command(
    epilog="""\b
    Examples:
      transport-trio sessions create --participant-name Ada --owner
      transport-trio sessions create --enable-recording --max-participants 4
      transport-trio sessions create --provider daily-eu
      echo '{"room_config": {"enable_chat": false}}' | transport-trio sessions create --body -
    """
)
@service_options
@click.option("--provider", help="Who carries the room.  [default: daily]")
@click.option("--name", help="The room's name; the service chooses one by default.")
@click.option("--public", "privacy", flag_value=Privacy.PUBLIC.value, help="Whoever has the room's address gets in.")
@click.option("--private", "privacy", flag_value=Privacy.PRIVATE.value, help="A meeting token is needed.  [default]")
@click.option("--max-participants", type=int, metavar="NUMBER", help="How many can be in the room at once.")
@click.option("--enable-recording", is_flag=True, help="Its call can be recorded.")
@click.option("--enable-transcription", is_flag=True, help="What is written down of its call is kept.")
@click.option("--auto-start-recording", is_flag=True, help="Have it recorded when the token's bearer comes in.")
@click.option("--auto-start-transcription", is_flag=True, help="Likewise written down; wants --owner.")
@click.option("--participant-name", help="The name that the meeting token carries.")
@click.option("--user-id", help="The user id that the meeting token carries.")
@click.option("--owner", is_flag=True, help="Make the token an owner's.")
@click.option("--session-ttl-s", type=int, metavar="SECONDS", help="How long the session lasts.")
@click.option("--token-ttl-s", type=int, metavar="SECONDS", help="How long the token is valid.")
@click.option("--empty-timeout-s", type=int, metavar="SECONDS", help="End it when nobody has been in it for so long.")
@click.option(
    "--bot-user-id-prefix", metavar="TEXT", help="Whose user id begins so is a bot, and nobody in that sense."
)
@click.option(
    "--max-duration-s",
    type=int,
    metavar="SECONDS",
    help="The longest that it can be extended to; shortens the default of --session-ttl-s.",
)
@click.option("--events-after-end", is_flag=True, help="Tell also what comes to be known behind session_ended.")
@click.option(
    "--body", type=click.File(encoding="utf-8"), help="A request in JSON, - for standard input; the options above win."
)
@click.option(
    "--idempotency-key", type=IdempotencyKey(), help="Repeat the command with the same key: one session, not two."
)
@click.option("--dry-run", is_flag=True, help="Create nothing; show what the provider would be asked.")
@json_option
def create(
    target: Target,
    body: IO[str] | None,
    idempotency_key: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a session; prints the room's address and a meeting token."""
    call = Call(
        method="POST",
        path="/sessions",
        params={"dry_run": "true"} if dry_run else {},
        headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
        body=_request(read_body(body), options),
    )
    answer = asked(target, call, as_json)
    if as_json or dry_run:
        print_json(answer.body)
    else:
        click.echo(created(answer.body, replayed=answer.headers.get("idempotency-replayed") == "true"))


@sessions.command(
    name="list",
    epilog="""\b
    Example:
      transport-trio sessions list --status active --limit 20
    """,
)
@service_options
@click.option(
    "--status", type=click.Choice(list(SessionStatus), case_sensitive=False), help="Only sessions in this status."
)
@click.option("--provider", help="Only sessions at this provider.")
@click.option("--limit", type=click.IntRange(1, 500), help="At most so many.  [default: 100]")
@click.option("--cursor", help="Go on where an earlier list stopped.")
@json_option
def list_(target: Target, as_json: bool, **filters: Any) -> None:
    """List sessions, the newest first."""
    params = {name: str(value) for name, value in filters.items() if value is not None}
    answer = asked(target, Call(method="GET", path="/sessions", params=params), as_json)
    print_json(answer.body) if as_json else click.echo(listing(answer.body))


@sessions.command(
    epilog="""\b
    Example:
      transport-trio sessions show 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
    """
)
@service_options
@click.argument("session_id")
@json_option
def show(target: Target, session_id: str, as_json: bool) -> None:
    """Show one session and who is in its room."""
    answer = asked(target, Call(method="GET", path=session_path(session_id)), as_json)
    print_json(answer.body) if as_json else click.echo(shown(answer.body))


@sessions.command(
    epilog="""\b
    Example:
      transport-trio sessions end 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
    """
)
@service_options
@click.argument("session_id")
@json_option
def end(target: Target, session_id: str, as_json: bool) -> None:
    """End a session and have its room deleted; does nothing to one that has ended."""
    answer = asked(target, Call(method="DELETE", path=session_path(session_id)), as_json)
    print_json(answer.body) if as_json else click.echo(ended(answer.body))


@sessions.command(
    epilog="""\b
    Examples:
      transport-trio sessions extend 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --session-ttl-s 3600
      transport-trio sessions extend 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --until 2026-01-01T17:00:00Z
    """
)
@service_options
@click.argument("session_id")
@click.option("--session-ttl-s", type=int, metavar="SECONDS", help="How long it shall last from now.")
@click.option("--until", metavar="TIME", help="When it shall end, like 2026-01-01T17:00:00Z.")
@click.option("--reissue-tokens", is_flag=True, help="Make new tokens for those who will be put out before.")
@json_option
def extend(
    target: Target, session_id: str, session_ttl_s: int | None, until: str | None, reissue_tokens: bool, as_json: bool
) -> None:
    """Let a session end later, and name those who will be put out at the end that they came in with."""
    if (session_ttl_s is None) == (until is None):
        raise click.UsageError("give one of --session-ttl-s and --until")
    end = {"session_ttl_s": session_ttl_s} if until is None else {"session_expires_at": until}
    body = {**end, "reissue_tokens": reissue_tokens}
    answer = asked(target, Call(method="POST", path=session_path(session_id) + "/extend", body=body), as_json)
    print_json(answer.body) if as_json else click.echo(extended(answer.body))


@sessions.command(
    epilog="""\b
    Example:
      transport-trio sessions summary 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
    """
)
@service_options
@click.argument("session_id")
@json_option
def summary(target: Target, session_id: str, as_json: bool) -> None:
    """Tell who was in a session's room, when and how long: so far, or altogether."""
    answer = asked(target, Call(method="GET", path=session_path(session_id) + "/summary"), as_json)
    print_json(answer.body) if as_json else click.echo(summed_up(answer.body))


def session_path(session_id: str) -> str:
    return "/sessions/" + quote(session_id, safe="", errors="replace")


def asked(target: Target, call: Call, as_json: bool) -> Answer:
    """The service's answer; a refusal is printed as it came when JSON is wanted, and raised."""
    with refusals(as_json):
        return ask(target, call)


@contextmanager
def refusals(as_json: bool) -> Iterator[None]:
    """Prints a refusal as it came when JSON is wanted, and lets it pass."""
    try:
        yield
    except Refused as refusal:
        if as_json and refusal.document is not None:
            print_json(refusal.document)
        raise


def print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))


def read_body(body: IO[str] | None) -> dict[str, Any]:
    if body is None:
        return {}
    try:
        request = json.load(body)
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f"this is no JSON: {exc}", param_hint="--body") from exc
    if not isinstance(request, dict):
        raise click.BadParameter("a request is a JSON object", param_hint="--body")
    return request


def _request(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The request that body and options make together; what neither names is left to the service's defaults."""
    return put_options({"provider": "daily", **body}, options, PLACES)


def put_options(
    request: dict[str, Any], options: Mapping[str, Any], places: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """The request with the options that were given in their places."""
    for name, path in places.items():
        value = options[name]
        if value is None or value is False:
            continue
        place = request
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise click.BadParameter(f"{part} is no object", param_hint="--body")
        place[path[-1]] = value
    return request
