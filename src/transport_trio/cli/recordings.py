"""`transport-trio recordings`: what is recorded of a session's call, and what there is of it afterwards."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from transport_trio.cli.client import Call
from transport_trio.cli.lines import count, length, plain
from transport_trio.cli.participants import JsonObject
from transport_trio.cli.report import captured
from transport_trio.cli.sessions import asked, json_option, print_json, session_path
from transport_trio.cli.target import Target, service_options

SESSION = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
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
    body = _body(options, **given, additional=additional or None)
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
        click.echo(line(recording))
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
    answer = asked(target, Call(method="GET", path=_path(session_id, recording_id)), as_json)
    print_json(answer.body) if as_json else click.echo(captured(answer.body))


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
    body = _body(options, max_duration_s=max_duration_s, min_idle_timeout_s=min_idle_timeout_s)
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
    call = Call(method="GET", path=f"{_path(session_id, recording_id)}/link", params=params)
    answer = asked(target, call, as_json)
    print_json(answer.body) if as_json else click.echo(plain(answer.body.get("download_link")))


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


def _body(options: dict[str, Any] | None, **given: object) -> dict[str, Any]:
    return {**(options or {}), **{name: value for name, value in given.items() if value is not None}}


def _path(session_id: str, recording_id: str | None = None) -> str:
    path = f"{session_path(session_id)}/recordings"
    return path if recording_id is None else f"{path}/{quote(recording_id, safe='', errors='replace')}"


def _show(recording: dict[str, Any], as_json: bool) -> None:
    print_json(recording) if as_json else click.echo(line(recording))


def line(recording: dict[str, Any], id_name: str = "recording_id") -> str:
    """One recording, or transcript, with what matters of it."""
    parts = []
    if recording.get("started_at"):
        parts.append(f"since {plain(recording['started_at'])}")
    if recording.get("duration_s") is not None:
        parts.append(f"{length(recording['duration_s'])} long")
    if recording.get("error"):
        parts.append(plain(recording["error"]))
    state = f"{plain(recording.get(id_name))}  {plain(recording.get('status')):<12}  {', '.join(parts)}"
    return state.rstrip()
