"""One connection of a client, as Hypercorn serves it, with these differences.

- HTTP/1.1 only. Hypercorn speaks HTTP/2 without TLS to whoever asks; nothing here is made or tested for that.
- A peer that stops reading its answer is cut after `STALL_S` without progress. Hypercorn shields its sends from
  cancellation, so that such a peer could hold its handler, and a stop of the service, for ever.
- A connection ends, or begins to wait for its next request, also when its handler is cancelled meanwhile.
- A connection that its client has closed ends at once, and not when its keep-alive runs out.
- What comes after a connection's last request is dropped, and does not spoil that request's answer.
- A failure ends this connection and is logged; it does not end the server.

Held to Hypercorn 0.18; tests/web/test_web_connection.py names what this relies on.
"""

from __future__ import annotations

import logging
import socket
import struct
from contextlib import suppress
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

log = logging.getLogger(__name__)

# A piece that has not gone out after so long is sent at less than 2 KiB/s: slower than any honest reader.
STALL_S = 30.0
PIECE_BYTES = 64 * 1024


class LastRequestCounts(h11.Connection):
    """Drops what a client sends after the request that it, or we, have called the last one.

    h11 takes such bytes for a fault of the request before them, which is being answered: a stray line end after a body
    would turn its 201 into a 400.
    """

    @property
    def _had_the_last(self) -> bool:
        return self.their_state in {h11.MUST_CLOSE, h11.CLOSED}

    def receive_data(self, data: bytes) -> None:
        if not self._had_the_last or not data:
            super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        return h11.NEED_DATA if self._had_the_last else super().next_event()


class Http11(H11Protocol):
    """HTTP/1.0 and 1.1; an offer to speak h2c is ignored, as any server may."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection = LastRequestCounts(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version in {b"1.0", b"1.1"}:
            await super()._create_stream(request)
        else:
            await self._send_error_response(505)
            await self.send(Closed())


class Connection(TCPServer):
    """Serves one accepted socket until either side closes it."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        stall_s: float = STALL_S,
    ) -> None:
        super().__init__(app, config, context, {}, stream)  # type: ignore[arg-type]
        self._socket = stream.socket
        self._stall_s = stall_s
        self._over = False  # nothing comes in any more

    async def run(self) -> None:
        """Serve until the connection ends; failures end here."""
        try:
            await self._serve()
        except* OSError:
            pass  # the peer has gone
        except* Exception:
            log.exception("connection failed")
        finally:
            with trio.CancelScope(shield=True):  # neither waits for the peer
                await self._close()

    async def _serve(self) -> None:
        client = parse_socket_addr(self._socket.family, self._socket.getpeername())
        server = parse_socket_addr(self._socket.family, self._socket.getsockname())
        async with TaskGroup() as tasks:
            self._task_group = tasks
            self.protocol = Http11(  # type: ignore[assignment]
                self.app,
                self.config,
                self.context,
                tasks,
                ConnectionState({}),
                False,
                client,
                server,
                self.protocol_send,
            )
            await self.idle_task.restart(tasks, self._idle_timeout)
            await self._read_data()
            self._over = True
            await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and self._over:
            return  # no next request to wait for
        if not isinstance(event, RawData):
            # Quart-Trio cancels a handler that has answered, while it is closing the connection or setting the
            # keep-alive timer: without the shield a connection would stay open for ever now and then.
            with trio.CancelScope(shield=True):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.CancelScope(shield=True):  # half a message would be worse than a late cancellation
                    await self._send(memoryview(event.data))
            except trio.TooSlowError:
                log.info("client cut: it does not read its answer")
                self.cut()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            else:
                return
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        # Not `send_eof`: it makes a send that is just beginning in another task fail as if that were a bug.
        with suppress(OSError):  # the peer may have gone
            self._socket.shutdown(socket.SHUT_WR)
        await self.stream.aclose()

    async def _send(self, data: memoryview) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            with trio.fail_after(self._stall_s):
                await self.stream.send_all(data[start : start + PIECE_BYTES])

    def cut(self) -> None:
        """Reset the connection: whatever is under way on it fails at once."""
        with suppress(OSError):  # it may be closed already
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
