"""`transport-trio watch`: the events of a running service, as lines for a person or as JSON for a pipe."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import click
import trio

from transport_trio.cli.entry import INTERRUPTED
from transport_trio.cli.follow import Follower
from transport_trio.cli.lines import Lines
from transport_trio.cli.position import Position
from transport_trio.cli.problems import ServiceFailure
from transport_trio.cli.target import Target, service_options
from transport_trio.events import EventType

PIPE_CHECK_S = 1.0


class EventTypes(click.ParamType[str]):
    """A comma-separated list of event types."""

    name = "TYPES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        wanted = [part.strip() for part in str(value).split(",") if part.strip()]
        unknown = [part for part in wanted if part not in set(EventType)]
        if unknown or not wanted:
            self.fail(f"{', '.join(unknown) or 'nothing'}: give some of {', '.join(EventType)}", param, ctx)
        return ",".join(wanted)


@click.command(
    epilog="""\b
    Examples:
      transport-trio watch
      transport-trio watch --snapshot --session 7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11
      transport-trio watch --after 0 --json | jq 'select(.type == "participant_joined")'
    """
)
@service_options
@click.option("--after", type=click.IntRange(min=0), metavar="N", help="Begin after event N; default: what is new.")
@click.option("--epoch", help="The journal that N belongs to, from a `welcome` of --json.")
@click.option("--session", "sessions", multiple=True, metavar="ID", help="Only this session; may be repeated.")
@click.option("--types", type=EventTypes(), help="Only events of these types, comma-separated.")
@click.option("--snapshot", is_flag=True, help="Begin with the sessions that have not ended.")
@click.option("--json", "as_json", is_flag=True, help="Each message as one line of JSON, pings left out; for pipes.")
def watch(
    target: Target,
    after: int | None,
    epoch: str | None,
    sessions: tuple[str, ...],
    types: str | None,
    snapshot: bool,
    as_json: bool,
) -> int:
    """Follow the events of a running service, until Ctrl-C.

    A lost connection is made again and goes on where it stopped. If events were lost meanwhile, a `gap` says so. What
    happens to the connection is told on standard error. Ctrl-C ends with exit code 130, a pipe that nobody reads any
    more with 0.
    """
    filter_query = [("session_id", session) for session in sessions]
    if types is not None:
        filter_query.append(("types", types))
    follower = Follower(
        target=target,
        position=Position(after=after, epoch=epoch, snapshot=snapshot),
        filter_query=filter_query,
        tell=_json_line if as_json else _readable(),
        notice=lambda text: click.secho(text, err=True, dim=True),
    )
    return trio.run(_follow, follower)


async def _follow(follower: Follower) -> int:
    """Follow until Ctrl-C, or until nobody reads our output; gives the exit code."""
    code = 0
    failure: Exception | None = None

    async def watch_interrupt() -> None:
        nonlocal code
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                code = INTERRUPTED
                nursery.cancel_scope.cancel(reason="Ctrl-C")

    async def watch_pipe() -> None:
        # Writing would notice it too, but with no events for hours we would stay as long.
        while True:
            if _nobody_reads(sys.stdout):
                nursery.cancel_scope.cancel(reason="nobody reads our output")
            await trio.sleep(PIPE_CHECK_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_interrupt)
        nursery.start_soon(watch_pipe)
        try:
            await follower.run()
        except (ServiceFailure, BrokenPipeError) as exc:
            failure = exc
        nursery.cancel_scope.cancel(reason="following has failed")
    if failure is not None:
        raise failure
    return code


def _nobody_reads(stream: TextIO) -> bool:
    """Whether `stream` is a pipe or terminal whose other end is gone."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # errors are reported unasked
    return any(flags & (select.POLLERR | select.POLLHUP) for _, flags in poll.poll(0))


def _json_line(message: Mapping[str, Any]) -> None:
    if message["type"] not in {"ping", "pong"}:
        # ASCII only: nothing in a name can end the line early or steer a terminal.
        click.echo(json.dumps(message, separators=(",", ":")))


def _readable() -> Callable[[Mapping[str, Any]], None]:
    lines = Lines()
    # None: click leaves colours out by itself where the output is no terminal.
    colour = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None

    def tell(message: Mapping[str, Any]) -> None:
        for line in lines.of(message):
            click.echo(line, color=colour)

    return tell
