"""How many may be connected: who asks for something goes before who only holds on."""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Callable, Collection

import trio

from transport_trio.concurrency import Seldom
from transport_trio.metrics import Metrics
from transport_trio.web.connection import Connection, Guard
from transport_trio.web.peer import Peer
from transport_trio.web.refusals import Refused
from transport_trio.web.secure import TlsSession

log = logging.getLogger(__name__)

NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
NO_FILES_REST_S = 0.1
# Those that are refused hold a file for a moment longer, and no more than so many of them.
REFUSED_AT_ONCE = 64
REFUSE_S = 1.0
FULL = b"HTTP/1.1 503 \r\nretry-after: 10\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Connect = Callable[[trio.SocketStream, Guard, TlsSession | None], Connection]
ShowContext = Callable[[], ssl.SSLContext]


class Crowd:
    """The connections that are open, at most `limit`. One too many takes the place of the one that has been idle for
    longest, if one is. One whose request has come, and was not read yet, is not idle. With `tls` all speak it."""

    def __init__(self, connect: Connect, limit: int, metrics: Metrics, tls: ShowContext | None = None) -> None:
        self._connect = connect
        self._tls = tls
        self._limit = limit
        self._metrics = metrics
        self._open: set[Connection | Peer] = set()
        self._idle: dict[Connection, None] = {}  # for longest first
        self._refusing = 0
        self._change = trio.Event()
        self._complaints = Seldom()
        metrics.connections_max.set(limit)
        metrics.watch(metrics.connections, lambda: len(self._open))

    @property
    def open(self) -> Collection[Connection | Peer]:
        return tuple(self._open)

    async def accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Task body: take connections until cancelled, and serve them in `nursery`."""
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as exc:
                    if exc.errno not in NO_FILES:
                        raise
                    await self._lack_files(exc)
                else:
                    self._admit(stream, nursery)

    async def wait_gone(self, connections: Collection[Connection | Peer]) -> None:
        """Return when none of these is open."""
        while not self._open.isdisjoint(connections):
            await self._change.wait()

    def dismiss_idle(self) -> None:
        """Close every connection on which no request is under way."""
        for connection in tuple(self._idle):
            self._dismiss(connection)

    # --- for connections

    def refused(self, reason: Refused) -> None:
        self._metrics.http_refused.labels(reason).inc()

    def waits(self, connection: Connection, *, begins: bool) -> None:
        if begins:
            self._idle[connection] = None
        else:
            self._idle.pop(connection, None)

    # --- at the door

    def _admit(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        if len(self._open) >= self._limit:
            self._complain("as many connections as allowed; idle ones make room", connections_max=self._limit)
            if not self._make_room():
                self.refused(Refused.FULL)
                nursery.start_soon(self._refuse, stream)
                return
            self.refused(Refused.CROWDED)
        connection = self._connect(stream, self, self._session(stream))
        self._open.add(connection)
        nursery.start_soon(self._serve, connection)

    def _session(self, stream: trio.SocketStream) -> TlsSession | None:
        return TlsSession(stream, self._tls()) if self._tls is not None else None

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest; False when none is idle."""
        connection = next((one for one in self._idle if not one.has_asked), None)
        if connection is None:
            return False
        self._dismiss(connection)
        return True

    def _dismiss(self, connection: Connection) -> None:
        connection.leave()
        self._forget(connection)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._forget(connection)
            peer = connection.peer
            del connection  # a listener stays for days, and this has ten times its size
            if peer is not None:
                await self._accompany(peer)

    async def _accompany(self, peer: Peer) -> None:
        self._open.add(peer)
        try:
            await peer.run()
        except Exception:
            log.exception("listener's connection failed")
        finally:
            self._forget(peer)

    def _forget(self, connection: Connection | Peer) -> None:
        if isinstance(connection, Connection):
            self._idle.pop(connection, None)
        self._open.discard(connection)
        self._change.set()
        self._change = trio.Event()

    async def _refuse(self, stream: trio.SocketStream) -> None:
        """Say 503, if the peer takes it soon. Closing with unread data is a reset and can cost it our words."""
        if self._refusing >= REFUSED_AT_ONCE:
            await trio.aclose_forcefully(stream)
            return
        self._refusing += 1
        tls = self._session(stream)
        try:
            with trio.move_on_after(REFUSE_S):
                if tls is None:
                    await stream.send_all(FULL)
                elif await tls.shake_hands(REFUSE_S) is None:
                    await tls.stream.send_all(FULL)
                    await tls.say_goodbye()
                await stream.send_eof()
                while await stream.receive_some():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has gone
        finally:
            self._refusing -= 1
            await trio.aclose_forcefully(stream)

    async def _lack_files(self, exc: OSError) -> None:
        """A connection waits, and the process has no file left for it."""
        self.refused(Refused.NO_FILES)
        self._complain("no files left for connections; idle ones make room", error=str(exc))
        if not self._make_room():
            await trio.sleep(NO_FILES_REST_S)

    def _complain(self, message: str, **told: object) -> None:
        """Log it, but not at the pace of those who hammer at the door."""
        if self._complaints.is_due():
            log.warning(message, extra=told)
