"""The server around it all: start, stop, time, outages, threads."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import pytest
import trio

import transport_trio.sandbox
from transport_trio.sandbox import Fault, SandboxConfig, SandboxHandle, sandbox_in_thread, serve_sandbox

KEY = {"Authorization": "Bearer sandbox"}


@contextlib.asynccontextmanager
async def running(config: SandboxConfig, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_sandbox, config, **options))
            async with httpx.AsyncClient(base_url=url, headers=KEY, verify=False, trust_env=False) as client:
                yield client
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_it_serves_for_the_key_and_the_domain_that_it_was_given() -> None:
    config = SandboxConfig(api_key="my key", domain="acme", room_url="http://localhost/{domain}/{name}")
    async with running(config) as client:
        client.headers["Authorization"] = "Bearer my key"
        assert (await client.get("/v1/")).json()["domain_name"] == "acme"
        room = (await client.post("/v1/rooms", json={"name": "hello"})).json()
        assert room["url"] == "http://localhost/acme/hello"


async def test_the_port_is_free_again_after_a_cancel() -> None:
    async with running(SandboxConfig()) as client:
        port = client.base_url.port
    assert port is not None
    async with running(SandboxConfig(port=port)) as client:
        assert (await client.get("/v1/")).status_code == 200


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve_sandbox(SandboxConfig(port=taken.getsockname()[1]))


async def test_it_listens_on_ipv6_too() -> None:
    async with running(SandboxConfig(host="::1")) as client:
        assert client.base_url.host == "::1"
        assert (await client.get("/v1/")).status_code == 200


async def test_expiry_follows_the_clock_that_it_was_given() -> None:
    now = 2_000_000_000.0
    async with running(SandboxConfig(), clock=lambda: now) as client:
        room = await client.post("/v1/rooms", json={"name": "a", "properties": {"exp": now + 10}})
        assert room.json()["created_at"] == "2033-05-18T03:33:20.000Z"
        now += 10
        assert (await client.get("/v1/rooms/a")).status_code == 404


async def test_faults_can_be_there_from_the_start() -> None:
    async with running(SandboxConfig(faults=(Fault(kind="error", status=503, count=1),))) as client:
        assert [(await client.get("/v1/")).status_code for _ in range(2)] == [503, 200]
        await client.post("/sandbox/reset")
        assert (await client.get("/v1/")).status_code == 503


async def test_a_client_that_hangs_up_is_logged_without_a_status() -> None:
    async with running(SandboxConfig()) as client:
        await client.post("/sandbox/faults", json={"faults": [{"kind": "delay", "delay_s": 600}]})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, "/v1/rooms")
            fired = 0
            while not fired:
                fired = (await client.get("/sandbox/faults")).json()["faults"][0]["fired"]
            nursery.cancel_scope.cancel(reason="it hangs up")
        logged: list[dict[str, Any]] = []
        while not logged:
            logged = (await client.get("/sandbox/requests")).json()["requests"]
        assert (logged[0]["operation"], logged[0]["status"], logged[0]["fault"]) == ("list_rooms", None, "delay")


async def test_an_outage_refuses_connections_and_keeps_the_state() -> None:
    async with running(SandboxConfig()) as client:
        await client.post("/v1/rooms", json={"name": "a"})
        response = await client.post("/sandbox/outage", json={"for_s": 1.5})
        assert response.json() == {"for_s": 1.5}
        await until(client, up=False)
        await until(client, up=True)
        assert (await client.get("/v1/rooms/a")).status_code == 200


async def until(client: httpx.AsyncClient, *, up: bool) -> None:
    while await is_up(client) is not up:
        pass  # the test's own deadline ends this


async def is_up(client: httpx.AsyncClient) -> bool:
    try:
        await client.get("/v1/", headers={"Connection": "close"})
    except httpx.ConnectError:
        return False
    except httpx.TransportError:
        return True  # accepted and then cut: not closed yet
    return True


async def test_a_request_under_way_is_cut_by_an_outage_and_does_not_hold_it_up() -> None:
    async with running(SandboxConfig()) as client:
        await client.post("/sandbox/faults", json={"faults": [{"kind": "delay", "delay_s": 600, "count": 1}]})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, client, "/v1/rooms", httpx.RemoteProtocolError)
            waiting = ["the request has not come yet"]
            while waiting:
                waiting = (await client.get("/sandbox/faults")).json()["faults"]
            await client.post("/sandbox/outage", json={"for_s": 0})
        await until(client, up=True)


async def expect(client: httpx.AsyncClient, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await client.get(path)


async def test_a_bug_in_the_sandbox_is_a_server_error_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> float:
        if bugs:
            raise RuntimeError(bugs.pop())
        return 2_000_000_000.0

    bugs: list[str] = []
    async with running(SandboxConfig(), clock=broken) as client:
        bugs.append("a broken clock")
        response = await client.get("/v1/rooms")
        assert (response.status_code, response.json()) == (500, {"error": "server-error"})
        assert "request crashed" in caplog.text
        assert "a broken clock" in caplog.text


class TestThread:
    def test_a_thread_serves_until_the_block_ends(self) -> None:
        with sandbox_in_thread(SandboxConfig(domain="acme")) as sandbox:
            assert isinstance(sandbox, SandboxHandle)
            assert (sandbox.domain, sandbox.api_url) == ("acme", f"{sandbox.url}/v1")
            assert httpx.get(f"{sandbox.api_url}/", headers=KEY).json()["domain_name"] == "acme"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{sandbox.api_url}/", headers=KEY)

    def test_a_taken_port_is_an_os_error_for_the_caller(self) -> None:
        with sandbox_in_thread() as sandbox:
            port = httpx.URL(sandbox.url).port
            with pytest.raises(OSError, match="in use"), sandbox_in_thread(SandboxConfig(port=port or 0)):
                pass

    def test_the_caller_s_own_error_goes_through(self) -> None:
        with pytest.raises(KeyError), sandbox_in_thread():
            raise KeyError

    def test_it_stops_in_the_middle_of_an_outage_too(self) -> None:
        with sandbox_in_thread() as sandbox:
            sandbox.outage(3600)
            deadline = time.monotonic() + 20
            while answers(sandbox):
                assert time.monotonic() < deadline, "the port stays open"


def answers(sandbox: SandboxHandle) -> bool:
    try:
        sandbox.now()
    except OSError:
        return False
    return True


def test_the_package_offers_what_it_names() -> None:
    for name in transport_trio.sandbox.__all__:
        assert isinstance(getattr(transport_trio.sandbox, name), (type, Callable))  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="nothing"):
        transport_trio.sandbox.nothing  # noqa: B018
