"""Peers that do not read: they are cut in bounded time and delay nobody."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from socket_rig import PING, TEXT, Peer, Served, client_frame, peer, serving
from trio.testing import wait_all_tasks_blocked

EVENT_BYTES = 60_000


@asynccontextmanager
async def reluctant(rig: Served, query: str = "") -> AsyncIterator[Peer]:
    """A peer with so small a window that a few events fill it; it reads when asked to."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", rig.port))
    async with trio.SocketStream(sock) as stream:
        it = Peer(stream)
        assert await it.upgrade(f"/ws?{query}") == 101
        yield it


async def test_a_listener_that_lags_too_far_is_closed_with_4008_and_the_others_hear_on() -> None:
    async with serving(listener_backlog_bytes=200_000) as rig, reluctant(rig) as slow, peer(rig) as quick:
        told = 0
        while not rig.dropped("too_slow"):
            (told,) = rig.happen("a", size=EVENT_BYTES)
            assert (await quick.receive_json())["id"] == told
        rig.happen("a")
        assert (await quick.receive_json())["id"] == told + 1
        # It starts to read again in time: what was under way arrives whole, then the reason.
        assert await slow.close_code() == 4008
        assert told > 3


async def test_a_listener_that_never_reads_again_is_cut() -> None:
    async with serving(listener_backlog_bytes=100_000) as rig:
        await wait_all_tasks_blocked()
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        async with reluctant(rig) as slow:
            while not rig.dropped("too_slow"):
                rig.happen("a", size=EVENT_BYTES)
                await wait_all_tasks_blocked()  # so that a write is under way when it is found too slow
            assert rig.hub.statistics().listeners == 1
            await rig.until_listeners(0)  # within CLOSE_S
            with trio.fail_after(5):
                await rig.until_tasks(tasks_before)  # nothing of its connection waits any longer
            # A frame was cut in the middle: nothing may follow it, and the kernel keeps nothing to be read later.
            with pytest.raises(trio.BrokenResourceError):
                await read_to_the_end(slow)


async def read_to_the_end(it: Peer) -> None:
    """Returns at an orderly end, raises at another."""
    with suppress(EOFError):
        while True:
            await it.receive()


async def test_a_stalled_replay_is_cut_though_nothing_counts_as_backlog() -> None:
    async with serving(heartbeat_s=0.1) as rig:
        rig.happen(*["a"] * 20, size=EVENT_BYTES)
        async with reluctant(rig, "after=0") as slow, trio.open_nursery() as nursery:
            nursery.start_soon(_show_life, slow)
            await rig.until_listeners(1)
            await rig.until_listeners(0)
            assert rig.dropped("too_slow") == 1
            nursery.cancel_scope.cancel()


async def _show_life(it: Peer) -> None:
    try:
        while True:
            await it.send(TEXT, b'{"type":"pong"}')
            await trio.sleep(0.05)
    except trio.BrokenResourceError:
        await trio.sleep_forever()


async def test_a_stop_waits_for_nobody_who_does_not_read() -> None:
    async with serving() as rig, reluctant(rig), reluctant(rig, "after=0") as pinging, peer(rig) as quick:
        rig.happen(*["a"] * 12, size=EVENT_BYTES)
        await pinging.stream.send_all(client_frame(PING, b"x" * 125) * 20)
        for _ in range(12):
            await quick.receive_json()
        rig.hub.close()
        assert await quick.close_code() == 1001
        await rig.until_listeners(0)  # within CLOSE_S, though two of three never read


async def test_a_flood_from_a_peer_that_does_not_read_ends_too() -> None:
    async with serving(listener_messages_max=50) as rig, reluctant(rig) as it:
        with trio.move_on_after(1):
            try:
                while True:
                    await it.stream.send_all(client_frame(PING, b"x" * 125) * 100)
            except trio.BrokenResourceError:
                pass
        await rig.until_listeners(0)
        assert rig.dropped("flooding") == 1
