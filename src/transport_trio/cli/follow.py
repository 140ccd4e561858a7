"""Following a service's events over any number of connections: nothing twice, nothing left out in silence."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from transport_trio.cli.dial import Stream, open_stream
from transport_trio.cli.failures import leaves
from transport_trio.cli.position import Position
from transport_trio.cli.problems import ServiceFailure, refused, unreachable
from transport_trio.cli.target import Target
from transport_trio.concurrency import doubling_s

MESSAGE_MAX_BYTES = 1024 * 1024  # a snapshot's frame has at most 256 KiB
SILENT_BEATS = 3  # as the service holds it with its listeners
# A new connection would end the same way.
FINAL_CLOSES = {4400: "the service did not understand this command", 4401: "the service has withdrawn the API key"}
# The service, or a proxy before it, is away for a while.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class _Lost(Exception):
    """A connection that ended, or was not made, for a reason that may pass."""


@attrs.frozen(kw_only=True)
class Patience:
    """How long a follower waits for what."""

    connect_s: float = 5.0
    welcome_s: float = 10.0
    first_delay_s: float = 0.5
    last_delay_s: float = 15.0
    steady_s: float = 10.0  # a connection that lasted this long was a good one: its loss counts as the first

    def delay_s(self, losses: int) -> float:
        """The longest wait before the next connection after so many losses in a row."""
        return doubling_s(losses, base_s=self.first_delay_s, max_s=self.last_delay_s)


@attrs.frozen(kw_only=True)
class Follower:
    """`tell` gets every message as it comes, `notice` what a person should know of the connection."""

    target: Target
    position: Position
    filter_query: Sequence[tuple[str, str]] = ()
    tell: Callable[[Mapping[str, Any]], None]
    notice: Callable[[str], None]
    patience: Patience = attrs.field(factory=Patience)

    async def run(self) -> NoReturn:
        """Follow until cancelled.

        Raises:
            ServiceFailure: the first connection failed, or the service refuses us for good.
        """
        losses = 0
        while True:
            started = trio.current_time()
            try:
                await self._connect_and_tell()
            except _Lost as lost:
                if not self.position.welcomed:
                    raise ServiceFailure(str(lost)) from lost
                reason = str(lost).partition("\n")[0]
            losses = 1 if trio.current_time() - started >= self.patience.steady_s else losses + 1
            wait_s = self.patience.delay_s(losses) * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads reconnects
            self.notice(f"{reason}; trying again in {wait_s:.1f} s")
            await trio.sleep(wait_s)

    async def _connect_and_tell(self) -> NoReturn:
        try:
            async with open_stream(self.target, within_s=self.patience.connect_s) as stream:
                failure = await self._failure_of(stream)
        except OSError as exc:
            raise _Lost(unreachable(self.target.url, exc)) from exc
        raise failure

    async def _failure_of(self, stream: Stream) -> Exception:
        """Speak over the stream for as long as that works; gives what ended it, outside of any group."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    socket = await self._upgrade(nursery, stream)
                    await self._tell_all(socket)
                except ConnectionClosed as exc:
                    failure = _closing(exc.reason)
                except (ServiceFailure, BrokenPipeError, _Lost) as exc:
                    failure = exc
                nursery.cancel_scope.cancel(reason="the connection is of no more use")
        except ExceptionGroup as group:
            # The library's reader raises it beside us.
            rejections, bugs = group.split(ConnectionRejected)
            if rejections is None or bugs is not None:
                raise
            failure = next(_rejection(leaf) for leaf in leaves(rejections) if isinstance(leaf, ConnectionRejected))
        return failure

    async def _upgrade(self, nursery: trio.Nursery, stream: Stream) -> WebSocketConnection:
        url = urlsplit(self.target.socket_url([*self.filter_query, *self.position.query()]))
        with trio.move_on_after(self.patience.connect_s):
            socket: WebSocketConnection = await wrap_client_stream(
                nursery,
                stream,
                url.netloc,
                f"{url.path}?{url.query}",
                extra_headers=[(name.encode(), value.encode()) for name, value in self.target.headers.items()],
                max_message_size=MESSAGE_MAX_BYTES,
            )
            return socket
        raise _Lost(
            f"{self.target.url} gave no WebSocket answer within {self.patience.connect_s:g} s; is it this service?"
        )

    async def _tell_all(self, socket: WebSocketConnection) -> NoReturn:
        silence_s = self.patience.welcome_s
        while True:
            with trio.move_on_after(silence_s) as silence:
                message = _message(await socket.get_message())
            if silence.cancelled_caught:
                raise _Lost("the service has fallen silent")
            match message:
                case {"type": "welcome", "heartbeat_s": int() | float() as heartbeat_s}:
                    silence_s = max(SILENT_BEATS * heartbeat_s, 1.0)
                    self.notice(f"following {self.target.url}")
                case {"type": "ping"}:
                    await socket.send_message('{"type":"pong"}')
            # Told first: what did not reach our reader is not behind us.
            self.tell(message)
            self.position.note(message)


def _message(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ServiceFailure("a WebSocket answers there, but it is not this service's")
    return message


def _rejection(exc: ConnectionRejected) -> Exception:
    text = refused(exc.status_code, exc.body)
    return _Lost(text) if exc.status_code in PASSING_STATUSES else ServiceFailure(text)


def _closing(reason: CloseReason | None) -> Exception:
    if reason is not None and reason.code in FINAL_CLOSES:
        return ServiceFailure(f"{FINAL_CLOSES[reason.code]} (close code {reason.code}: {reason.reason or 'no reason'})")
    code = reason.code if reason is not None else 1006
    words = {1001: "the service is stopping", 1006: "the connection broke", 4008: "this terminal was too slow"}
    return _Lost(f"{words.get(code, 'the service closed the connection')} (close code {code})")
