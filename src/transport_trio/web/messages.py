"""What a listener's peer sends, taken apart: wsproto's events, with a limit in bytes and one kind for each fault.

Held to wsproto 1; tests/socket/test_socket_pins.py names what this relies on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from transport_trio.wire.socket import MESSAGE_MAX_BYTES, MESSAGE_MAX_PIECES, Close


@attrs.frozen
class Binary:
    """A binary message came; its content does not matter."""


@attrs.frozen
class PeerPing:
    """An RFC 6455 ping came."""

    payload: bytes


@attrs.frozen
class PeerPong:
    """An RFC 6455 pong came, asked for or not."""


@attrs.frozen
class Goodbye:
    """A close frame came; this is the one to answer with."""

    answer: bytes


# A text message, or one of the others. After a `Close` (what we must close for) or a `Goodbye` comes nothing more.
Incoming = str | Binary | PeerPing | PeerPong | Close | Goodbye


def ends_with_close(data: bytes) -> bool:
    """Whether a client's close frame could be the last thing in there."""
    return any(data[-6 - size : -4 - size] == bytes((0x88, 0x80 | size)) for size in range(126))


class Messages:
    """The messages of one peer. No extensions: compression costs 100 KiB per listener."""

    __slots__ = ("_parts", "_pieces", "_protocol", "_size_bytes")

    def __init__(self) -> None:
        self._protocol = Connection(ConnectionType.SERVER)
        self._parts: list[str] | None = None
        self._size_bytes = 0
        self._pieces = 0

    def take_apart(self, data: bytes) -> Iterator[Incoming]:
        """What becomes complete with this. A caller that has had enough need not take the rest, or come back."""
        self._protocol.receive_data(data)
        for event in self._protocol.events():
            if isinstance(event, Message):
                message = self._assemble(event)
                if message is not None:
                    yield message
            elif isinstance(event, Ping):
                yield PeerPing(bytes(event.payload))
            elif isinstance(event, Pong):
                yield PeerPong()
            elif isinstance(event, CloseConnection):
                yield self._end(event)

    def _assemble(self, event: Message[Any]) -> str | Binary | Close | None:
        is_text = isinstance(event, TextMessage)
        self._size_bytes += len(event.data.encode()) if is_text else len(event.data)
        self._pieces += event.frame_finished
        if self._size_bytes > MESSAGE_MAX_BYTES or self._pieces > MESSAGE_MAX_PIECES:
            return Close.TOO_BIG
        if is_text:
            self._parts = self._parts or []
            self._parts.append(event.data)
        if not event.message_finished:
            return None
        message = "".join(self._parts or ()) if is_text else Binary()
        self._parts, self._size_bytes, self._pieces = None, 0, 0
        return message

    def _end(self, event: CloseConnection) -> Close | Goodbye:
        if self._protocol.state is not ConnectionState.OPEN:
            return Goodbye(bytes(self._protocol.send(event.response())))
        # No close frame: what came is not the protocol, and wsproto reads no further.
        bad_text = event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return Close.NOT_UTF8 if bad_text else Close.PROTOCOL
