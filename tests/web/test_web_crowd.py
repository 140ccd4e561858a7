"""More connections than there is room for."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import open_stream_to_socket_listener
from web_rig import GET, LAST_GET, POST, TEST_S, Site, serving

from transport_trio.metrics import Metrics
from transport_trio.web.connection import Guard
from transport_trio.web.crowd import REFUSED_AT_ONCE, Crowd
from transport_trio.web.secure import TlsSession


@asynccontextmanager
async def holding(site: Site, count: int, sent: bytes = b"") -> AsyncIterator[list[trio.SocketStream]]:
    """So many clients that are connected, have sent this, and are known to the server."""
    before = site.count("transport_connections")
    streams = [await trio.open_tcp_stream(*site.address) for _ in range(count)]
    for stream in streams:
        await stream.send_all(sent)
    while site.count("transport_connections") < before + count:  # noqa: ASYNC110 -- nobody tells
        await trio.sleep(0.005)
    try:
        yield streams
    finally:
        for stream in streams:
            await stream.aclose()


@asynccontextmanager
async def full(site: Site) -> AsyncIterator[list[trio.SocketStream]]:
    """As many creations under way as there may be connections; `site.service.gate` lets them finish."""
    site.service.gate = trio.Event()
    async with holding(site, site.settings.connections_max, POST) as busy:
        while len(site.service.asked) < len(busy):  # noqa: ASYNC110 -- the fake tells of the first alone
            await trio.sleep(0.005)
        yield busy


async def answer_on(stream: trio.SocketStream) -> bytes:
    """A whole answer, whose body is an object."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += await stream.receive_some()
    return answer


async def test_one_too_many_takes_the_place_of_who_has_been_idle_for_longest() -> None:
    with trio.fail_after(TEST_S):
        async with serving(connections_max=10) as site, holding(site, 10) as idle:
            await idle[0].send_all(GET)  # who was served last is the last to go
            assert await answer_on(idle[0])
            assert (await site.raw(LAST_GET)).startswith(b"HTTP/1.1 200 ")
            assert await idle[1].receive_some() == b""
            await idle[0].send_all(GET)
            assert (await answer_on(idle[0])).startswith(b"HTTP/1.1 200 ")
            assert site.count("transport_http_refused_total", reason="crowded") == 1


async def test_who_has_asked_is_answered_however_many_come_at_once() -> None:
    """All of them before the service has read a byte: it must not take who waits to be read for idle."""
    with trio.fail_after(TEST_S):
        async with serving(connections_max=10) as site, holding(site, 10):
            at_once = [socket.create_connection(site.address) for _ in range(25)]
            for one in at_once:
                one.sendall(LAST_GET)
            answers = [await trio.to_thread.run_sync(_all_of, one) for one in at_once]
    statuses = Counter(answer.split()[1] for answer in answers)
    assert statuses.keys() == {b"200", b"503"}
    assert statuses[b"200"] >= 10


def _all_of(one: socket.socket) -> bytes:
    with one:
        return b"".join(iter(lambda: one.recv(4096), b""))


async def test_where_nobody_is_idle_one_too_many_is_told_so() -> None:
    with trio.fail_after(TEST_S):
        async with serving(connections_max=10) as site, full(site) as busy:
            answer = await site.raw(GET, end=True)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: " in answer
            assert site.count("transport_connections") == 10
            assert site.service.gate is not None
            site.service.gate.set()
            for stream in busy:
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 201 ")
            assert site.count("transport_http_refused_total", reason="full") == 1


async def test_those_who_are_refused_and_stay_cost_a_bounded_number_of_files() -> None:
    with trio.fail_after(TEST_S):
        async with serving(connections_max=10, drain_s=0) as site, full(site):
            tasks = trio.lowlevel.current_statistics().tasks_living
            crowd = [await trio.open_tcp_stream(*site.address) for _ in range(2 * REFUSED_AT_ONCE)]
            while site.count("transport_http_refused_total", reason="full") < len(crowd):  # noqa: ASYNC110 -- as above
                await trio.sleep(0.005)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert trio.lowlevel.current_statistics().tasks_living <= tasks + REFUSED_AT_ONCE
            for stream in crowd:
                with suppress(trio.BrokenResourceError):  # it was too much even to be told so
                    while await stream.receive_some():
                        pass
                await stream.aclose()


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process, the server in it included, can open none during the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_service_goes_on_when_it_can_open_no_more_files() -> None:
    with trio.fail_after(TEST_S):
        async with serving() as site, holding(site, 10) as idle:
            with trio.socket.socket() as late, no_more_files():
                await late.connect(site.address)
                await late.send(LAST_GET)
                assert (await late.recv(1000)).startswith(b"HTTP/1.1 200 ")
            assert await idle[0].receive_some() == b""
            assert site.count("transport_http_refused_total", reason="no_files") >= 1


async def test_without_files_and_without_idle_connections_newcomers_wait() -> None:
    with trio.fail_after(TEST_S):
        async with serving(connections_max=10) as site, full(site) as busy:
            with trio.socket.socket() as late:
                with no_more_files():
                    await late.connect(site.address)
                    await late.send(LAST_GET)
                    await trio.sleep(0.35)
                    assert 2 <= site.count("transport_http_refused_total", reason="no_files") <= 5  # no spin
                    assert site.service.gate is not None
                    site.service.gate.set()
                    assert (await busy[0].receive_some()).startswith(b"HTTP/1.1 201 ")
                assert (await late.recv(1000)).startswith(b"HTTP/1.1 200 ")


FIT = """
import resource, sys
from transport_trio.settings import Settings
from transport_trio.web import fit_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
connectors = tuple(sys.argv[3:])
fitted = fit_open_files(Settings(connections_max=1000, listeners_max=900, daily_connectors=connectors))
print(fitted.connections_max, fitted.listeners_max, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connectors", "told"),
    [
        (64, 4096, ["daily"], "1000 800 1256"),  # raised to what is wanted
        (64, 4096, ["daily", "daily-eu"], "1000 800 1336"),
        (2000, 4096, ["daily"], "1000 800 2000"),  # left alone
        (64, 600, ["daily"], "344 276 600"),  # as far as may be
        (64, 200, ["daily"], "100 80 200"),
    ],
)
def test_limits_fit_into_the_open_files_that_the_system_allows(
    soft: int, hard: int, connectors: list[str], told: str
) -> None:
    command = [sys.executable, "-c", FIT, str(soft), str(hard), *connectors]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TEST_S)
    assert done.stdout.strip() == told


class Upgraded:
    """A connection that has become a listener's, whose task then meets a bug."""

    def __init__(self, stream: trio.SocketStream, peer: Upgraded | None = None) -> None:
        self.peer = peer
        self._stream = stream

    async def run(self) -> None:
        if self.peer is None:
            await self._stream.aclose()
            raise RuntimeError("a bug")


@pytest.mark.usefixtures("errors_expected")
async def test_a_bug_in_a_listeners_task_is_logged_and_ends_that_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics.create(CollectorRegistry())
    made: list[Upgraded] = []

    def connect(stream: trio.SocketStream, guard: Guard, tls: TlsSession | None) -> Any:
        made.append(Upgraded(stream, Upgraded(stream)))
        return made[-1]

    crowd = Crowd(connect, 10, metrics)
    with trio.fail_after(TEST_S):
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(crowd.accept, listener, nursery)
            for _ in range(2):
                await trio.aclose_forcefully(await open_stream_to_socket_listener(listener))
            while len(made) < 2 or crowd.open:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert [record.message for record in caplog.records] == ["listener's connection failed"] * 2
    assert all(record.exc_info for record in caplog.records)
