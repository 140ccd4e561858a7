"""A network between client and NATS that loses answers, holds requests back and cuts connections, on command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from nats_server import NatsServer, Place

ACK = b'{"stream":'  # how the answer to a publish begins, and no other
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class _Wire:
    """One connection: the half to the client, and the half to the server."""

    client: trio.SocketStream
    server: trio.SocketStream
    deaf: bool = False
    losing_acks: bool = False
    acks_lost: int = 0
    holding: bool = False
    held: list[bytes] = attrs.field(factory=list)
    released: trio.Event = attrs.field(factory=trio.Event)
    held_something: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answers)
            await self._requests()
            if self.holding:
                await self.released.wait()
            with suppress(*GONE):
                # The server reads everything before the end; cutting it off could lose what is on the way.
                await self.server.send_eof()

    async def _requests(self) -> None:
        with suppress(*GONE):
            while data := await self.client.receive_some():
                if self.holding:
                    self.held.append(data)
                    self.held_something.set()
                else:
                    await self.server.send_all(data)

    async def _answers(self) -> None:
        with suppress(*GONE):
            while data := await self.server.receive_some():
                self.deaf = self.deaf or (self.losing_acks and ACK in data)
                if self.deaf:
                    self.acks_lost += data.count(ACK)
                    continue
                with suppress(*GONE):
                    await self.client.send_all(data)
        await self.client.aclose()

    async def release(self) -> None:
        for data in self.held:
            await self.server.send_all(data)
        self.holding = False
        self.released.set()


class LossyProxy:
    """Forwards to a server. Made by `open_lossy_proxy`."""

    def __init__(self, place: Place | NatsServer, url: str) -> None:
        self._port = place.port
        self.url = url
        self._wires: list[_Wire] = []
        self._refusing = self._deaf = self._losing_acks = False
        self._acks_lost = 0  # of connections that have ended

    @property
    def acks_lost(self) -> int:
        """How many acknowledgements have gone nowhere."""
        return self._acks_lost + sum(wire.acks_lost for wire in self._wires)

    def lose_acks(self) -> None:
        """Each connection, the next ones too, loses everything from its first acknowledgement on."""
        self._losing_acks = True
        for wire in self._wires:
            wire.losing_acks = True

    def lose_answers(self) -> None:
        """What the server says goes nowhere from now on; what it is told arrives."""
        self._deaf = True
        for wire in self._wires:
            wire.deaf = True

    def hold_requests(self) -> None:
        """What the present connections say is kept back from now on, and survives their cut."""
        for wire in self._wires:
            wire.holding = True

    async def wait_held(self) -> None:
        for wire in tuple(self._wires):
            if wire.holding:
                await wire.held_something.wait()

    async def release(self) -> None:
        """Let the server have, late, what was kept back."""
        for wire in tuple(self._wires):
            if wire.holding:
                await wire.release()

    async def wait_closed(self) -> None:
        """Return when the server has read everything of connections that were cut, late copies included."""
        for wire in tuple(self._wires):
            if wire.released.is_set():
                await wire.closed.wait()

    async def cut(self) -> None:
        """End the present connections of clients."""
        for wire in tuple(self._wires):
            await trio.aclose_forcefully(wire.client)

    def refuse(self) -> None:
        """From now on connections are closed at once."""
        self._refusing = True

    def heal(self) -> None:
        """New connections have no faults; those that have lost answers go on losing them."""
        self._refusing = self._deaf = self._losing_acks = False
        for wire in self._wires:
            wire.losing_acks = False

    async def handle(self, client: trio.SocketStream) -> None:
        if self._refusing:
            return
        with suppress(OSError):
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as server:
                wire = _Wire(client, server, deaf=self._deaf, losing_acks=self._losing_acks)
                self._wires.append(wire)
                try:
                    await wire.run()
                finally:
                    self._wires.remove(wire)
                    self._acks_lost += wire.acks_lost
                    wire.closed.set()


@asynccontextmanager
async def open_lossy_proxy(place: Place | NatsServer) -> AsyncIterator[LossyProxy]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = LossyProxy(place, place.url_through(listener.socket.getsockname()[1]))
        nursery.start_soon(trio.serve_listeners, proxy.handle, [listener])
        yield proxy
        nursery.cancel_scope.cancel(reason="nobody needs the proxy any more")
