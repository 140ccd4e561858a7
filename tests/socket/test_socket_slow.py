"""Peers that do not read: they are cut in bounded time and delay nobody."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from socket_rig import CLOSE, EVENT_BYTES, PING, PONG, TEXT, Peer, Served, client_frame, outpace, peer, serving
from trio.testing import wait_all_tasks_blocked

from transport_trio.web.messages import ends_with_close
from transport_trio.web.peer import CLOSE_S
from transport_trio.web.sockets import has_unread


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
        told = await outpace(rig, quick)
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


async def test_a_flood_of_pongs_has_an_end() -> None:
    """They used to be counted nowhere, and let no other task in between."""
    async with (
        serving(listener_messages_max=10, heartbeat_s=5) as rig,
        peer(rig) as flood,
        trio.open_nursery() as nursery,
    ):

        async def send() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    await flood.stream.send_all(client_frame(PONG, b"") * 1000)

        nursery.start_soon(send)
        assert await flood.close_code(answer=False) == 4429
        nursery.cancel_scope.cancel()


async def test_what_follows_a_close_is_not_taken_apart() -> None:
    """Else who floods would be served best after we have given it up."""
    async with serving(listener_messages_max=10) as rig, peer(rig) as flood:
        await flood.stream.send_all(client_frame(TEXT, b'{"type":"ping"}') * 11)
        assert await flood.close_code(answer=False) == 4429
        await flood.stream.send_all(b"\xff" * 1000)  # no frame at all, and nobody minds
        began = trio.current_time()
        await flood.send(CLOSE, b"\x11\x4d")
        assert await flood.rest() == b""
        assert trio.current_time() - began < CLOSE_S / 2


@pytest.mark.parametrize(("reason", "ends"), [(b"", True), (b"x" * 123, True), (b"x" * 124, False)])
def test_a_close_frame_is_found_at_the_end(reason: bytes, ends: bool) -> None:
    assert ends_with_close(client_frame(TEXT, b"x") + client_frame(CLOSE, b"\x03\xe8" + reason)) is ends
    assert not ends_with_close(client_frame(CLOSE, b"\x03\xe8" + reason) + b"x")
    assert not ends_with_close(b"")


def test_what_lies_unread_is_seen_without_reading_it() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert not has_unread(left)
        right.send(b"x")
        assert has_unread(left)
        left.recv(1)
        assert not has_unread(left)
        left.close()
        assert not has_unread(left)
