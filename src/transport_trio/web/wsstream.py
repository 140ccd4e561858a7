"""What Hypercorn's WebSocket stream does not do for a service with slow, silent and hostile peers.

Held to Hypercorn 0.18 and wsproto 1, and to the attributes that tests/socket/test_socket_pins.py names. Against the
original, this stream

- negotiates no extensions: compression costs 100 KiB per listener;
- refuses data that comes before the upgrade without stumbling over its own handler;
- hands every incoming message to the handler directly, pings and pongs included, and stamps the arrival of each frame;
- takes nothing apart any more once a listener is closed;
- counts a message's bytes, not its characters, and keeps nothing of a message that is too large;
- writes unshielded, so that a peer that stops reading holds neither its handler nor a stop, and can cut such a peer.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import attrs
import hypercorn.protocol.h11
import trio
from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ASGISendEvent
from hypercorn.typing import ConnectionState as HypercornState
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from transport_trio.web.connection import Connection
from transport_trio.web.refusals import Refused
from transport_trio.wire.socket import MESSAGE_MAX_BYTES, Close

SCOPE_KEY = "transport_trio.stream"
# The reader waits for nothing but this channel. So many messages are understood in one turn: with one in each, the
# turns of a busy service can be so long that a flood stays below its limit.
MESSAGES_WAITING = 32
# Between two reads of 64 KiB from a peer that we have closed.
SKIM_REST_S = 0.05


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


# What the handler receives: a text message, or one of the others. After a `Close` nothing more can be understood.
Incoming = str | Binary | PeerPing | PeerPong | Close


def ends_with_close(data: bytes) -> bool:
    """Whether a client's close frame could be the last thing in there."""
    return any(data[-6 - size : -4 - size] == bytes((0x88, 0x80 | size)) for size in range(126))


def install() -> None:
    """Have Hypercorn, in this process, use our stream for WebSockets."""
    vars(hypercorn.protocol.h11)["WSStream"] = ListenerStream


class ListenerStream(WSStream):
    """Reachable from the handler as `websocket.scope["state"][SCOPE_KEY]`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._heard_at = trio.current_time()
        self._deaf = False
        self._deliver, self.messages = trio.open_memory_channel[Incoming](MESSAGES_WAITING)
        self._parts: list[str] = []
        self._size = 0
        self._pieces = 0
        self._overflowed = False
        self._broken = False
        self._answered = False

    # --- what comes in; runs in the task that reads from the connection

    async def handle(self, event: Event) -> None:
        if isinstance(event, Request):
            headers = [(name, value) for name, value in event.headers if name.lower() != b"sec-websocket-extensions"]
            event = replace(event, headers=headers, state=HypercornState({**event.state, SCOPE_KEY: self}))
        if isinstance(event, Body | Data) and not (self.closed or self.handshake.accepted):
            await self._refuse_early_data()
        elif isinstance(event, Body | Data) and self._deaf:
            await self._skim(event.data)
        elif not self._broken or isinstance(event, StreamClosed):
            await super().handle(event)
            if isinstance(event, Request) and self.closed:
                # Refused as no valid upgrade: the answer says "close", and nobody else would do it.
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def _refuse_early_data(self) -> None:
        """Data before the upgrade is no valid upgrade, unless it crosses a refusal that is on its way."""
        if not self._answered:
            self.closed = True  # from here on the handler talks to nobody
            await self._send_error_response(400)
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_error_response(self, status_code: int) -> None:
        if status_code == 400:  # others are the application's
            self._tcp.guard.refused(Refused.UPGRADE)
        await super()._send_error_response(status_code)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if self._deaf:
                return
            self._heard_at = trio.current_time()
            if isinstance(event, Message):
                await self._assemble(event)
            elif isinstance(event, Ping):
                await self._pass_on(PeerPing(bytes(event.payload)))
            elif isinstance(event, Pong):
                await self._pass_on(PeerPong())
            elif isinstance(event, CloseConnection):
                await self._end(event)

    async def _assemble(self, event: Message[Any]) -> None:
        if self._overflowed:
            return
        is_text = isinstance(event, TextMessage)
        self._size += len(event.data.encode()) if is_text else len(event.data)
        self._pieces += event.frame_finished  # empty fragments have no size, yet each costs work
        if max(self._size, self._pieces) > MESSAGE_MAX_BYTES:
            self._overflowed = True
            self._parts.clear()
            await self._pass_on(Close.TOO_BIG)
            return
        if is_text:
            self._parts.append(event.data)
        if event.message_finished:
            message = "".join(self._parts) if is_text else Binary()
            self._parts, self._size, self._pieces = [], 0, 0
            await self._pass_on(message)

    async def _end(self, event: CloseConnection) -> None:
        if self.connection.state is ConnectionState.OPEN:
            # No close frame: what came is not the protocol, and wsproto reads no further.
            self._broken = True
            bad_text = event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA
            await self._pass_on(Close.NOT_UTF8 if bad_text else Close.PROTOCOL)
            return
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _skim(self, data: bytes) -> None:
        """Read on, at a walking pace, for a closed peer's own close frame: the last thing that it sends."""
        if self.connection.state is ConnectionState.LOCAL_CLOSING and ends_with_close(data):
            await self.send(StreamClosed(stream_id=self.stream_id))
        else:
            await trio.sleep(SKIM_REST_S)

    async def _pass_on(self, message: Incoming) -> None:
        with suppress(trio.BrokenResourceError):  # the handler has ended: nobody wants to know
            try:
                self._deliver.send_nowait(message)
            except trio.WouldBlock:
                await self._deliver.send(message)

    # --- what goes out; runs in the handler's task

    async def app_send(self, message: ASGISendEvent | None) -> None:
        self._answered = True
        await super().app_send(message)

    async def write(self, frames: bytes) -> bool:
        """Send whole frames; False when the peer has gone, or is going.

        Cancellation: a frame may have been cut, so nothing but `abort` may follow.
        """
        if self.closed or self.connection.state is not ConnectionState.OPEN:
            return False
        return await self._write(frames)

    async def say_goodbye(self, close: Close) -> bool:
        """Send the close frame; False when the peer was first, or has gone. Cancellation: as with `write`."""
        try:
            frame = self.connection.send(CloseConnection(code=close.code, reason=close.words))
        except LocalProtocolError:
            return False
        return await self._write(bytes(frame))

    async def _write(self, data: bytes) -> bool:
        tcp = self._tcp
        try:
            async with tcp.send_lock:  # Hypercorn's own answers go through it too
                await tcp.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return False  # busy: it is being closed, which is the only use of the stream outside the lock
        return True

    @property
    def heard_at(self) -> float:
        """When the peer was last heard: now, if something that it sent waits for us to read it."""
        return trio.current_time() if self._tcp.has_unread else self._heard_at

    def deafen(self) -> None:
        """Understand nothing more: the peer is being closed, and what a flood says costs more to read than to send."""
        self._deaf = True

    def abort(self) -> None:
        """Cut the connection with a reset: what the peer has not read is dropped, and no task waits for it longer."""
        self._tcp.cut()

    @property
    def _tcp(self) -> Connection:
        # The stream sends through its protocol, which sends through its connection.
        protocol = self.send.__self__  # type: ignore[attr-defined]
        connection = protocol.send.__self__
        assert isinstance(connection, Connection)
        return connection
