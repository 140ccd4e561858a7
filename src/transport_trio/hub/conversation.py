"""What listeners say, what we answer, and how much of it we bear."""

from __future__ import annotations

import math

import trio

from transport_trio.errors import BadMessage
from transport_trio.hub.filter import Filter
from transport_trio.hub.listener import Listener
from transport_trio.wire import socket as wire

WINDOW_S = 10.0


class Conversation:
    """One listener's messages. Synchronous: an answer is queued before the next message is looked at."""

    __slots__ = (
        "_faults_left",
        "_listener",
        "_messages",
        "_messages_max",
        "_pongs",
        "_pongs_free",
        "_window_ends",
    )

    def __init__(self, listener: Listener, *, messages_max: int, faults_max: int, heartbeat_s: float) -> None:
        self._listener = listener
        self._messages_max = messages_max
        self._faults_left = faults_max
        # A fixed window: nobody is closed who keeps to the limit in every ten seconds, and it costs two numbers.
        self._window_ends = trio.current_time() + WINDOW_S
        self._messages = 0
        # Those that answer our pings are free; some may be late and fall into the next window.
        self._pongs_free = 2 * math.ceil(WINDOW_S / heartbeat_s)
        self._pongs = 0

    def hear(self, text: str) -> None:
        """Answer a text message."""
        if not self._bear():
            return
        if not text:
            self._fault("empty_message", "an empty message; send JSON")
            return
        try:
            message = wire.client_message(text)
        except BadMessage as exc:
            self._fault(exc.code, str(exc))
            return
        match message:
            case wire.Ping():
                self._listener.reply(wire.pong())
            case wire.Pong():
                pass
            case wire.Subscribe():
                self._listener.subscribe(
                    Filter(
                        None if message.session_ids is None else frozenset(message.session_ids),
                        None if message.types is None else frozenset(message.types),
                    )
                )

    def hear_binary(self) -> None:
        if self._bear():
            self._fault("binary_message", "a binary message; send text")

    def hear_ping(self, payload: bytes) -> None:
        """Answer an RFC 6455 ping; it costs us a frame, so it counts like a message."""
        if self._bear():
            self._listener.reply_frame(wire.pong_frame(payload))

    def hear_pong(self) -> None:
        """Bear with an RFC 6455 pong: more of them than we have asked for count like messages."""
        self._look_at_clock()
        self._pongs += 1
        if self._pongs > self._pongs_free:
            self._bear()

    def _look_at_clock(self) -> None:
        now = trio.current_time()
        if now >= self._window_ends:
            self._window_ends, self._messages, self._pongs = now + WINDOW_S, 0, 0

    def _bear(self) -> bool:
        """Count a message; False when it is one too many, or the listener is closed anyway."""
        self._look_at_clock()
        self._messages += 1
        if self._messages > self._messages_max:
            self._listener.close(wire.Close.FLOODING)
        return self._listener.closed_for is None

    def _fault(self, code: str, message: str) -> None:
        self._listener.reply(wire.error(code, message))
        self._faults_left -= 1
        if self._faults_left < 0:
            self._listener.close(wire.Close.BAD_MESSAGES)
