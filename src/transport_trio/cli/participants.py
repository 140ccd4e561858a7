"""`transport-trio participants`: who is in a session's room, and what is done to them."""

from __future__ import annotations

import json
from typing import Any

import click

from transport_trio.cli.client import Call
from transport_trio.cli.lines import plain
from transport_trio.cli.report import SENDABLE, attendance
from transport_trio.cli.sessions import asked, json_option, print_json, session_path
from transport_trio.cli.target import Target, service_options
from transport_trio.models import EVERYBODY


class Sendable(click.ParamType[frozenset[str]]):
    """`all`, `none`, or some of what can be sent, comma-separated."""

    name = "KINDS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[str]:
        if isinstance(value, frozenset):
            return value
        text = str(value).strip().lower()
        kinds = {"all": SENDABLE, "none": ()}.get(text, tuple(text.replace("-", "_").split(",")))
        if not set(kinds) <= set(SENDABLE):
            self.fail(f"give all, none, or some of {','.join(SENDABLE)}", param, ctx)
        return frozenset(kinds)


class JsonObject(click.ParamType[dict[str, Any]]):
    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as exc:
            self.fail(f"this is no JSON: {exc}", param, ctx)
        if not isinstance(found, dict):
            self.fail("a message is a JSON object", param, ctx)
        return found


@click.group(
    epilog="""\b
    Examples:
      transport-trio participants list 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
      transport-trio participants eject 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --user-id u-ada --ban
    """
)
def participants() -> None:
    """See who is in a session's room, put people out, change what they may do, send them messages."""


@participants.command(
    name="list",
    epilog="""\b
    Example:
      transport-trio participants list 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
    """,
)
@service_options
@click.argument("session_id")
@json_option
def list_(target: Target, session_id: str, as_json: bool) -> None:
    """List everybody in the room, with what they may do where that is known, and when that was looked up."""
    answer = asked(target, Call(method="GET", path=session_path(session_id) + "/participants"), as_json)
    if as_json:
        print_json(answer.body)
        return
    for who in answer.body.get("participants") or []:
        click.echo(f"{plain(who.get('id'))}  {attendance(who)}")
    looked = answer.body.get("presence_checked_at") or "never"
    click.echo(f"{plain(answer.body.get('total'))} in the room, as looked up: {plain(looked)}")


@participants.command(
    epilog="""\b
    Examples:
      transport-trio participants eject 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --id PARTICIPANT_ID
      transport-trio participants eject 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 --user-id u-ada --ban
    """
)
@service_options
@click.argument("session_id")
@click.option("--id", "participant_ids", multiple=True, metavar="ID", help="A participant's id; may be repeated.")
@click.option("--user-id", "user_ids", multiple=True, metavar="ID", help="A user id; may be repeated.")
@click.option("--ban", is_flag=True, help="They cannot come back with the same user id.")
@json_option
def eject(
    target: Target,
    session_id: str,
    participant_ids: tuple[str, ...],
    user_ids: tuple[str, ...],
    ban: bool,
    as_json: bool,
) -> None:
    """Put people out of the room."""
    if not participant_ids and not user_ids:
        raise click.UsageError("name somebody with --id or --user-id")
    body = {"participant_ids": list(participant_ids), "user_ids": list(user_ids), "ban": ban}
    answer = asked(target, Call(method="POST", path=session_path(session_id) + "/eject", body=body), as_json)
    if as_json:
        print_json(answer.body)
        return
    ejected = answer.body.get("ejected") or []
    click.echo(f"put out: {', '.join(plain(id_) for id_ in ejected)}" if ejected else "nobody with that id is there")


@participants.command(
    epilog="""\b
    Examples:
      transport-trio participants permit 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 all --send video,screen_video
      transport-trio participants permit 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 PARTICIPANT_ID --admin
    """
)
@service_options
@click.argument("session_id")
@click.argument("participant", metavar="PARTICIPANT_ID|all")
@click.option("--send", type=Sendable(), help=f"What they may send: all, none, or some of {','.join(SENDABLE)}.")
@click.option("--admin/--no-admin", default=None, help="Whether they may do what admins may.")
@json_option
def permit(
    target: Target,
    session_id: str,
    participant: str,
    send: frozenset[str] | None,
    admin: bool | None,
    as_json: bool,
) -> None:
    """Change what somebody in the room may do, or everybody; what is not named stays."""
    if send is None and admin is None:
        raise click.UsageError("say what changes, with --send, --admin or --no-admin")
    permissions = {} if admin is None else {"can_admin": admin}
    if send is not None:
        permissions |= {f"can_send_{kind}": kind in send for kind in SENDABLE}
    body = {"participant_id": _who(participant), "permissions": permissions}
    answer = asked(target, Call(method="POST", path=session_path(session_id) + "/permissions", body=body), as_json)
    print_json(answer.body) if as_json else click.echo("permissions changed")


@participants.command(
    epilog="""\b
    Example:
      transport-trio participants message 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11 '{"say": "hello"}'
    """
)
@service_options
@click.argument("session_id")
@click.argument("data", type=JsonObject())
@click.option("--to", default="all", metavar="PARTICIPANT_ID|all", help="Who gets it.  [default: all]")
@json_option
def message(target: Target, session_id: str, data: dict[str, Any], to: str, as_json: bool) -> None:
    """Send a JSON object to the clients of people in the room."""
    body = {"data": data, "recipient": _who(to)}
    answer = asked(target, Call(method="POST", path=session_path(session_id) + "/messages", body=body), as_json)
    print_json(answer.body) if as_json else click.echo(f"sent {plain(answer.body.get('data_bytes'))} bytes")


def _who(participant: str) -> str:
    return EVERYBODY if participant == "all" else participant
