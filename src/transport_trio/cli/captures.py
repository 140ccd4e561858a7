"""What the commands for recordings, transcripts and live streams share."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from transport_trio.cli.client import Call
from transport_trio.cli.lines import length, plain
from transport_trio.cli.report import captured
from transport_trio.cli.sessions import asked, print_json, session_path
from transport_trio.cli.target import Target

SESSION = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"  # in examples


def path_of(session_id: str, kind: str, capture_id: str | None = None) -> str:
    """Of all, or of one; `kind` as in the path."""
    path = f"{session_path(session_id)}/{kind}"
    return path if capture_id is None else f"{path}/{quote(capture_id, safe='', errors='replace')}"


def body_of(options: dict[str, Any] | None, **given: object) -> dict[str, Any]:
    """The request that `--options` and the options that were given make together."""
    return {**(options or {}), **{name: value for name, value in given.items() if value is not None}}


def show_all(target: Target, path: str, as_json: bool) -> None:
    """Print all that is known of one."""
    answer = asked(target, Call(method="GET", path=path), as_json)
    print_json(answer.body) if as_json else click.echo(captured(answer.body))


def show_link(target: Target, path: str, as_json: bool, params: dict[str, str] | None = None) -> None:
    """Print where one can be fetched."""
    answer = asked(target, Call(method="GET", path=f"{path}/link", params=params or {}), as_json)
    print_json(answer.body) if as_json else click.echo(plain(answer.body.get("download_link")))


def line(recording: dict[str, Any], id_name: str) -> str:
    """One, with what matters of it."""
    parts = []
    if recording.get("started_at"):
        parts.append(f"since {plain(recording['started_at'])}")
    if recording.get("duration_s") is not None:
        parts.append(f"{length(recording['duration_s'])} long")
    if recording.get("error"):
        parts.append(plain(recording["error"]))
    state = f"{plain(recording.get(id_name))}  {plain(recording.get('status')):<12}  {', '.join(parts)}"
    return state.rstrip()
