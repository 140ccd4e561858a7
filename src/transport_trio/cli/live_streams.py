"""`transport-trio live-streams`: where a session's call is streamed to."""

from __future__ import annotations

from typing import Any, TextIO

import click

from transport_trio.cli.captures import SESSION, body_of, line, path_of
from transport_trio.cli.client import Call
from transport_trio.cli.lines import count, plain
from transport_trio.cli.participants import JsonObject
from transport_trio.cli.sessions import asked, json_option, print_json
from transport_trio.cli.target import Target, service_options


@click.group(
    name="live-streams",
    epilog=f"""\b
    Examples:
      transport-trio live-streams start {SESSION} --rtmp-urls-file urls.txt
      transport-trio live-streams list {SESSION}
    """,
)
def live_streams() -> None:
    """Stream a session's call to an RTMP server; see which do, stop them."""


@live_streams.command(
    epilog=f"""\b
    Examples:
      echo "$RTMP_URL" | transport-trio live-streams start {SESSION} --rtmp-urls-file -
      transport-trio live-streams start {SESSION} --endpoint youtube --max-duration-s 3600
    """
)
@service_options
@click.argument("session_id")
@click.option(
    "--rtmp-urls-file",
    type=click.File("r"),
    metavar="FILE",
    help="Where to: a file with an address on each line, or - for what comes in.",
)
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME", help="Where to, as named at the provider.")
@click.option("--max-duration-s", type=int, metavar="SECONDS", help="When it stops by itself.")
@click.option("--additional", is_flag=True, help="Also where one runs already.")
@click.option("--options", type=JsonObject(), help="Further fields of the request, as a JSON object.")
@json_option
def start(
    target: Target,
    session_id: str,
    rtmp_urls_file: TextIO | None,
    endpoints: tuple[str, ...],
    max_duration_s: int | None,
    additional: bool,
    options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Start to stream, to the addresses of a file or to endpoints known at the provider."""
    urls = None if rtmp_urls_file is None else [url for text in rtmp_urls_file if (url := text.strip())]
    body = body_of(
        options,
        rtmp_urls=urls,
        endpoints=list(endpoints) or None,
        max_duration_s=max_duration_s,
        additional=additional or None,
    )
    _show(asked(target, Call(method="POST", path=_path(session_id), body=body), as_json).body, as_json)


@live_streams.command(
    name="list",
    epilog=f"""\b
    Example:
      transport-trio live-streams list {SESSION}
    """,
)
@service_options
@click.argument("session_id")
@json_option
def list_(target: Target, session_id: str, as_json: bool) -> None:
    """List a session's live streams, the oldest first."""
    answer = asked(target, Call(method="GET", path=_path(session_id)), as_json)
    if as_json:
        print_json(answer.body)
        return
    for stream in answer.body.get("live_streams") or []:
        click.echo(_line(stream))
    click.echo(count(answer.body.get("total"), "live stream"))


@live_streams.command(
    epilog=f"""\b
    Example:
      transport-trio live-streams stop {SESSION} STREAM_ID
    """
)
@service_options
@click.argument("session_id")
@click.argument("stream_id")
@json_option
def stop(target: Target, session_id: str, stream_id: str, as_json: bool) -> None:
    """Stop a live stream."""
    path = f"{_path(session_id, stream_id)}/stop"
    _show(asked(target, Call(method="POST", path=path, body={}), as_json).body, as_json)


def _path(session_id: str, stream_id: str | None = None) -> str:
    return path_of(session_id, "live-streams", stream_id)


def _show(stream: dict[str, Any], as_json: bool) -> None:
    print_json(stream) if as_json else click.echo(_line(stream))


def _line(stream: dict[str, Any]) -> str:
    destinations = ", ".join(plain(one) for one in stream.get("destinations") or ())
    told = line(stream, "stream_id")
    return f"{told}  to {destinations}" if destinations else told
