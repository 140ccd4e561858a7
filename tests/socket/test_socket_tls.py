"""Listeners where the port speaks TLS: nothing of the contract is given up behind the tunnel."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from socket_rig import EVENT_BYTES, PING, PONG, TEXT, Peer, Served, outpace, serving
from websockets.sync.client import connect

from identity import Identity, trusting


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.new(tmp_path)


class Corked(trio.abc.Stream):
    """Holds back what is sent until it is let go, all at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._held: bytes | None = None

    def hold(self) -> None:
        self._held = b""

    async def let_go(self) -> None:
        held, self._held = self._held, None
        await self._stream.send_all(held or b"")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._held is None:
            await self._stream.send_all(data)
        else:
            self._held += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def peer(rig: Served, query: str = "", *, window_bytes: int | None = None) -> AsyncIterator[Peer]:
    """A peer that has been let in; with a small window it is full soon."""
    sock = trio.socket.socket()
    if window_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
    await sock.connect(("127.0.0.1", rig.port))
    plain = trio.SocketStream(sock)
    stream = trio.SSLStream(plain, trusting(), server_hostname="127.0.0.1", https_compatible=True)
    async with plain:
        it = Peer(stream)  # type: ignore[arg-type] # it sends and receives
        assert await it.upgrade(f"/ws?{query}") == 101
        yield it


async def test_an_independent_client_hears_all_in_order_and_resumes(identity: Identity) -> None:
    async with serving(**identity.settings) as rig:
        url = f"wss://127.0.0.1:{rig.port}/ws"

        def listen(query: str, count: int) -> list[dict[str, Any]]:
            with connect(f"{url}?{query}", ssl=trusting()) as ws:
                return [json.loads(ws.recv(timeout=10)) for _ in range(count)]

        ids = rig.happen(*["a"] * 50, size=5000)
        welcome, *heard = await trio.to_thread.run_sync(listen, "after=0", 51)
        assert welcome["type"] == "welcome"
        assert [event["id"] for event in heard] == list(ids)
        later = rig.happen(*["a"] * 3)
        _, *rest = await trio.to_thread.run_sync(listen, f"after={ids[-1]}", 4)
        assert [event["id"] for event in rest] == list(later)


async def test_pings_are_answered_and_both_may_say_goodbye(identity: Identity) -> None:
    async with serving(**identity.settings) as rig:
        async with peer(rig) as it:
            assert (await it.receive_json())["type"] == "welcome"
            await it.send(PING, b"there?")
            assert await it.receive() == (PONG, b"there?")
            await it.send(TEXT, b'{"type":"ping"}')
            assert (await it.receive_json())["type"] == "pong"
            await it.send(8, b"\x03\xe8")
            assert await it.close_code(answer=False) == 1000
            assert await it.rest() == b""
        async with peer(rig) as it:
            rig.hub.close()
            assert await it.close_code() == 1001
            assert await it.rest() == b""


async def test_a_listener_that_lags_is_closed_with_4008_and_the_others_hear_on(identity: Identity) -> None:
    async with (
        serving(**identity.settings, listener_backlog_bytes=200_000) as rig,
        peer(rig, window_bytes=4096) as slow,
        peer(rig) as quick,
    ):
        assert (await quick.receive_json())["type"] == "welcome"
        await outpace(rig, quick)
        assert await slow.close_code() == 4008


async def test_a_listener_that_never_reads_again_is_cut(identity: Identity) -> None:
    async with serving(**identity.settings, listener_backlog_bytes=100_000) as rig:
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with peer(rig, window_bytes=4096) as slow:
            while not rig.dropped("too_slow"):
                rig.happen("a", size=EVENT_BYTES)
                await trio.sleep(0.001)
            await rig.until_listeners(0)
            with trio.fail_after(10):
                await rig.until_tasks(tasks)
            with pytest.raises(trio.BrokenResourceError):  # no orderly end: a frame was cut in the middle
                await read_to_the_end(slow)


async def read_to_the_end(it: Peer) -> None:
    while await it.stream.receive_some(65536):
        pass


async def test_silent_listeners_are_closed_and_those_who_answer_stay(identity: Identity) -> None:
    async with serving(**identity.settings, heartbeat_s=0.1) as rig, peer(rig) as silent, peer(rig) as alive:
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                while True:
                    opcode, payload = await alive.receive()
                    if opcode == PING:
                        await alive.send(PONG, payload)

            nursery.start_soon(answer)
            await rig.until_listeners(1)
            assert rig.dropped("silent") == 1
            await trio.sleep(0.5)
            assert rig.hub.statistics().listeners == 1
            nursery.cancel_scope.cancel()
        await silent.rest()


async def test_an_upgrade_may_follow_other_requests_of_its_connection(identity: Identity) -> None:
    """Reverse proxies use connections again. By then the session has sent, which is not so for a first request."""
    async with serving(**identity.settings) as rig:
        plain = await trio.open_tcp_stream("127.0.0.1", rig.port)
        stream = trio.SSLStream(plain, trusting(), server_hostname="127.0.0.1", https_compatible=True)
        async with plain:
            it = Peer(stream)  # type: ignore[arg-type]
            for _ in range(2):
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await it.answer() == 200
                while not it.buffer.endswith(b"}"):
                    it.buffer += await stream.receive_some()
                it.buffer = b""
            assert await it.upgrade() == 101
            assert (await it.receive_json())["type"] == "welcome"
            (told,) = rig.happen("a")
            assert (await it.receive_json())["id"] == told


@pytest.mark.parametrize("sent", [b"no record", b"\x17\x03\x03\x00\x20" + bytes(32), b"\x17\x03\x03\xff\xff"])
async def test_who_stops_keeping_to_tls_is_closed_alone(identity: Identity, sent: bytes) -> None:
    async with serving(**identity.settings) as rig, peer(rig) as good, peer(rig) as bad:
        await rig.until_listeners(2)
        transport: trio.SocketStream = bad.stream.transport_stream  # type: ignore[attr-defined]
        await transport.send_all(sent)
        await rig.until_listeners(1)
        assert (await good.receive_json())["type"] == "welcome"
        (told,) = rig.happen("a")
        assert (await good.receive_json())["id"] == told


async def test_messages_that_come_together_are_answered_at_once(identity: Identity) -> None:
    async with serving(**identity.settings) as rig:
        transport = Corked(await trio.open_tcp_stream("127.0.0.1", rig.port))
        async with transport:
            it = Peer(trio.SSLStream(transport, trusting(), server_hostname="127.0.0.1"))  # type: ignore[arg-type]
            assert await it.upgrade() == 101
            assert (await it.receive_json())["type"] == "welcome"
            transport.hold()
            for _ in range(3):
                await it.send(TEXT, b'{"type":"ping"}')
            await transport.let_go()
            assert [(await it.receive_json())["type"] for _ in range(3)] == ["pong"] * 3


async def test_large_messages_cross_records_both_ways(identity: Identity) -> None:
    async with serving(**identity.settings) as rig, peer(rig) as it:
        assert (await it.receive_json())["type"] == "welcome"
        (told,) = rig.happen("a", size=300_000)
        assert (await it.receive_json())["id"] == told
        for _ in range(3):
            await it.send(TEXT, b'{"type":"ping"}' + b" " * 3000)
        assert [(await it.receive_json())["type"] for _ in range(3)] == ["pong"] * 3


async def test_a_refused_upgrade_is_answered_within_tls(identity: Identity) -> None:
    async with serving(**identity.settings, api_keys=("a-key-of-the-tests",)) as rig:
        plain = await trio.open_tcp_stream("127.0.0.1", rig.port)
        stream = trio.SSLStream(plain, trusting(), server_hostname="127.0.0.1", https_compatible=True)
        async with plain:
            it = Peer(stream)  # type: ignore[arg-type]
            assert await it.upgrade("/ws") == 401
            assert b"unauthorized" in await it.rest()
