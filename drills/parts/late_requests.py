"""A network on which requests that make rooms arrive late, and arrive even when their sender has died meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
MAKES_A_ROOM = b"POST /v1/rooms "
GRACE_S = 0.3


@attrs.define(eq=False)
class LateRequests:
    """Forwards connections; while `holding`, requests that make rooms wait until `deliver`."""

    upstream_port: int
    port: int = 0
    holding: bool = False
    held: list[trio.Event] = attrs.field(factory=list)
    under_way: int = 0  # held, or delivered and not yet carried out

    def deliver(self, most: int) -> int:
        """Let so many of those that are held arrive now; how many that are."""
        arriving, self.held = self.held[:most], self.held[most:]
        for event in arriving:
            event.set()
        return len(arriving)

    async def _serve(self, client: trio.SocketStream) -> None:
        async with client:
            with suppress(*GONE):
                async with await trio.open_tcp_stream("127.0.0.1", self.upstream_port) as server:
                    await self._forward(client, server)

    async def _forward(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answers, client, server)
            late = await self._requests(client, server)
            if late:
                # The provider shall carry it out, though nobody waits for its answer any more.
                await trio.sleep(GRACE_S)
            self.under_way -= late
            nursery.cancel_scope.cancel()

    async def _requests(self, client: trio.SocketStream, server: trio.SocketStream) -> int:
        """Forward until the client's end; how many of its requests were late."""
        late = 0
        with suppress(*GONE):
            while data := await client.receive_some():
                if self.holding and MAKES_A_ROOM in data:
                    late += 1
                    self.under_way += 1
                    arrives = trio.Event()
                    self.held.append(arrives)
                    await arrives.wait()
                await server.send_all(data)
        return late

    async def _answers(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        with suppress(*GONE):
            while data := await server.receive_some():
                await client.send_all(data)


@asynccontextmanager
async def late_requests(upstream_port: int) -> AsyncIterator[LateRequests]:
    proxy = LateRequests(upstream_port)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy._serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
