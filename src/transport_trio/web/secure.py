"""TLS that ends in this process: Trio's stream for HTTP, and for listeners a socket that encrypts what is sent.

The hub writes to sockets and waits for nothing (docs/adr/0047-the-hub-writes-to-sockets.md). Python's TLS works in
memory, without a socket, so it can be had that way too: what becomes of a frame goes to the kernel at once, or is kept
until there is room (docs/adr/0054-tls-in-the-process.md).
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress

import trio

from transport_trio.web.refusals import Refused

log = logging.getLogger(__name__)

GOODBYE_S = 1.0  # for what fits into any buffer
RECORD_BYTES = 16 * 1024  # no record of TLS holds more (RFC 8446, 5.1)
# What a peer may send without saying anything, and make us answer: new keys, empty records. Honest ones send a record.
SILENT_MAX_BYTES, ANSWERS_MAX_BYTES = 64 * 1024, 4 * 1024
SPEAK_TLS = (
    b"HTTP/1.1 400 \r\ncontent-type: text/plain\r\ncontent-length: 38\r\nconnection: close\r\n\r\n"
    b"this port speaks TLS: https:// wss://\n"
)


class TlsSession:
    """What both sides of one connection have agreed on. Its `stream` has it first, and then perhaps a socket."""

    def __init__(self, plain: trio.SocketStream, context: ssl.SSLContext) -> None:
        self._plain = plain
        self._context = context
        self._is_secure = False
        self.stream = trio.SSLStream(plain, self, server_side=True, https_compatible=True)  # type: ignore[arg-type]

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: bool | str | None) -> ssl.SSLObject:
        """For Trio, which takes us for the context: so we know what it works with."""
        self._incoming, self._outgoing = incoming, outgoing
        self._object = self._context.wrap_bio(incoming, outgoing, server_side=bool(options["server_side"]))
        return self._object

    async def shake_hands(self, within_s: float) -> Refused | None:
        """Begin to speak TLS; why that is not to be, where the client is at fault. It is told so, if it listens.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: the client, or our end, has gone.
        """
        try:
            with trio.fail_after(within_s):
                if (await self._peek()).isalpha():  # as each method of HTTP begins
                    await self._plain.receive_some(RECORD_BYTES)  # closing with unread input would be a reset
                    await self._say(SPEAK_TLS)
                    return Refused.NOT_TLS
                await self.stream.do_handshake()
        except trio.TooSlowError:
            log.info("TLS handshake failed", extra={"error": "it has not ended in time"})
            return Refused.HANDSHAKE
        except trio.BrokenResourceError as exc:
            fault = exc.__cause__
            if not isinstance(fault, ssl.SSLError) or isinstance(fault, ssl.SSLEOFError | ssl.SSLSyscallError):
                raise
            log.info("TLS handshake failed", extra={"error": (fault.reason or str(fault)).lower().replace("_", " ")})
            await self._say(self._outgoing.read())  # the alert, which Trio leaves there
            return Refused.HANDSHAKE
        self._is_secure = True
        return None

    async def _peek(self) -> bytes:
        try:
            return await self._plain.socket.recv(1, socket.MSG_PEEK)
        except OSError as exc:
            raise trio.BrokenResourceError from exc

    async def say_goodbye(self) -> None:
        """Tell the client that this was all. Another task may be reading meanwhile; never raises."""
        if not self._is_secure:
            return
        with suppress(OSError):  # it wants the client's goodbye, too, and that may be long in coming
            self._object.unwrap()
        await self._say(self._outgoing.read())

    async def _say(self, data: bytes) -> None:
        """As it is, beside the stream."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            with trio.move_on_after(GOODBYE_S):
                await self._plain.send_all(data)

    def over(self, sock: socket.socket) -> SecureSocket:
        """The session goes on over this socket, which was the stream's."""
        return SecureSocket(sock, self._object, self._incoming, self._outgoing)


class SecureSocket:
    """A connected socket that does not block, as far as a listener's connection uses it, with TLS in between."""

    __slots__ = ("_incoming", "_left", "_object", "_outgoing", "_owes", "_silent_bytes", "_socket", "may_have_more")

    def __init__(
        self, sock: socket.socket, object_: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._socket = sock
        self._object = object_
        self._incoming = incoming
        self._outgoing = outgoing
        self._left = b""  # encrypted, and the kernel had no room for it
        self._owes = False  # the last byte that was encrypted counts as not taken until all of it has gone
        self._silent_bytes = 0  # have come since the peer last said something
        self.may_have_more = True  # without a byte from the kernel

    def send(self, data: bytes | memoryview, /) -> int:
        """Hand over as much as there is room for; how many bytes that was.

        What was encrypted cannot be taken back. So where the kernel has no room for all of it, one byte less is told:
        whoever keeps that byte and comes back with it, as with every rest, does so when there is room.

        Raises:
            BlockingIOError: there is no room.
            OSError: the peer has gone.
        """
        if self._left and not self._flush():
            raise BlockingIOError
        done = int(self._owes)
        self._owes = False
        data = memoryview(data)
        while done < len(data):
            try:
                done += self._object.write(data[done : done + RECORD_BYTES])
            except ssl.SSLWantReadError as exc:
                # In the middle of a handshake message nothing can be said; those that are allowed here come whole.
                raise _given_up("it has broken off in the middle of a handshake message") from exc
            self._left = self._outgoing.read()
            if not self._flush():
                self._owes = True
                return done - 1
        return done

    def recv(self, max_bytes: int, /) -> bytes:
        """What the peer has said, b"" when that was all.

        Raises:
            BlockingIOError: nothing now.
            OSError: the peer has gone, or does not keep to TLS.
        """
        if not self.may_have_more:
            data = self._socket.recv(max_bytes)  # what is in it is heard in one go
            self._silent_bytes += len(data)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
        try:
            said = self._object.read(max_bytes)
        except ssl.SSLWantReadError:
            self.may_have_more = False
            if self._silent_bytes > SILENT_MAX_BYTES or self._outgoing.pending > ANSWERS_MAX_BYTES:
                raise _given_up("it speaks TLS and says nothing") from None
            raise BlockingIOError from None
        except ssl.SSLEOFError:
            return b""
        self.may_have_more = True
        self._silent_bytes = 0
        return said

    def close(self) -> None:
        """Say goodbye as TLS has it, if there is room for that, and close."""
        if not self._left:
            with suppress(OSError):
                self._object.unwrap()
            with suppress(OSError):
                self._socket.send(self._outgoing.read())
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        self._socket.setsockopt(level, option, value)

    def _flush(self) -> bool:
        """Whether all that was encrypted has gone."""
        try:
            sent = self._socket.send(self._left)
        except BlockingIOError:
            return False
        self._left = self._left[sent:]
        return not self._left


def _given_up(reason: str) -> ConnectionAbortedError:
    """Told here: to everybody else a listener that breaks TLS has gone like any other."""
    log.info("listener given up", extra={"error": reason})
    return ConnectionAbortedError(reason)
