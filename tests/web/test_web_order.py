"""What is checked before a use-case is asked, in which order, and how methods and bodies are treated."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from web_rig import MINIMAL, TEST_S, Site, assert_problem, created, serving

KEY = "a-key-of-the-tests"
LARGE = b" " * (64 * 1024 + 1)
JSON = {"Content-Type": "application/json"}


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await trio.lowlevel.checkpoint()


# --- the order of the contract: each request has all the faults that come later, too


@pytest.mark.parametrize(
    ("method", "path", "with_key", "content", "status"),
    [
        ("POST", "/nothing?x", False, LARGE, 401),
        ("PUT", "/sessions?x", False, LARGE, 401),
        ("POST", "/sessions?x", False, LARGE, 401),
        ("POST", "/nothing?x", True, LARGE, 404),
        ("PUT", "/sessions?x", True, LARGE, 405),
        ("POST", "/sessions?x", True, LARGE, 413),
        ("POST", "/sessions?x", True, b"{", 415),
    ],
)
async def test_the_first_fault_in_the_order_of_the_contract_is_told(
    method: str, path: str, with_key: bool, content: bytes, status: int
) -> None:
    async with serving(api_keys=(KEY,)) as site:
        headers = {"Authorization": f"Bearer {KEY}"} if with_key else {}
        response = await site.client.request(method, path, content=content, headers=headers)
        assert response.status_code == status
        assert site.service.asked == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_session_comes_before_a_wrong_query_and_that_before_the_deed(site: Site, method: str) -> None:
    unknown = await site.client.request(method, "/sessions/00000000-0000-4000-8000-000000000000?x=1")
    assert_problem(unknown, 404, "session_not_found")
    session_id = await created(site)
    assert_problem(await site.client.request(method, f"/sessions/{session_id}?x=1"), 400, "invalid_request")
    assert (await site.client.get(f"/sessions/{session_id}")).json()["status"] == "Created"


async def test_a_body_too_large_in_pieces_comes_before_its_type(site: Site) -> None:
    response = await site.client.post(
        "/sessions", content=pieces(LARGE[:-1], b"xx"), headers={"Content-Type": "text/plain"}
    )
    assert_problem(response, 413, "body_too_large")


# --- paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/session",
        "/sessions/",
        "/sessions/a/b",
        "/sessions//",
        "/Sessions",
        "/health/",
        "/static/x",
        "/%2e",
        "/ws/",
    ],
)
async def test_an_unknown_path_is_404(site: Site, path: str) -> None:
    assert_problem(await site.client.get(path), 404, "not_found")


ALLOWED = {
    "/sessions": "GET, HEAD, OPTIONS, POST",
    "/sessions/x": "DELETE, GET, HEAD, OPTIONS",
    "/events": "GET, HEAD, OPTIONS",
    "/health": "GET, HEAD, OPTIONS",
    "/ready": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
    "/ws": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
async def test_a_wrong_method_is_405_with_the_right_ones_sorted(site: Site, path: str) -> None:
    for method in ("PUT", "PATCH", "TRACE", "BREW"):
        response = await site.client.request(method, path)
        assert_problem(response, 405, "method_not_allowed")
        assert response.headers["allow"] == ALLOWED[path]


@pytest.mark.parametrize("path", ALLOWED)
async def test_options_tells_the_methods(site: Site, path: str) -> None:
    response = await site.client.options(path)
    assert (response.status_code, response.headers["allow"], response.content) == (204, ALLOWED[path], b"")


@pytest.mark.parametrize("path", ["/sessions", "/events", "/health", "/ready", "/nothing", "/sessions/x"])
async def test_head_is_get_without_the_body(site: Site, path: str) -> None:
    head, get = await site.client.head(path), await site.client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/health":  # its uptime changes
        assert head.headers["content-length"] == get.headers["content-length"]


# --- bodies


async def test_a_body_of_64_kib_is_read(site: Site) -> None:
    body = b'{"provider":"daily"}'.ljust(64 * 1024)
    assert (await site.client.post("/sessions", content=body, headers=JSON)).status_code == 201


async def test_a_body_in_pieces_is_read(site: Site) -> None:
    content = pieces(b'{"provi', b'der":"da', b"", b'ily"}')
    assert (await site.client.post("/sessions", content=content, headers=JSON)).status_code == 201


async def test_a_larger_one_is_413_and_the_connection_is_closed(site: Site) -> None:
    for content in (LARGE, pieces(LARGE)):
        response = await site.client.post("/sessions", content=content, headers=JSON)
        assert_problem(response, 413, "body_too_large")
        assert response.headers["connection"] == "close"
    assert site.service.asked == []


async def test_a_much_larger_one_is_refused_before_it_has_come(site: Site) -> None:
    head = (
        b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )
    assert b" 413 " in await site.raw(head)


async def test_a_client_that_is_still_sending_gets_the_413_all_the_same(site: Site) -> None:
    """A server that closes at once resets the connection, and the client never sees why."""
    for _ in range(5):
        response = await site.client.post("/sessions", content=b" " * 1_000_000, headers=JSON)
        assert response.status_code == 413


async def test_a_body_that_nobody_reads_does_no_harm(site: Site) -> None:
    response = await site.client.request("GET", "/health", content=b"x" * 1000)
    assert response.status_code == 200
    response = await site.client.request("DELETE", "/sessions/x", content=b"{")
    assert_problem(response, 404, "session_not_found")
    assert_problem(await site.client.request("GET", "/sessions", content=LARGE), 413, "body_too_large")


async def test_a_body_that_is_too_slow_is_408_and_the_connection_is_closed() -> None:
    async with serving(body_timeout_s=0.1) as site:
        head = b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
        answer = await site.raw(head + b'{"provider"')
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"body_timeout"' in answer
        assert b"connection: close" in answer.lower()
        assert site.service.asked == []


async def test_a_body_that_drips_is_too_slow_as_well() -> None:
    async with serving(body_timeout_s=0.3) as site:
        with trio.fail_after(TEST_S):
            async with await trio.open_tcp_stream(*site.address) as stream:
                await stream.send_all(b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
                async with trio.open_nursery() as nursery:

                    async def drip() -> None:
                        while True:
                            await stream.send_all(b" ")
                            await trio.sleep(0.02)

                    nursery.start_soon(drip)
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")
                    nursery.cancel_scope.cancel()


async def test_a_client_that_leaves_in_mid_body_changes_nothing(site: Site) -> None:
    head = b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    await site.raw(head, end=True)
    assert site.service.asked == []
    assert (await site.client.post("/sessions", json=MINIMAL)).status_code == 201


@pytest.mark.parametrize(
    "order", [("Content-Length: 5", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 5")]
)
async def test_both_length_headers_are_400_and_the_connection_is_closed(site: Site, order: tuple[str, str]) -> None:
    for path in ("/sessions", "/health", "/nothing"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{order[0]}\r\n{order[1]}\r\n\r\n"
        answer = await site.raw(head.encode() + b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answer.lower()
        assert b'"code":"invalid_request"' in answer
        assert answer.count(b"HTTP/1.1") == 1  # what was smuggled behind it is not looked at


async def test_a_refused_body_leaves_the_connection_for_the_next_request(site: Site) -> None:
    """Refusing before the body has been read must not cost every client its connection."""
    async with httpx.AsyncClient(base_url=site.url, limits=httpx.Limits(max_connections=1)) as client:
        ports = set()
        for _ in range(3):
            response = await client.post("/nothing", content=b"x" * 100)
            assert response.status_code == 404
            ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(ports) == 1
