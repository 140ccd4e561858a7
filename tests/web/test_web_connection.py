"""Connections as they really are: malformed, stalled, idle, cut, and closed by a stop."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any

import h11
import pytest
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from trio.testing import wait_all_tasks_blocked
from web_rig import GET, LAST_GET, POST, TEST_S, UPGRADE, Site, serving, vanish

from transport_trio.web.connection import Connection, Patience, StrictConnection
from transport_trio.web.refusals import Refused


def test_hypercorn_is_the_one_that_the_connection_is_made_for() -> None:
    assert version("hypercorn").startswith("0.18.")
    for owner, names in (
        (TCPServer, ("protocol_send", "_read_data", "_close", "_idle_timeout", "run")),
        (H11Protocol, ("_check_protocol", "_create_stream", "_send_error_response", "handle")),
        (TrioSingleTask, ("restart", "stop")),
    ):
        assert all(inspect.iscoroutinefunction(getattr(owner, name)) for name in names)
    taken = inspect.signature(H11Protocol).parameters
    assert list(taken)[:9] == [
        "app",
        "config",
        "context",
        "task_group",
        "connection_state",
        "ssl",
        "client",
        "server",
        "send",
    ]


# --- not quite HTTP


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400),  # TLS
        (b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n", 400),
        (b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000, 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 16_400 + b"\r\n\r\n", 431),  # in a single piece
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /health HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    ],
)
async def test_what_is_not_http_1_gets_a_bare_status(site: Site, sent: bytes, status: int) -> None:
    head, _, body = (await site.raw(sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"server:" not in head.lower()
    assert body == b""


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"garbage\r\n\r\n", "not_http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls"),  # how a ClientHello begins
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000, "head_too_large"),
        (b"GET /health HTTP/3.0\r\nHost: x\r\n\r\n", "not_supported"),
        (b"GET /ws HTTP/1.1\r\n" + UPGRADE.replace(b"Version: 13", b"Version: 12"), "upgrade"),
    ],
)
async def test_what_no_route_sees_is_counted_by_reason(site: Site, sent: bytes, reason: str) -> None:
    await site.raw(sent)
    assert site.count("transport_http_refused_total", reason=reason) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\nHost: x\n\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\n\nGET /ready HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nHost: x\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_refused(site: Site, sent: bytes) -> None:
    """A proxy that ends lines elsewhere sees another request than we do, and lets through what it would not."""
    answer = await site.raw(sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert site.count("transport_http_refused_total", reason="not_http") == 1


async def test_a_body_may_hold_any_line_end(site: Site) -> None:
    body = b'{"provider":\n "daily"}'
    head = POST.partition(b"Content-Length")[0] + b"Connection: close\r\nContent-Length: 22\r\n\r\n"
    assert (await site.raw(head + body)).startswith(b"HTTP/1.1 201 ")


async def test_a_chunk_that_is_none_ends_the_connection_and_nothing_else(site: Site) -> None:
    head = b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    await site.raw(head + b"zz\r\n{}\r\n")
    assert site.service.asked == []
    assert (await site.client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET http://elsewhere.example/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://[broken/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: " + b"a" * 300 + b"\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: xn--0..\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nCookie: \xff=;;\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        b"GET /h%65alth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
async def test_strange_but_valid_requests_are_answered(site: Site, sent: bytes) -> None:
    answer = await site.raw(sent)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"server:" not in answer.lower()


@pytest.mark.parametrize("target", [b"*", b"?query", b"x:80", b"http://x", b"/%00%0d%0a", b"/%ff"])
async def test_strange_targets_are_404(site: Site, target: bytes) -> None:
    answer = await site.raw(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"not_found"' in answer


@pytest.mark.parametrize(
    ("path", "route"), [("/health", "/health"), ("/nothing", "unknown"), ("/sessions", "/sessions")]
)
async def test_an_upgrade_elsewhere_is_404(site: Site, path: str, route: str) -> None:
    answer = await site.raw(f"GET {path} HTTP/1.1\r\n".encode() + UPGRADE)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"there is no WebSocket at this path" in answer
    assert site.count("transport_http_requests_total", method="GET", route=route, status="404") == 1


async def test_an_upgrade_elsewhere_wants_the_key_first() -> None:
    async with serving(api_keys=("a-key-of-the-tests",)) as site:
        assert (await site.raw(b"GET /x HTTP/1.1\r\n" + UPGRADE)).startswith(b"HTTP/1.1 401 ")


# --- keeping and closing


async def test_a_connection_serves_many_requests_also_sent_at_once(site: Site) -> None:
    answer = await site.raw(GET * 5 + LAST_GET)
    assert answer.count(b"HTTP/1.1 200 ") == 6


async def test_a_connection_is_closed_after_its_last_answer_however_often(site: Site) -> None:
    """Cancelled at the wrong moment, a handler used to leave its connection open for ever."""
    for _ in range(20):
        assert (await site.raw(LAST_GET)).startswith(b"HTTP/1.1 200 ")


class Counted:
    """Counts what a connection tells."""

    def __init__(self) -> None:
        self.reasons: list[Refused] = []
        self.waiting: list[bool] = []

    def refused(self, reason: Refused) -> None:
        self.reasons.append(reason)

    def waits(self, connection: Connection, *, begins: bool) -> None:
        self.waiting.append(begins)


NOBODY_LISTENS: Any = None  # in these tests no upgrade is asked for


@asynccontextmanager
async def connected(
    answer: Callable[..., Awaitable[None]],
    *,
    keep_alive_s: float = 60.0,
    stall_s: float = 60.0,
    head_s: float = 60.0,
    guard: Counted | None = None,
) -> AsyncIterator[tuple[trio.SocketStream, trio.Event]]:
    """A client of an ASGI app, and an event for when the server is done with the connection."""
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.keep_alive_timeout = keep_alive_s
    done = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        patience = Patience(stall_s=stall_s, head_s=head_s)
        app, context = ASGIWrapper(answer), WorkerContext(None)
        await Connection(app, config, context, stream, guard or Counted(), NOBODY_LISTENS, patience).run()
        done.set()

    with trio.fail_after(TEST_S):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            async with await trio.open_tcp_stream(*listener.socket.getsockname()) as client:
                yield client, done
                nursery.cancel_scope.cancel()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def flood(scope: Any, receive: Any, send: Any) -> None:
    size = 64 * 1024 * 1024  # more than any pair of socket buffers holds
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": b"x" * size})


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("a bug")


async def test_a_client_that_leaves_frees_its_connection_at_once() -> None:
    async with connected(hello, keep_alive_s=3600) as (client, done):
        await client.send_all(GET)
        await client.receive_some()
        await wait_all_tasks_blocked(0.01)  # the server waits for the next request
        await client.aclose()
        await done.wait()


async def test_a_client_that_says_nothing_is_closed() -> None:
    async with connected(hello, keep_alive_s=0.05) as (client, done):
        assert await client.receive_some() == b""
        await done.wait()


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
async def test_a_head_that_drips_is_refused_when_its_time_is_over(before: bytes) -> None:
    """A byte now and then is no life: the clock runs from the first one."""
    guard = Counted()
    async with connected(hello, keep_alive_s=3600, head_s=0.3, guard=guard) as (client, done):
        await client.send_all(before + GET[:1])
        began = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for byte in GET[1:-1] * 1000:
                await client.send_all(bytes([byte]))
                await trio.sleep(0.01)
                if done.is_set():
                    break
        assert 0.2 <= trio.current_time() - began < TEST_S / 2
    assert guard.reasons == [Refused.HEAD_TOO_SLOW]
    assert guard.waiting == [True, False] * (2 if before else 1)


async def test_a_head_that_is_part_of_what_came_before_is_hurried_too() -> None:
    async with connected(hello, keep_alive_s=3600, head_s=0.1) as (client, done):
        await client.send_all(GET + GET[:-1])
        received = b"".join([piece async for piece in client])
        assert [line.split()[1] for line in received.split(b"\r\n") if b"HTTP/1.1 " in line] == [b"200", b"408"]
        await done.wait()


async def test_a_connection_is_not_hurried_before_it_has_begun_a_head() -> None:
    async with connected(hello, keep_alive_s=3600, head_s=0.05) as (client, _):
        await trio.sleep(0.2)
        await client.send_all(LAST_GET)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_asks_no_more_is_closed() -> None:
    async with connected(hello, keep_alive_s=0.5) as (client, done):
        await client.send_all(GET)
        while await client.receive_some():
            pass
        await done.wait()


async def test_a_client_that_does_not_read_its_answer_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with connected(flood, stall_s=0.2) as (client, done):
        await client.send_all(GET)
        await done.wait()
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 -- it is in one of these
            while True:
                await client.receive_some()
    assert "client cut: it does not read its answer" in caplog.messages


async def test_a_client_that_reads_slowly_is_served_to_the_end() -> None:
    async with connected(flood, stall_s=5) as (client, done):
        await client.send_all(LAST_GET)
        received = 0
        while piece := await client.receive_some(4 * 1024 * 1024):
            received += len(piece)
        assert received > 64 * 1024 * 1024
        await done.wait()


@pytest.mark.usefixtures("errors_expected")
async def test_a_failing_application_costs_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(fail) as (client, _):
        await client.send_all(LAST_GET)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 500 ")
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.usefixtures("errors_expected")
@pytest.mark.parametrize(
    ("failure", "told"), [(RuntimeError("a bug in what we build on"), ["connection failed"]), (OSError("gone"), [])]
)
async def test_a_failure_of_the_connection_itself_is_contained(
    failure: Exception, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Connection):
        async def _read_data(self) -> None:
            raise failure

    done = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        await Broken(ASGIWrapper(hello), Config(), WorkerContext(None), stream, Counted(), NOBODY_LISTENS).run()
        done.set()

    with trio.fail_after(TEST_S):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            async with await trio.open_tcp_stream(*listener.socket.getsockname()) as client:
                assert await client.receive_some() == b""
            await done.wait()
            nursery.cancel_scope.cancel()
    assert caplog.messages == told


# --- after the last request


def post(*headers: bytes) -> bytes:
    return POST.replace(b"\r\n\r\n", b"\r\n" + b"".join(headers) + b"\r\n")


@pytest.mark.parametrize("extra", [b"\r\n", b"garbage", GET], ids=["line end", "garbage", "request"])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(b"Connection: close\r\n"), 201),
        (POST.replace(b"HTTP/1.1", b"HTTP/1.0"), 201),
        (LAST_GET, 200),
        (post(b"Transfer-Encoding: chunked\r\n"), 400),
    ],
    ids=["post", "post 1.0", "get", "both lengths"],
)
async def test_what_follows_the_last_request_does_not_spoil_its_answer(
    site: Site, sent: bytes, status: int, extra: bytes
) -> None:
    head, _, body = (await site.raw(sent + extra)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    assert len(body) == int(length.partition(b":")[2])


async def test_a_client_that_talks_on_after_its_last_request_fills_no_memory() -> None:
    connection = StrictConnection(1000)
    connection.receive_data(LAST_GET)
    while connection.next_event() is not h11.NEED_DATA:
        pass
    for _ in range(100):
        connection.receive_data(b"x" * 1000)
        assert connection.next_event() is h11.NEED_DATA
    assert connection.trailing_data[0] == b""


@pytest.mark.parametrize("version", [b"12", b"abc", b""])
async def test_a_refused_upgrade_is_closed(site: Site, version: bytes) -> None:
    answer = await site.raw(b"GET /ws HTTP/1.1\r\n" + UPGRADE.replace(b"Version: 13", b"Version: " + version))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer


async def test_an_upgrade_with_both_lengths_is_refused(site: Site) -> None:
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await site.raw(b"GET /ws HTTP/1.1\r\n" + UPGRADE.removesuffix(b"\r\n") + both)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"must not come together" in answer


# What a client has asked when it goes: the rest waits for an answer that cannot be given any more.
@pytest.mark.parametrize("asked", [GET + b"G", GET + GET[:-2], GET * 2, GET * 3 + POST])
@pytest.mark.parametrize("reset", [True, False])
async def test_who_goes_with_a_request_behind_a_request_leaves_nothing(asked: bytes, reset: bool) -> None:
    with trio.fail_after(TEST_S):
        async with serving(keep_alive_s=TEST_S, head_timeout_s=TEST_S) as site:
            for _ in range(10):
                stream = await trio.open_tcp_stream(*site.address)
                await stream.send_all(asked)
                await stream.receive_some(1)
                if reset:
                    vanish(stream)
                else:
                    stream.socket.close()
            while site.count("transport_connections"):  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.005)
