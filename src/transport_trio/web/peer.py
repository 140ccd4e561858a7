"""A listener's connection after the upgrade: one task reads from it, and whoever has something for it writes.

Writing is a system call on a socket that does not block, and not a task that waits for each of ten thousand listeners
(docs/adr/0047-the-hub-writes-to-sockets.md).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from transport_trio.hub import Conversation, Listener
from transport_trio.web.messages import Binary, Goodbye, Incoming, Messages, PeerPing, PeerPong, ends_with_close
from transport_trio.web.secure import SecureSocket
from transport_trio.web.sockets import has_unread, reset_on_close
from transport_trio.wire.socket import Close

if TYPE_CHECKING:
    from transport_trio.web.entrance import Entrance

READ_BYTES = 4 * 1024  # what is in it is heard in one go: thousands of tiny frames would keep others waiting
# How long a closed listener may take to read what is left for it and to answer; an honest one needs a round trip.
CLOSE_S = 3.0
# How a peer that we have closed is read: at a walking pace.
SKIM_BYTES, SKIM_REST_S = 64 * 1024, 0.05


class Peer:
    """The hub's `Line` to one listener; owns the socket."""

    __slots__ = (
        "_began",
        "_client",
        "_conversation",
        "_ending",
        "_entrance",
        "_listener",
        "_messages",
        "_socket",
        "send",
    )

    def __init__(
        self, sock: socket.socket | SecureSocket, listener: Listener, entrance: Entrance, client: str | None
    ) -> None:
        settings = entrance.deps.settings
        self.send = sock.send
        self._socket = sock
        self._listener = listener
        self._entrance = entrance
        self._client = client
        self._began = trio.current_time()
        self._ending = trio.CancelScope()
        self._messages = Messages()
        self._conversation = Conversation(
            listener,
            messages_max=settings.listener_messages_max,
            faults_max=settings.listener_faults_max,
            heartbeat_s=settings.heartbeat_s,
        )

    async def run(self) -> None:
        """Read until the peer has gone, or has been given up; then the socket is closed."""
        try:
            with self._ending:
                await self._read()
        except (OSError, trio.ClosedResourceError):
            pass  # it has gone, or was cut
        finally:
            if self._listener.outbox is not None:
                self.cut()  # nothing of it may be left to be read later: a frame may have gone in part
            self._close()
            stayed_s = trio.current_time() - self._began
            self._entrance.left(self._listener, stayed_s=stayed_s, client=self._client)

    async def _read(self) -> None:
        secure = self._socket if isinstance(self._socket, SecureSocket) else None
        while True:
            if secure is None or not secure.may_have_more:
                await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(READ_BYTES if self._listener.is_open else SKIM_BYTES)
            except BlockingIOError:
                continue
            if not data:
                return
            if self._listener.is_open:
                self._listener.heard_at = trio.current_time()
                self._hear(data)
            elif self._listener.closed_for is not None and ends_with_close(data):
                return
            else:
                # Closing with unread input would be a reset, and could cost the peer our close frame. So we read on for
                # its own; but what a flood says costs more to read than to send.
                await trio.sleep(SKIM_REST_S)

    def _hear(self, data: bytes) -> None:
        for message in self._messages.take_apart(data):
            self._answer(message)
            if not self._listener.is_open:
                break

    def _answer(self, message: Incoming) -> None:
        match message:
            case str():
                self._conversation.hear(message)
            case PeerPing(payload):
                self._conversation.hear_ping(payload)
            case PeerPong():
                self._conversation.hear_pong()
            case Binary():
                self._conversation.hear_binary()
            case Close():
                self._listener.close(message)
            case Goodbye(answer):
                self._listener.part(answer)
                if self._listener.outbox is None:
                    self._ending.cancel(reason="the peer has said goodbye")

    # --- for the hub

    async def wait_room(self) -> None:
        await trio.lowlevel.wait_writable(self._socket)

    @property
    def has_unread(self) -> bool:
        return has_unread(self._socket)

    def close_soon(self) -> None:
        self._ending.deadline = min(self._ending.deadline, trio.current_time() + CLOSE_S)

    def sent_all(self) -> None:
        if self._listener.closed_for is None:  # else its own close frame is still to come
            self._ending.cancel(reason="the peer has said goodbye, and has our answer")

    # --- for the server

    def cut(self) -> None:
        """Reset the connection: what the peer has not read is dropped, and no task waits for it longer."""
        reset_on_close(self._socket)
        self._close()
        self._ending.cancel(reason="the connection was cut")

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
