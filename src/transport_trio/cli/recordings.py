"""`transport-trio recordings`: what is recorded of a session's call, and what there is of it afterwards."""

from __future__ import annotations

from typing import Any

import click

from transport_trio.cli.captures import SESSION, body_of, line, path_of, show_all, show_link
from transport_trio.cli.client import Call
from transport_trio.cli.lines import count
from transport_trio.cli.participants import JsonObject
from transport_trio.cli.sessions import asked, json_option, print_json
from transport_trio.cli.target import Target, service_options

TYPES = ("cloud", "cloud-audio-only", "raw-tracks")


@click.group(
    epilog=f"""\b
    Examples:
      transport-trio recordings start {SESSION} --max-duration-s 3600
      transport-trio recordings list {SESSION}
    """
)
def recordings() -> None:
    """Record a session's call; see, fetch and delete what there is of it."""


@recordings.command(
    epilog=f"""\b
    Examples:
      transport-trio recordings start {SESSION}
      transport-trio recordings start {SESSION} --options '{{"layout": {{"preset": "active-participant"}}}}'
    """
)
@service_options
@click.argument("session_id")
@click.option("--type", "type_", type=click.Choice(TYPES), help="What is recorded.  [default: cloud]")
@click.option("--max-duration-s", type=int, metavar="SECONDS", help="When it stops by itself.")
@click.option("--min-idle-timeout-s", type=int, metavar="SECONDS", help="How long nothing may happen in the call.")
@click.option("--additional", is_flag=True, help="Also where one runs already.")
@click.option("--options", type=JsonObject(), help="Further fields of the request, as a JSON object.")
@json_option
def start(
    target: Target,
    session_id: str,
    type_: str | None,
    max_duration_s: int | None,
    min_idle_timeout_s: int | None,
    additional: bool,
    options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Start a recording."""
    given = {"type": type_, "max_duration_s": max_duration_s, "min_idle_timeout_s": min_idle_timeout_s}
    body = body_of(options, **given, additional=additional or None)
    _show(asked(target, Call(method="POST", path=_path(session_id), body=body), as_json).body, as_json)


@recordings.command(
    name="list",
    epilog=f"""\b
    Example:
      transport-trio recordings list {SESSION}
    """,
)
@service_options
@click.argument("session_id")
@json_option
def list_(target: Target, session_id: str, as_json: bool) -> None:
    """List a session's recordings, the oldest first."""
    answer = asked(target, Call(method="GET", path=_path(session_id)), as_json)
    if as_json:
        print_json(answer.body)
        return
    for recording in answer.body.get("recordings") or []:
        click.echo(_line(recording))
    click.echo(count(answer.body.get("total"), "recording"))


@recordings.command(
    epilog=f"""\b
    Example:
      transport-trio recordings show {SESSION} RECORDING_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("recording_id")
@json_option
def show(target: Target, session_id: str, recording_id: str, as_json: bool) -> None:
    """Show all that is known of a recording."""
    show_all(target, _path(session_id, recording_id), as_json)


@recordings.command(
    epilog=f"""\b
    Example:
      transport-trio recordings update {SESSION} RECORDING_ID --options '{{"fps": 15}}'
    """
)
@service_options
@click.argument("session_id")
@click.argument("recording_id")
@click.option("--max-duration-s", type=int, metavar="SECONDS", help="When it stops by itself.")
@click.option("--min-idle-timeout-s", type=int, metavar="SECONDS", help="How long nothing may happen in the call.")
@click.option("--options", type=JsonObject(), help="Further fields of the request, as a JSON object.")
@json_option
def update(
    target: Target,
    session_id: str,
    recording_id: str,
    max_duration_s: int | None,
    min_idle_timeout_s: int | None,
    options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Change how a recording goes on."""
    body = body_of(options, max_duration_s=max_duration_s, min_idle_timeout_s=min_idle_timeout_s)
    if not body:
        raise click.UsageError("say what changes, with --options for instance")
    call = Call(method="POST", path=f"{_path(session_id, recording_id)}/update", body=body)
    _show(asked(target, call, as_json).body, as_json)


@recordings.command(
    epilog=f"""\b
    Example:
      transport-trio recordings stop {SESSION} RECORDING_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("recording_id")
@json_option
def stop(target: Target, session_id: str, recording_id: str, as_json: bool) -> None:
    """Stop a recording; it is ready some time later."""
    path = f"{_path(session_id, recording_id)}/stop"
    _show(asked(target, Call(method="POST", path=path, body={}), as_json).body, as_json)


@recordings.command(
    epilog=f"""\b
    Example:
      curl -o call.mp4 "$(transport-trio recordings link {SESSION} RECORDING_ID)"
    """
)
@service_options
@click.argument("session_id")
@click.argument("recording_id")
@click.option("--valid-for-s", type=int, metavar="SECONDS", help="How long the link is good.")
@json_option
def link(target: Target, session_id: str, recording_id: str, valid_for_s: int | None, as_json: bool) -> None:
    """Print a link by which anybody can fetch a recording that is ready."""
    params = {} if valid_for_s is None else {"valid_for_s": str(valid_for_s)}
    show_link(target, _path(session_id, recording_id), as_json, params)


@recordings.command(
    epilog=f"""\b
    Example:
      transport-trio recordings delete {SESSION} RECORDING_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("recording_id")
@json_option
def delete(target: Target, session_id: str, recording_id: str, as_json: bool) -> None:
    """Delete a recording at the provider, for good."""
    call = Call(method="DELETE", path=_path(session_id, recording_id))
    _show(asked(target, call, as_json).body, as_json)


def _path(session_id: str, recording_id: str | None = None) -> str:
    return path_of(session_id, "recordings", recording_id)


def _line(recording: dict[str, Any]) -> str:
    return line(recording, "recording_id")


def _show(recording: dict[str, Any], as_json: bool) -> None:
    print_json(recording) if as_json else click.echo(_line(recording))
