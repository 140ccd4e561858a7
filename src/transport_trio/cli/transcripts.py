"""`transport-trio transcripts`: what is written down of what is said in a session's call."""

from __future__ import annotations

from typing import Any

import click

from transport_trio.cli.captures import SESSION, body_of, line, path_of, show_all, show_link
from transport_trio.cli.client import Call
from transport_trio.cli.lines import count
from transport_trio.cli.participants import JsonObject
from transport_trio.cli.sessions import asked, json_option, print_json, session_path
from transport_trio.cli.target import Target, service_options

UNSTORED = (
    "nothing is kept: the session was made without --enable-transcription; only clients in the call get the words"
)


@click.group(
    epilog=f"""\b
    Examples:
      transport-trio transcripts start {SESSION} --language de
      transport-trio transcripts list {SESSION}
    """
)
def transcripts() -> None:
    """Have what is said in a session's call written down; see, fetch and delete what there is of it."""


@transcripts.command(
    epilog=f"""\b
    Example:
      transport-trio transcripts start {SESSION} --options '{{"punctuate": true}}'
    """
)
@service_options
@click.argument("session_id")
@click.option("--language", metavar="CODE", help="What is spoken.")
@click.option("--additional", is_flag=True, help="Also where one runs already.")
@click.option("--options", type=JsonObject(), help="Further fields of the request, as a JSON object.")
@json_option
def start(
    target: Target,
    session_id: str,
    language: str | None,
    additional: bool,
    options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Start a transcription; what is said is kept where the session was made with --enable-transcription."""
    body = body_of(options, language=language, additional=additional or None)
    call = Call(method="POST", path=session_path(session_id) + "/transcription/start", body=body)
    transcript = asked(target, call, as_json).body
    _show(transcript, as_json)
    if transcript.get("stored") is False and not as_json:
        click.echo(UNSTORED)


@transcripts.command(
    epilog=f"""\b
    Example:
      transport-trio transcripts show {SESSION} TRANSCRIPT_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("transcript_id")
@json_option
def show(target: Target, session_id: str, transcript_id: str, as_json: bool) -> None:
    """Show all that is known of a transcript."""
    show_all(target, _path(session_id, transcript_id), as_json)


@transcripts.command(
    epilog=f"""\b
    Example:
      transport-trio transcripts update {SESSION} --participant-id PARTICIPANT_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("transcript_id", required=False)
@click.option(
    "--participant-id", "who", multiple=True, required=True, metavar="ID", help="Whom it is about; may be repeated."
)
@json_option
def update(target: Target, session_id: str, transcript_id: str | None, who: tuple[str, ...], as_json: bool) -> None:
    """Change whom a transcription is about, by default the latest that runs."""
    body = body_of(None, participant_ids=list(who), transcript_id=transcript_id)
    call = Call(method="POST", path=session_path(session_id) + "/transcription/update", body=body)
    _show(asked(target, call, as_json).body, as_json)


@transcripts.command(
    epilog=f"""\b
    Example:
      transport-trio transcripts stop {SESSION}
    """
)
@service_options
@click.argument("session_id")
@click.argument("transcript_id", required=False)
@json_option
def stop(target: Target, session_id: str, transcript_id: str | None, as_json: bool) -> None:
    """Stop a transcription, by default the latest that runs."""
    body = body_of(None, transcript_id=transcript_id)
    call = Call(method="POST", path=session_path(session_id) + "/transcription/stop", body=body)
    _show(asked(target, call, as_json).body, as_json)


@transcripts.command(
    name="list",
    epilog=f"""\b
    Example:
      transport-trio transcripts list {SESSION}
    """,
)
@service_options
@click.argument("session_id")
@json_option
def list_(target: Target, session_id: str, as_json: bool) -> None:
    """List a session's transcripts, the oldest first."""
    answer = asked(target, Call(method="GET", path=_path(session_id)), as_json)
    if as_json:
        print_json(answer.body)
        return
    for transcript in answer.body.get("transcripts") or []:
        click.echo(line(transcript, "transcript_id"))
    click.echo(count(answer.body.get("total"), "transcript"))


@transcripts.command(
    epilog=f"""\b
    Example:
      curl "$(transport-trio transcripts link {SESSION} TRANSCRIPT_ID)"
    """
)
@service_options
@click.argument("session_id")
@click.argument("transcript_id")
@json_option
def link(target: Target, session_id: str, transcript_id: str, as_json: bool) -> None:
    """Print a link by which anybody can fetch a transcript that is ready."""
    show_link(target, _path(session_id, transcript_id), as_json)


@transcripts.command(
    epilog=f"""\b
    Example:
      transport-trio transcripts delete {SESSION} TRANSCRIPT_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("transcript_id")
@json_option
def delete(target: Target, session_id: str, transcript_id: str, as_json: bool) -> None:
    """Delete a transcript at the provider, for good."""
    call = Call(method="DELETE", path=_path(session_id, transcript_id))
    _show(asked(target, call, as_json).body, as_json)


def _path(session_id: str, transcript_id: str | None = None) -> str:
    return path_of(session_id, "transcripts", transcript_id)


def _show(transcript: dict[str, Any], as_json: bool) -> None:
    print_json(transcript) if as_json else click.echo(line(transcript, "transcript_id"))
