"""Following a service's events over any number of connections: nothing twice, nothing left out in silence."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import attrs
import trio
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

from transport_trio.cli.position import Position
from transport_trio.cli.problems import ServiceFailure, refused, unreachable
from transport_trio.cli.target import Target

CONNECT_S = 5.0
DISCONNECT_S = 1.0
WELCOME_S = 10.0
MESSAGE_MAX_BYTES = 1024 * 1024  # a snapshot's frame has at most 256 KiB
FIRST_DELAY_S = 0.5
LAST_DELAY_S = 15.0
STEADY_S = 10.0  # a connection that lasted this long was a good one: the next loss starts with a short wait again
SILENT_BEATS = 3  # as the service holds it with its listeners
# A new connection would end the same way.
FINAL_CLOSES = {4400: "the service did not understand this command", 4401: "the service has withdrawn the API key"}
# The service, or a proxy before it, is away for a while.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class _Lost(Exception):
    """A connection that ended, or was not made, for a reason that may pass."""


@attrs.frozen(kw_only=True)
class Follower:
    """`tell` gets every message as it comes, `notice` what a person should know of the connection."""

    target: Target
    position: Position
    filter_query: Sequence[tuple[str, str]] = ()
    tell: Callable[[Mapping[str, Any]], None]
    notice: Callable[[str], None]

    async def run(self) -> NoReturn:
        """Follow until cancelled.

        Raises:
            ServiceFailure: the first connection failed, or the service refuses us for good.
        """
        delay_s = FIRST_DELAY_S
        while True:
            started = trio.current_time()
            try:
                await self._connect_and_tell()
            except _Lost as lost:
                if not self.position.welcomed:
                    raise ServiceFailure(str(lost)) from lost
                reason = str(lost).partition("\n")[0]
            if trio.current_time() - started >= STEADY_S:
                delay_s = FIRST_DELAY_S
            wait_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads reconnects, keeps no secret
            self.notice(f"{reason}; trying again in {wait_s:.1f} s")
            await trio.sleep(wait_s)
            delay_s = min(delay_s * 2, LAST_DELAY_S)

    async def _connect_and_tell(self) -> NoReturn:
        query = [*self.filter_query, *self.position.query()]
        try:
            async with open_websocket_url(
                self.target.socket_url(query),
                self.target.tls(),
                extra_headers=[(name.encode(), value.encode()) for name, value in self.target.headers.items()],
                max_message_size=MESSAGE_MAX_BYTES,
                connect_timeout=CONNECT_S,
                disconnect_timeout=DISCONNECT_S,
            ) as socket:
                await self._tell_all(socket)
        except ConnectionRejected as exc:
            raise _rejection(exc) from exc
        except ConnectionClosed as exc:
            raise _closing(exc.reason) from exc
        except ConnectionTimeout as exc:
            raise _Lost(
                f"{self.target.url} gave no WebSocket answer within {CONNECT_S:g} s; is it this service, and with "
                "https, is its certificate trusted here?"
            ) from exc
        except HandshakeError as exc:
            raise _Lost(unreachable(self.target.url, exc.__cause__ or exc)) from exc
        except trio.TooSlowError as exc:
            raise _Lost("the service has fallen silent") from exc

    async def _tell_all(self, socket: WebSocketConnection) -> NoReturn:
        silence_s = WELCOME_S
        while True:
            with trio.fail_after(silence_s):
                message = _message(await socket.get_message())
            match message:
                case {"type": "welcome", "heartbeat_s": int() | float() as heartbeat_s}:
                    silence_s = max(SILENT_BEATS * heartbeat_s, 1.0)
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
