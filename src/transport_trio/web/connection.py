"""One connection of a client, as Hypercorn serves it, with these differences.

- HTTP/1.1 only. Hypercorn speaks HTTP/2 without TLS to whoever asks; nothing here is made or tested for that.
- A request's head must have ended `head_s` after its first byte (408), however it drips. A line in it ends with CR LF.
- A peer that stops reading its answer is cut after `stall_s` without progress. Hypercorn shields its sends from
  cancellation, so that such a peer could hold its handler, and a stop of the service, for ever.
- A connection ends, or begins to wait for its next request, also when its handler is cancelled meanwhile.
- A connection that its client has closed ends at once, and not when its keep-alive runs out.
- What comes after a connection's last request is dropped, and does not spoil that request's answer.
- A failure ends this connection and is logged; it does not end the server.
- An upgrade of `/ws` takes the socket away from Hypercorn (`web/entrance.py`); to Hypercorn no request is a WebSocket.
- What is refused here, and never reaches the application, is told to a `Guard`.

Held to Hypercorn 0.18; tests/web/test_web_connection.py names what this relies on.
"""

from __future__ import annotations

import logging
import math
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import attrs
import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from transport_trio.errors import TransportError
from transport_trio.web.entrance import Entrance, Upgrade
from transport_trio.web.peer import Peer
from transport_trio.web.refusals import OF_STATUS, REFUSAL, Refused
from transport_trio.web.secure import SecureSocket, TlsSession
from transport_trio.web.sockets import has_unread, reset_on_close

log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
# h11 takes a bare LF for the end of a line, and joins lines that begin with a blank to the line before. Proxies that do
# neither see other headers than we: the way in for requests hidden in requests (RFC 9112, 2.2 and 5.2, lets us refuse).
AMBIGUOUS_LINE = re.compile(rb"(?<!\r)\n|\n[ \t]")
TLS_HANDSHAKE = b"\x16\x03"  # a record of that type, in any version (RFC 8446, 5.1)


@attrs.frozen(kw_only=True)
class Patience:
    """How long a connection waits for its client. A piece of 64 KiB in `stall_s` is what no honest reader is below."""

    stall_s: float = 30.0
    head_s: float = 10.0


LetIn = Callable[[Upgrade], None]


class Guard(Protocol):
    """Who counts connections."""

    def refused(self, reason: Refused) -> None:
        """The connection ends because of this."""

    def waits(self, connection: Connection, *, begins: bool) -> None:
        """It begins, or ceases, to wait for a request; nothing is lost by closing it meanwhile."""


class StrictConnection(h11.Connection):
    """Refuses heads that could be read in two ways, and drops what a client sends after its last request.

    h11 takes bytes after the request that the client, or we, have called the last one for a fault of that request,
    which is being answered: a stray line end after a body would turn its 201 into a 400.
    """

    def __init__(self, head_max_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=head_max_bytes)
        self._head_max_bytes = head_max_bytes

    @property
    def _had_the_last(self) -> bool:
        return self.their_state in {h11.MUST_CLOSE, h11.CLOSED}

    @property
    def has_begun_a_head(self) -> bool:
        return self.their_state is h11.IDLE and bool(self.trailing_data[0])

    def receive_data(self, data: bytes) -> None:
        if not self._had_the_last or not data:
            super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self._had_the_last:
            return h11.NEED_DATA
        if self.their_state is h11.IDLE:
            head = self.trailing_data[0].partition(b"\r\n\r\n")[0]
            if len(head) > self._head_max_bytes:  # h11 looks at what is incomplete alone
                raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
            if AMBIGUOUS_LINE.search(head):
                raise h11.RemoteProtocolError("a line of the head is ambiguous")
        return super().next_event()


class Switched(Exception):
    """From here on the connection is a listener's, and no longer Hypercorn's."""


class Http11(H11Protocol):
    """HTTP/1.0 and 1.1; an offer to speak h2c is ignored, as any server may. WebSockets are for the entrance."""

    def __init__(self, guard: Guard, let_in: LetIn, *args: Any) -> None:
        super().__init__(*args)
        self.connection = StrictConnection(self.config.h11_max_incomplete_size)
        self._guard = guard
        self._let_in = let_in

    @property
    def has_begun_a_head(self) -> bool:
        return isinstance(self.connection, StrictConnection) and self.connection.has_begun_a_head

    def let_go(self) -> None:
        """It is over."""
        del self.send, self.task_group, self._let_in

    async def refuse_slow_head(self) -> None:
        await self._refuse(408, Refused.HEAD_TOO_SLOW)

    async def _refuse(self, status_code: int, reason: Refused) -> None:
        self._guard.refused(reason)
        await super()._send_error_response(status_code)

    async def _send_error_response(self, status_code: int) -> None:
        reason = OF_STATUS.get(status_code, Refused.NOT_HTTP)
        if self.connection.trailing_data[0].startswith(TLS_HANDSHAKE):
            reason = Refused.TLS
            log.info("a client speaks TLS to a port that does not; see TLS_CERTIFICATE_FILE")
        await self._refuse(status_code, reason)

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in {b"1.0", b"1.1"}:
            await self._refuse(505, Refused.NOT_SUPPORTED)
            await self.send(Closed())
            return
        if all(name != b"upgrade" for name, _ in request.headers):
            await super()._create_stream(request)
            return
        upgrade = Upgrade.asked_for(request)
        if upgrade is not None:
            if not upgrade.is_valid or self.connection.trailing_data[0]:  # nothing may come before our answer
                await self._refuse(400, Refused.UPGRADE)
                await self.send(Closed())
                return
            try:
                self._let_in(upgrade)
            except TransportError as refusal:
                self.connection_state[REFUSAL] = refusal  # for this request alone: its answer closes the connection
            else:
                raise Switched
        await super()._create_stream(without_upgrade(request))


def without_upgrade(request: h11.Request) -> h11.Request:
    """The request as one that wants nothing but an answer, so that Hypercorn takes it for no WebSocket."""
    headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)


class Connection(TCPServer):
    """Serves one accepted socket until either side closes it."""

    protocol: Http11  # type: ignore[assignment]

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        guard: Guard,
        entrance: Entrance,
        patience: Patience = Patience(),
        tls: TlsSession | None = None,
    ) -> None:
        super().__init__(app, config, context, {}, stream if tls is None else tls.stream)  # type: ignore[arg-type]
        self.guard = guard
        self.peer: Peer | None = None  # set when the connection has become a listener's
        self._entrance = entrance
        self._socket = stream.socket
        self._tls = tls  # over this stream, where the client speaks it
        self._patience = patience
        self._over = False  # nothing comes in any more
        self._takes = False  # something has come, and is being read: Trio gives us what was there a turn later
        self._reading = trio.CancelScope()  # its deadline is for the request that we wait for
        self._is_waiting = False
        self._hurried = False

    async def run(self) -> None:
        """Serve until the connection ends, or is a listener's: then `peer` must be run. Failures end here."""
        try:
            await self._serve()
        except* OSError:
            pass  # the peer has gone
        except* Exception:
            log.exception("connection failed")
        finally:
            if self.peer is None:
                with trio.CancelScope(shield=True):  # bounded, and nothing in it waits for the peer to act
                    await self._close()
            self._let_go()

    async def _serve(self) -> None:
        client = parse_socket_addr(self._socket.family, self._socket.getpeername())
        server = parse_socket_addr(self._socket.family, self._socket.getsockname())
        async with TaskGroup() as tasks:
            self._task_group = tasks
            self.protocol = Http11(
                self.guard,
                partial(self._let_in, client),
                self.app,
                self.config,
                self.context,
                tasks,
                ConnectionState({}),
                self._tls is not None,
                client,
                server,
                self.protocol_send,
            )
            self._begin_waiting()
            if self._tls is None or await self._shake_hands(self._tls):
                with suppress(Switched):
                    await self._read_patiently()
            self._over = True
            self._end_waiting()

    async def _shake_hands(self, tls: TlsSession) -> bool:
        try:
            reason = await tls.shake_hands(self._patience.head_s)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        if reason is not None:
            self.guard.refused(reason)
        return reason is None

    def _let_in(self, client: tuple[str, int] | None, upgrade: Upgrade) -> None:
        """Hand the socket over: nobody else uses it, for whoever asks is the task that reads from it."""
        family, kind, proto = self._socket.family, self._socket.type, self._socket.proto

        def detach() -> socket.socket | SecureSocket:
            sock = socket.socket(family, kind, proto, self._socket.detach())
            sock.setblocking(False)
            return sock if self._tls is None else self._tls.over(sock)

        self.peer = self._entrance.let_in(upgrade, detach, client[0] if client else None)

    async def _read_patiently(self) -> None:
        while True:
            with self._reading:
                await self._read_data()
                return
            if self._over:  # the other direction has failed
                await self.protocol.handle(Closed())
                return
            if self._is_waiting:
                await self._give_up()
                return
            self._reading = trio.CancelScope()  # a request has come at the last moment

    async def _read_data(self) -> None:
        while not self._over:
            self._takes = has_unread(self._socket)
            try:
                data = bytes(await self.stream.receive_some(MAX_RECV))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if self._over:
                break
            self._takes = True
            self._hurry_head()
            await self.protocol.handle(RawData(data))
            if not data:
                break
        await self.protocol.handle(Closed())

    # --- waiting for a request

    def _begin_waiting(self) -> None:
        self.guard.waits(self, begins=True)
        self._is_waiting, self._hurried = True, False
        self._reading.deadline = trio.current_time() + self.config.keep_alive_timeout
        if self.protocol.has_begun_a_head:
            self._hurry_head()

    def _end_waiting(self) -> None:
        if self._is_waiting:
            self.guard.waits(self, begins=False)
            self._is_waiting = False
            self._reading.deadline = math.inf

    def _hurry_head(self) -> None:
        """Something of a head has come: the rest must follow soon."""
        if self._is_waiting and not self._hurried:
            self._hurried = True
            self._reading.deadline = min(self._reading.deadline, trio.current_time() + self._patience.head_s)

    async def _give_up(self) -> None:
        """No request has come, or its head does not end."""
        self._over = True
        if self.protocol.has_begun_a_head:
            await self.protocol.refuse_slow_head()
        await self.protocol.handle(Closed())
        await self._close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            if event.idle and not self._over:
                self._begin_waiting()
            else:
                self._end_waiting()
            return
        if not isinstance(event, RawData):
            # Quart-Trio cancels a handler that has answered, while it is closing the connection: without the shield it
            # would stay open for ever now and then.
            with trio.CancelScope(shield=True):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.CancelScope(shield=True):  # half a message would be worse than a late cancellation
                    await self._send(memoryview(event.data))
            except trio.TooSlowError:
                self.guard.refused(Refused.UNREAD)
                log.info("client cut: it does not read its answer")
                self.cut()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            else:
                return
        self._stop_reading()
        await self.protocol.handle(Closed())

    def _stop_reading(self) -> None:
        """Hypercorn waits for the end of an answer before it looks at the request behind it, and this has no end."""
        self._over = True
        self._reading.cancel(reason="there is nobody to answer")

    async def _close(self) -> None:
        if self._tls is not None:
            await self._tls.say_goodbye()
        # Not `send_eof`: it makes a send that is just beginning in another task fail as if that were a bug.
        with suppress(OSError):  # the peer may have gone
            self._socket.shutdown(socket.SHUT_WR)
        await self.stream.aclose()

    async def _send(self, data: memoryview) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            with trio.fail_after(self._patience.stall_s):
                await self.stream.send_all(data[start : start + PIECE_BYTES])

    def _let_go(self) -> None:
        """Part from what knows us, too: then all of it goes at once, and need not wait for a collection of garbage."""
        with suppress(AttributeError):  # it ended before it had begun
            self.protocol.let_go()
            del self.protocol, self._task_group

    @property
    def has_asked(self) -> bool:
        """Whether there is a request, or something of one that nobody has looked at yet."""
        protocol = getattr(self, "protocol", None)  # Hypercorn's class has none until it runs
        return self._takes or has_unread(self._socket) or (protocol is not None and protocol.stream is not None)

    def leave(self) -> None:
        """Close the connection without waiting for anything."""
        self._socket.close()

    def cut(self) -> None:
        """Reset the connection: whatever is under way on it fails at once."""
        reset_on_close(self._socket)
        self._socket.close()
        self._stop_reading()
