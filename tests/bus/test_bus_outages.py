"""A bus whose server is away, stops, dies, freezes, talks nonsense or does not let us in."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trio_asyncio
from bus_rig import HASTY, LIMIT_S, PATIENT, Writer, until, until_away, until_ready, until_told

from nats_server import NatsServer
from transport_trio.bus import LinkSettings, NatsBus, NatsSettings, open_nats
from transport_trio.errors import BusUnavailable
from transport_trio.models import CheckStatus


async def test_start_does_not_wait_for_a_server(asyncio_loop: None, own_server: NatsServer) -> None:
    own_server.stop()
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=PATIENT) as bus:
            assert bus.health().status is CheckStatus.DEGRADED
            with pytest.raises(BusUnavailable, match="not yet connected"):
                await Writer(bus).write()
            assert own_server.url in await until_told(bus, "Connect call failed")
            own_server.start()
            await until_ready(bus)
            assert bus.health() == attrs.evolve(bus.health(), status=CheckStatus.OK, message="")
            await Writer(bus).write()


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
async def test_connection_is_made_again_for_as_long_as_it_takes(
    asyncio_loop: None, own_server: NatsServer, end: Callable[[NatsServer], None]
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=PATIENT) as bus:
            await until_ready(bus)
            ours = Writer(bus)
            for _ in range(2):
                await ours.write()
                end(own_server)
                await until_away(bus)
                own_server.start()
                await until_ready(bus)
            assert await bus.last_of(ours.session_id) == (2, ours.epoch, 2)
            await ours.write()


async def test_lost_connection_ends_a_call_at_once(asyncio_loop: None, own_server: NatsServer) -> None:
    """An hour would pass if the call waited for its ack: the limit of the test would not be kept."""
    settings = NatsSettings(link=LinkSettings(ack_s=3600), look_s=3600, retry_base_s=0.02, retry_max_s=0.1)
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=settings) as bus:
            await until_ready(bus)
            own_server.freeze()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_unavailable, Writer(bus).write, "connection")
                await trio.testing.wait_all_tasks_blocked(0.01)
                own_server.kill()


async def test_frozen_server_is_noticed_and_its_thaw_too(asyncio_loop: None, own_server: NatsServer) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=HASTY) as bus:
            await until_ready(bus)
            ours = Writer(bus)
            await ours.write()
            own_server.freeze()
            await expect_unavailable(ours.write, "no answer within 1 s")
            assert bus.health().status is CheckStatus.DEGRADED
            own_server.thaw()
            await until_ready(bus)
            # It read at last what it had been sent: whoever repeats now, without asking, would store it twice.
            seq, epoch, event_id = await bus.last_of(ours.session_id) or (0, "", 0)
            assert (seq, epoch, event_id) == (2, ours.epoch, 2)


async def test_frozen_server_is_noticed_without_a_publish(asyncio_loop: None, own_server: NatsServer) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=attrs.evolve(HASTY, look_s=0.05)) as bus:
            await until_ready(bus)
            own_server.freeze()
            await until_away(bus)


async def test_leaving_does_not_wait_for_a_frozen_server(asyncio_loop: None, own_server: NatsServer) -> None:
    """Megabytes that nobody reads are on their way: an orderly close would wait for ever."""
    settings = attrs.evolve(PATIENT, link=LinkSettings(ack_s=3600, close_s=0.1))
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            async with open_nats(own_server.url, settings=settings) as bus:
                await until_ready(bus)
                own_server.freeze()
                for _ in range(64):
                    nursery.start_soon(expect_unavailable, partial(Writer(bus).write, body=b"x" * 500_000), "lost|not")
                await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel(reason="the bus is closed")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_connection_that_the_library_gives_up_by_itself_is_cut_off_too(
    asyncio_loop: None, own_server: NatsServer
) -> None:
    """It waits for ever to send what is left to a server that reads nothing; socket and megabytes would stay."""
    settings = attrs.evolve(PATIENT, link=LinkSettings(ack_s=3600, ping_s=0.05, close_s=0.1))
    with trio.fail_after(LIMIT_S):
        before = open_sockets()
        async with open_nats(own_server.url, settings=settings) as bus, trio.open_nursery() as nursery:
            await until_ready(bus)
            own_server.freeze()
            for _ in range(64):
                nursery.start_soon(expect_unavailable, partial(Writer(bus).write, body=b"x" * 500_000), "lost|not")
            await until_away(bus)
            nursery.cancel_scope.cancel(reason="the library has given it up")
        await until(lambda: open_sockets() <= before)


def open_sockets() -> int:
    files = (fd.readlink() for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())
    return sum(str(file).startswith("socket:") for file in files)


async def test_server_without_jetstream_is_named(asyncio_loop: None, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats", jetstream=False)
    server.start()
    try:
        with trio.fail_after(LIMIT_S):
            async with open_nats(server.url, settings=PATIENT) as bus:
                await until_told(bus, "JetStream")
    finally:
        server.stop()


async def test_credentials_of_the_url_are_used_and_never_shown(
    asyncio_loop: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(tmp_path / "nats", authorization={"user": "ada", "password": "right-one"})
    server.start()
    try:
        with trio.fail_after(LIMIT_S), caplog.at_level(logging.DEBUG):
            wrong = server.url.replace("//", "//ada:wrong-one@")
            async with open_nats(wrong, settings=PATIENT) as bus:
                assert "wrong-one" not in await until_told(bus, "Authorization")
            async with open_nats(server.url.replace("//", "//ada:right-one@"), settings=PATIENT) as bus:
                await until_ready(bus)
    finally:
        server.stop()
    assert "-one" not in caplog.text


async def test_missing_permission_is_named(asyncio_loop: None, tmp_path: Path) -> None:
    """The server answers nothing to what it forbids: "no answer" would send an operator looking for the wrong thing."""
    ada = {"user": "ada", "password": "secret", "permissions": {"publish": {"deny": ["$JS.API.STREAM.CREATE.>"]}}}
    server = NatsServer(tmp_path / "nats", authorization={"users": [ada]})
    server.start()
    try:
        with trio.fail_after(LIMIT_S):
            async with open_nats(server.url.replace("//", "//ada:secret@"), settings=PATIENT) as bus:
                await until_told(bus, "permissions violation")
    finally:
        server.stop()


async def test_server_that_takes_no_events_is_told_until_it_takes_one(asyncio_loop: None, tmp_path: Path) -> None:
    """The stream can be looked at all the while, which says nothing about what it takes."""
    ada: dict[str, object] = {"user": "ada", "password": "secret"}
    authorization = {"users": [ada]}
    server = NatsServer(tmp_path / "nats", authorization=authorization)
    ada["permissions"] = {"publish": {"deny": ["transport.events.>"]}}
    server.start()
    try:
        with trio.fail_after(LIMIT_S):
            async with open_nats(server.url.replace("//", "//ada:secret@"), settings=PATIENT) as bus:
                await until_ready(bus)
                ours = Writer(bus)
                for _ in range(2):
                    await expect_unavailable(partial(ours.write, 1), "permissions violation")
                    assert bus.health().status is CheckStatus.DEGRADED
                    await until_ready(bus)
                    assert await bus.last_of(ours.session_id) is None
                    assert bus.health().status is CheckStatus.DEGRADED
                    assert "events are not acknowledged: " in bus.health().message
                    assert "permissions violation" in bus.health().message
                server.stop()
                await until_told(bus, "Connect call failed")
                del ada["permissions"]
                server.start()
                await until_ready(bus)
                await ours.write(1)
                assert bus.health().status is CheckStatus.OK
    finally:
        server.stop()


async def test_event_that_is_found_needs_no_ack_any_more(asyncio_loop: None, own_server: NatsServer) -> None:
    """Only its ack was lost, and the next event may come in hours."""
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=HASTY) as bus:
            await until_ready(bus)
            ours, other = Writer(bus), Writer(bus)
            await other.write()
            own_server.freeze()
            await expect_unavailable(ours.write, "no answer within 1 s")
            own_server.thaw()
            await until_ready(bus)
            await bus.last_of(other.session_id)
            assert "events are not acknowledged: no answer" in bus.health().message
            assert await bus.last_of(ours.session_id) == (2, ours.epoch, 1)
            assert bus.health().status is CheckStatus.OK


async def test_walk_through_the_stream_ends_with_one_error_when_the_server_is_lost(
    asyncio_loop: None, own_server: NatsServer
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_nats(own_server.url, settings=PATIENT) as bus:
            await until_ready(bus)
            ours = Writer(bus)
            for _ in range(100):
                await ours.write()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_unavailable, partial(keep_asking, bus), "connection")
                own_server.kill()


async def keep_asking(bus: NatsBus) -> None:
    while True:
        await bus.newest_id("epoch", None)


async def test_second_server_of_a_list_is_used_when_the_first_is_away(
    asyncio_loop: None, own_server: NatsServer
) -> None:
    with trio.fail_after(LIMIT_S):
        closed = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = closed[0].socket.getsockname()[1]
        await closed[0].aclose()
        async with open_nats(f"nats://127.0.0.1:{port}, {own_server.url}", settings=PATIENT) as bus:
            await until_ready(bus)


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "INFO"),
        (b"INFO not json\r\n", "json"),
        (b'INFO {"version":"2.10.29","max_payload":1048576,"headers":true}\r\nPONG\r\n', "too old; 2.11"),
        (b'INFO {"version":"2.12.0"}\r\n-ERR \'nothing for you\'\r\n', "nothing for you"),
        (b"", "INFO"),
    ],
)
async def test_stranger_on_the_port_is_told_and_does_no_harm(asyncio_loop: None, says: bytes, told: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_speaker(says) as url, open_nats(url, settings=PATIENT) as bus:
            await until_told(bus, told)
            assert bus.health().status is CheckStatus.DEGRADED


async def test_server_that_accepts_and_says_nothing_is_given_up(asyncio_loop: None) -> None:
    settings = attrs.evolve(PATIENT, link=LinkSettings(connect_s=0.05))
    with trio.fail_after(LIMIT_S):
        async with open_speaker(None) as url, open_nats(url, settings=settings) as bus:
            await until_told(bus, "no answer in time")


async def test_odd_url_is_told_and_does_no_harm(asyncio_loop: None) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_nats("nats://127.0.0.1:notaport", settings=PATIENT) as bus:
            await until_told(bus, "invalid connect url")


async def test_nonsense_in_mid_connection_costs_the_connection_only(asyncio_loop: None, own_server: NatsServer) -> None:
    """nats-py stops reading for good when its parser fails, and tells nobody."""
    with trio.fail_after(LIMIT_S):
        async with (
            open_garbler(own_server.port) as (url, garble),
            open_nats(url, settings=attrs.evolve(HASTY, look_s=0.05)) as bus,
        ):
            await until_ready(bus)
            await garble(b"GARBAGE nobody asked for\r\n")
            await until_away(bus)
            await until_ready(bus)
            await Writer(bus).write()


@pytest.mark.parametrize(
    ("field", "ask"),
    [
        (b'"stream":"', lambda ours: ours.write()),
        (b'"seq":', lambda ours: ours.write()),
        (b'"seq":', lambda ours: ours.bus.last_of(ours.session_id)),
        (b'"message":', lambda ours: ours.bus.last_of(ours.session_id)),
        (b'"state":', lambda ours: ours.bus.newest_id(ours.epoch, None)),
        (b'"last_seq":', lambda ours: ours.bus.newest_id(ours.epoch, None)),
        (b'"time":"', lambda ours: ours.bus.newest_id(ours.epoch, datetime.now(UTC))),
    ],
)
async def test_answer_that_lacks_a_field_is_no_answer(
    asyncio_loop: None, own_server: NatsServer, field: bytes, ask: Callable[[Writer], Awaitable[object]]
) -> None:
    """Another server version, or something in between, may answer JSON of another shape."""
    with trio.fail_after(LIMIT_S):
        twist: dict[bytes, bytes] = {}
        async with open_garbler(own_server.port, twist) as (url, _), open_nats(url, settings=PATIENT) as bus:
            await until_ready(bus)
            ours = Writer(bus)
            await ours.write()
            twist[field] = field.upper()
            await expect_unavailable(partial(ask, ours), ".")
            assert bus.health().status is CheckStatus.DEGRADED
            twist.clear()
            await until_ready(bus)
            assert await bus.last_of(ours.session_id) is not None


async def test_stream_info_that_lacks_a_field_keeps_the_bus_waiting(asyncio_loop: None, own_server: NatsServer) -> None:
    with trio.fail_after(LIMIT_S):
        twist = {b'"config":': b'"CONFIG":'}
        async with open_garbler(own_server.port, twist) as (url, _), open_nats(url, settings=PATIENT) as bus:
            await until_told(bus, "an answer was not understood (AttributeError")
            twist.clear()
            await until_ready(bus)
            await Writer(bus).write()


async def test_error_that_nobody_awaits_over_there_is_logged_and_ends_nothing(
    bus: NatsBus, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:  # asyncio flavour
        raise ZeroDivisionError("nobody awaits this")

    async def leave_behind() -> None:  # asyncio flavour
        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.wait([task])
        del task

    with trio.fail_after(LIMIT_S):
        await trio_asyncio.aio_as_trio(leave_behind)()
        gc.collect()  # asyncio tells of the error when the task is collected; since 3.12 the task is in a cycle
        await until(lambda: "asyncio error" in caplog.text)
        await Writer(bus).write()
    assert "ZeroDivisionError" in caplog.text


async def test_bus_wants_a_loop_around_it() -> None:
    with pytest.raises(RuntimeError, match="open_loop"):
        async with open_nats("nats://127.0.0.1:1"):
            pass


async def expect_unavailable(call: Callable[[], Awaitable[object]], match: str) -> None:
    with pytest.raises(BusUnavailable, match=match):
        await call()


@asynccontextmanager
async def open_speaker(says: bytes | None) -> AsyncIterator[str]:
    """Says the same to everybody, then closes; with None it says nothing and stays."""

    async def speak(stream: trio.SocketStream) -> None:
        if says is None:
            await trio.sleep_forever()
        else:
            await stream.send_all(says)
            await stream.send_eof()
            async for _ in stream:
                pass

    async with open_listener(speak) as url:
        yield url


@asynccontextmanager
async def open_garbler(
    port: int, twist: Mapping[bytes, bytes] | None = None
) -> AsyncIterator[tuple[str, Callable[[bytes], Awaitable[None]]]]:
    """Forwards to a server; what is given to the function goes to the present clients as the server's words.

    In what the server says itself, `twist` has words replaced by others of the same length.
    """
    clients: list[trio.SocketStream] = []

    async def forward(client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:
            clients.append(client)
            nursery.start_soon(copy, server, client, nursery.cancel_scope, {} if twist is None else twist)
            await copy(client, server, nursery.cancel_scope, {})
            clients.remove(client)

    async def garble(data: bytes) -> None:
        for client in clients:
            await client.send_all(data)

    async with open_listener(forward) as url:
        yield url, garble


async def copy(
    source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope, twist: Mapping[bytes, bytes]
) -> None:
    try:
        async for data in source:
            for word, other in twist.items():
                data = data.replace(word, other)
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel(reason="one side has closed")


@asynccontextmanager
async def open_listener(handle: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield f"nats://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel(reason="the test is over")
