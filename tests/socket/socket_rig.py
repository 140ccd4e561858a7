"""The WebSocket route on a real port, and a peer that can misbehave."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from fakes_hub import Rig, open_rig
from transport_trio.concurrency import SystemClock
from transport_trio.web import KeyRing, WebDeps, serve

EVENT_BYTES = 60_000  # a few of these fill a small window
TEST_S = 30  # bounds every test with sockets; none comes near it
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


class Served(Rig):
    """A hub with its route on a port."""

    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, query: str = "") -> str:
        return f"ws://{self.address}/ws?{query}" if query else f"ws://{self.address}/ws"

    async def until_listeners(self, count: int) -> None:
        """Wait until the hub has this many listeners."""
        while self.hub.statistics().listeners != count:  # noqa: ASYNC110 -- the hub tells nobody who leaves
            await trio.sleep(0.005)

    async def until_tasks(self, count: int) -> None:
        """Wait until no more than this many tasks live in the whole process."""
        while trio.lowlevel.current_statistics().tasks_living > count:  # noqa: ASYNC110 -- as above
            await trio.sleep(0.005)


def _deps(rig: Rig) -> WebDeps:
    """The use-cases behind the other routes are not asked for anything here."""
    return WebDeps(
        settings=rig.settings,
        service=None,  # type: ignore[arg-type]
        journal=rig.journal,
        hub=rig.hub,
        metrics=rig.metrics,
        keys=KeyRing(rig.settings.api_keys),
        clock=SystemClock(),
        checks=list,
        started_at=trio.current_time(),
        stopping=lambda: False,
    )


@asynccontextmanager
async def serving(journal: Any = None, **settings: Any) -> AsyncIterator[Served]:
    """A served hub; when the block ends it is stopped, and nothing of it may be left."""
    stop, stopped = trio.Event(), trio.Event()
    with trio.fail_after(TEST_S):
        async with open_rig(journal, kind=Served, port=0, **settings) as rig, trio.open_nursery() as nursery:
            tasks_before = trio.lowlevel.current_statistics().tasks_living

            async def run(*, task_status: trio.TaskStatus[str]) -> None:
                await serve(_deps(rig), stop=stop, task_status=task_status)
                stopped.set()

            url = await nursery.start(run)
            rig.port = int(url.rpartition(":")[2])
            yield rig
            await rig.until_listeners(0)
            stop.set()
            await stopped.wait()
            assert trio.lowlevel.current_statistics().tasks_living <= tasks_before


@asynccontextmanager
async def listening(rig: Served, query: str = "") -> AsyncIterator[WebSocketConnection]:
    """trio-websocket's client, on a stream of ours: it forgets to close its own when the server closes first."""
    async with await trio.open_tcp_stream("127.0.0.1", rig.port) as stream, trio.open_nursery() as nursery:
        async with await wrap_client_stream(nursery, stream, rig.address, f"/ws?{query}") as ws:
            yield ws
        nursery.cancel_scope.cancel()


async def hear(ws: WebSocketConnection, type_: str | None = None) -> Any:
    """The next message, of this type if one is named."""
    while True:
        message = json.loads(await ws.get_message())
        if type_ in (None, message["type"]):
            return message


async def outpace(rig: Served, quick: Peer) -> int:
    """Tell events, which `quick` hears, until another listener is too slow for them; the id of the last of those."""
    told = 0
    while not rig.dropped("too_slow"):
        (told,) = rig.happen("a", size=EVENT_BYTES)
        assert (await quick.receive_json())["id"] == told
    rig.happen("a")
    assert (await quick.receive_json())["id"] == told + 1
    return told


class Peer:
    """A WebSocket client that does exactly what it is told, right or wrong."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""
        self.head = ""

    async def upgrade(self, target: str = "/ws", headers: Sequence[str] = (), *, host: str = "localhost") -> int:
        """Ask for the upgrade and return the status."""
        await self.ask(target, headers, host=host)
        return await self.answer()

    async def ask(
        self, target: str = "/ws", headers: Sequence[str] = (), *, host: str = "localhost", extra: bytes = b""
    ) -> None:
        """Ask for the upgrade, with `extra` right behind."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        await self.stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode() + extra)

    async def answer(self) -> int:
        """The status of the answer; what follows its head stays in the buffer."""
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.head = head.decode()
        return int(self.head.split()[1])

    def reset(self) -> None:
        """Vanish without a goodbye."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        try:
            while True:
                await self._more()
        except (EOFError, trio.BrokenResourceError):
            return self.buffer

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True) -> None:
        await self.stream.send_all(client_frame(opcode, payload, fin=fin, mask=mask))

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: its opcode and payload."""
        while True:
            frame = self._parse()
            if frame is not None:
                return frame
            await self._more()

    async def receive_json(self) -> Any:
        """The next text message; RFC 6455 pings are passed over."""
        while True:
            opcode, payload = await self.receive()
            if opcode == TEXT:
                return json.loads(payload)
            assert opcode == PING, (opcode, payload)

    async def close_code(self, *, answer: bool = True) -> int:
        """The code of the close frame that comes after whatever else is sent."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                if answer:
                    await self.send(CLOSE, payload[:2])
                return int(struct.unpack("!H", payload[:2])[0])

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def _parse(self) -> tuple[int, bytes] | None:
        if len(self.buffer) < 2:
            return None
        size, start = self.buffer[1], 2
        assert not size & 0x80, "servers do not mask"
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(self.buffer) < start:
                return None
            size = int.from_bytes(self.buffer[2:start])
        if len(self.buffer) < start + size:
            return None
        assert self.buffer[0] & 0xF0 == 0x80, "whole frames, no reserved bits"
        frame = self.buffer[0] & 0xF, self.buffer[start : start + size]
        self.buffer = self.buffer[start + size :]
        return frame


def client_frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", (fin << 7) | opcode, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", (fin << 7) | opcode, bit | 126, size)
    else:
        head = struct.pack("!BBQ", (fin << 7) | opcode, bit | 127, size)
    return head + (b"\0\0\0\0" if mask else b"") + payload


@asynccontextmanager
async def peer(rig: Served, query: str = "", *, upgrade: bool = True) -> AsyncIterator[Peer]:
    """A peer that is connected, and (unless told otherwise) has its welcome behind it."""
    stream = await trio.open_tcp_stream("127.0.0.1", rig.port)
    async with stream:
        it = Peer(stream)
        if upgrade:
            assert await it.upgrade(f"/ws?{query}" if query else "/ws") == 101
            assert (await it.receive_json())["type"] == "welcome"
        yield it
