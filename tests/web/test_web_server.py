"""The server as a whole: how it starts, stops and logs."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio
from trio_websocket import open_websocket_url
from web_rig import GET, MINIMAL, POST, TEST_S, TOKEN, UPGRADE, Site, deps_of, serving

from transport_trio.errors import CannotListen
from transport_trio.settings import Settings
from transport_trio.web import serve

# --- the server


async def test_a_stop_lets_requests_under_way_finish_and_tells_newcomers() -> None:
    """A probe that found nobody would not know whether the service stops or has never begun."""
    async with serving(drain_s=TEST_S) as site:
        site.service.gate = trio.Event()
        answers = []

        async def ask() -> None:
            answers.append(await site.client.post("/sessions", json=MINIMAL))

        with trio.fail_after(TEST_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await site.service.entered.wait()
                site.stopping = True
                site.stop.set()
                ready = await site.client.get("/ready")
                assert (ready.status_code, ready.headers["connection"]) == (503, "close")
                holding_on = await trio.open_tcp_stream(*site.address)
                site.service.gate.set()
                assert await holding_on.receive_some() == b""  # and does not hold up the stop
                await holding_on.aclose()
            await site.stopped.wait()
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream(*site.address)
        assert [answer.status_code for answer in answers] == [201]
        assert answers[0].headers["connection"] == "close"


async def test_a_stop_closes_idle_connections_at_once() -> None:
    async with serving(drain_s=TEST_S) as site:
        with trio.fail_after(TEST_S / 2):
            silent, idle = [await trio.open_tcp_stream(*site.address) for _ in range(2)]
            async with silent, idle:
                await idle.send_all(GET)
                await idle.receive_some()
                site.stop.set()
                while await idle.receive_some():
                    pass
                assert await silent.receive_some() == b""


def cut_count(caplog: pytest.LogCaptureFixture) -> list[int]:
    message = "connections cut at the end of the drain"
    return [vars(record)["count"] for record in caplog.records if record.message == message]


async def test_a_stop_cuts_a_request_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(TEST_S):
        async with serving(drain_s=0.1) as site:
            site.service.gate = trio.Event()
            async with await trio.open_tcp_stream(*site.address) as stream:
                await stream.send_all(POST)
                await site.service.entered.wait()
                site.stop.set()
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
                await site.service.hung_up.wait()
    assert cut_count(caplog) == [1]


async def test_a_client_that_does_not_read_cannot_hold_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    """Hypercorn shields what it sends; only cutting the connection ends that."""
    with trio.fail_after(TEST_S):
        async with serving(drain_s=0.1) as site:
            session_id = (await site.client.post("/sessions", json=MINIMAL)).json()["session_id"]
            session = site.service.sessions[session_id]
            large = attrs.evolve(session.room, metadata={"pad": "x" * 64 * 1024 * 1024})
            site.service.sessions[session_id] = attrs.evolve(session, room=large)
            async with await trio.open_tcp_stream(*site.address) as deaf:
                await deaf.send_all(b"GET /sessions/%b HTTP/1.1\r\nHost: x\r\n\r\n" % session_id.encode())
                assert await deaf.receive_some(1)
                site.stop.set()
                await site.stopped.wait()
    assert cut_count(caplog) == [1]


async def test_listeners_are_told_of_a_stop() -> None:
    async with serving() as site:
        with trio.fail_after(TEST_S):
            async with await trio.open_tcp_stream(*site.address) as listener:
                await listener.send_all(b"GET /ws HTTP/1.1\r\n" + UPGRADE)
                received = await listener.receive_some()
                while b'"welcome"' not in received:
                    received += await listener.receive_some()
                assert received.startswith(b"HTTP/1.1 101 ")
                site.stop.set()
                site.hub.close()
                assert b"\x03\xe9" in await listener.receive_some()  # close code 1001
            await site.stopped.wait()
        assert site.count("transport_http_requests_total", method="GET", route="/ws", status="101") == 1


async def test_a_port_that_is_taken_stops_the_start_in_one_line(site: Site) -> None:
    deps = attrs.evolve(deps_of(site), settings=Settings(port=site.address[1]))
    with pytest.raises(CannotListen, match=rf"^HOST=127\.0\.0\.1 PORT={site.address[1]}: cannot listen there \(.+\)"):
        await serve(deps, stop=trio.Event())


async def test_a_host_that_is_none_stops_the_start_in_one_line(site: Site) -> None:
    deps = attrs.evolve(deps_of(site), settings=Settings(host="no.such.host.invalid", port=0))
    with pytest.raises(CannotListen, match=r"^HOST=no\.such\.host\.invalid PORT=0: cannot listen there"):
        await serve(deps, stop=trio.Event())


async def test_the_url_names_the_port_that_was_bound() -> None:
    async with serving(host="::1") as site:
        assert site.url.startswith("http://[::1]:")
        assert site.address[1] > 0
        assert (await site.client.get("/health")).status_code == 200


# --- what is logged


OURS = ("transport_trio", "hypercorn", "quart")  # the client of the tests logs, too


async def test_the_access_log_has_a_line_for_each_request_and_never_its_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(access_log=True, api_keys=("a-key-of-the-tests",)) as site:
        headers = {"Authorization": "Bearer a-key-of-the-tests"}
        await site.client.get("/sessions?limit=7&cursor=private", headers=headers)
        await site.client.post("/sessions", json=MINIMAL, headers=headers)
        url = site.url.replace("http", "ws") + "/ws?token=a-key-of-the-tests"
        async with open_websocket_url(url) as listener:
            await listener.get_message()
    lines = [vars(record) for record in caplog.records if record.name == "transport_trio.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines[:2]] == [
        ("GET", "/sessions", 200),
        ("POST", "/sessions", 201),
    ]
    assert (lines[2]["path"], lines[2]["status"]) == ("/ws", 101)
    assert lines[0]["client"] == "127.0.0.1"
    assert lines[0]["duration_s"] > 0
    everything = "\n".join(str(vars(record)) for record in caplog.records if record.name.startswith(OURS))
    assert "a-key-of-the-tests" not in everything
    assert "private" not in everything
    assert TOKEN not in everything


async def test_without_the_setting_there_is_no_access_log(caplog: pytest.LogCaptureFixture, site: Site) -> None:
    caplog.set_level(logging.INFO)
    await site.client.get("/health")
    ours = [record for record in caplog.records if record.name.startswith(OURS)]
    assert [record for record in ours if "/health" in str(vars(record))] == []
