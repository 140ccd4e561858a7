"""Before the upgrade: who may in, from which page, and with which query."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from socket_rig import Peer, Served, peer, serving

from transport_trio.errors import InvalidRequest
from transport_trio.hub import Subscription
from transport_trio.web.handshake import offered_key, origin_allowed, subscription

KEY = "correct-horse-battery"


def as_subprotocol(key: str) -> str:
    return "transport.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


async def ask(rig: Served, target: str = "/ws", *headers: str, host: str = "localhost") -> tuple[int, Any]:
    """The status of an upgrade, and the problem in its body unless it was granted."""
    async with peer(rig, upgrade=False) as it:
        status = await it.upgrade(target, headers, host=host)
        if status == 101:
            return status, None
        assert "content-type: application/problem+json" in it.head.lower()
        body = json.loads(await it.rest())
        assert body["status"] == status
        return status, body


# --- keys


@pytest.mark.parametrize(
    ("target", "header"),
    [
        ("/ws", f"Authorization: Bearer {KEY}"),
        ("/ws", f"authorization: bearer {KEY}"),
        ("/ws", f"Sec-WebSocket-Protocol: transport.v1, {as_subprotocol(KEY)}"),
        ("/ws", f"Sec-WebSocket-Protocol: {as_subprotocol(KEY)}"),
        (f"/ws?token={KEY}", "X: y"),
        (f"/ws?types=session_ended&token={KEY}", "Sec-WebSocket-Protocol: transport.v1"),
    ],
)
async def test_a_key_is_taken_from_header_subprotocol_or_query(target: str, header: str) -> None:
    async with serving(api_keys=("another-key", KEY)) as rig:
        assert await ask(rig, target, header) == (101, None)


@pytest.mark.parametrize(
    ("target", "header"),
    [
        ("/ws", "X: y"),
        ("/ws", "Authorization: Bearer wrong-key-wrong"),
        ("/ws", f"Authorization: Basic {KEY}"),
        ("/ws", f"Authorization: {KEY}"),
        ("/ws", f"Sec-WebSocket-Protocol: transport.v1, transport.key.{KEY}"),
        ("/ws", "Sec-WebSocket-Protocol: transport.key."),
        ("/ws", "Sec-WebSocket-Protocol: transport.key.!!!"),
        ("/ws", "Sec-WebSocket-Protocol: transport.key.gICA"),  # bytes that are no text
        ("/ws?token=", "X: y"),
        ("/ws?token=wrong-key-wrong", "X: y"),
        ("/ws?nonsense=1", "X: y"),  # who may not in learns nothing about the query
        (f"/ws?token={KEY}", "Authorization: Bearer wrong-key-wrong"),  # the first place counts
    ],
)
async def test_without_a_good_key_it_is_401(target: str, header: str) -> None:
    async with serving(api_keys=(KEY,)) as rig:
        status, body = await ask(rig, target, header)
    assert (status, body["code"]) == (401, "unauthorized")


async def test_401_says_how_to_authenticate() -> None:
    async with serving(api_keys=(KEY,)) as rig, peer(rig, upgrade=False) as it:
        assert await it.upgrade() == 401
        assert "www-authenticate: bearer" in it.head.lower()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("transport.v1", True), (f"transport.v1, {as_subprotocol(KEY)}", True), ("graphql-ws", False), ("", False)],
)
async def test_the_chosen_subprotocol_is_ours_and_never_the_key(offered: str, chosen: bool) -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        assert await it.upgrade("/ws", [f"Sec-WebSocket-Protocol: {offered}"] if offered else []) == 101
        assert ("sec-websocket-protocol: transport.v1\r\n" in it.head.lower() + "\r\n") == chosen
        assert "transport.key" not in it.head


async def test_no_key_reaches_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(api_keys=(KEY,)) as rig:
        await ask(rig, f"/ws?token={KEY}")
        await ask(rig, f"/ws?token={KEY}&nonsense=1")
        await ask(rig, "/ws", f"Sec-WebSocket-Protocol: transport.v1, {as_subprotocol(KEY)}")
        await ask(rig, "/ws", f"Authorization: Bearer {KEY}")
        rig.hub.close()
    assert KEY not in caplog.text
    assert as_subprotocol(KEY) not in caplog.text


@given(st.lists(st.text(max_size=20), max_size=3), st.lists(st.text(max_size=40), max_size=3), st.binary(max_size=60))
def test_no_credentials_at_all_make_us_stumble(headers: list[str], subprotocols: list[str], query: bytes) -> None:
    key = offered_key(headers, [*subprotocols, *(f"transport.key.{text}" for text in subprotocols)], query)
    assert key is None or isinstance(key, str)


@given(st.text(st.characters(codec="ascii"), min_size=1))
def test_any_key_survives_the_way_through_a_subprotocol(key: str) -> None:
    assert offered_key([], ["transport.v1", as_subprotocol(key)], b"") == key


# --- origins


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "keys", "granted"),
    [
        # Without keys only pages of this machine may in, whatever they call us.
        ("http://localhost:3000", "localhost:8084", (), False, True),
        ("http://127.0.0.1", "127.0.0.1:8084", (), False, True),
        ("http://127.8.9.10:1", "127.0.0.1:8084", (), False, True),
        ("http://[::1]:5173", "[::1]:8084", (), False, True),
        ("https://app.localhost", "localhost", (), False, True),
        ("http://rooms.example", "rooms.example", (), False, False),  # a name that was made to point at us
        ("http://notlocalhost", "localhost", (), False, False),
        ("http://localhost.evil.example", "localhost", (), False, False),
        ("http://128.0.0.1", "127.0.0.1", (), False, False),
        ("http://rooms.example", "rooms.example", ("http://rooms.example",), False, True),
        ("http://localhost", "localhost", ("http://rooms.example",), False, True),
        # With keys our own host may in, and whom the operator names.
        ("http://rooms.example", "rooms.example", (), True, True),
        ("https://rooms.example", "rooms.example", (), True, True),  # TLS ends in front of us
        ("https://rooms.example", "rooms.example:443", (), True, True),
        ("http://rooms.example:8084", "rooms.example:8084", (), True, True),
        ("HTTP://Rooms.Example", "ROOMS.example", (), True, True),
        ("http://rooms.example:8084", "rooms.example:8085", (), True, False),
        ("http://rooms.example:8084", "rooms.example", (), True, False),
        ("http://other.example", "rooms.example", (), True, False),
        ("http://localhost", "rooms.example", (), True, False),
        ("https://app.example", "rooms.example", ("https://app.example",), True, True),
        ("http://app.example", "rooms.example", ("https://app.example",), True, False),
        ("https://app.example.evil.example", "rooms.example", ("https://app.example",), True, False),
        # What is no origin of a page is nobody's.
        ("null", "rooms.example", (), True, False),
        ("null", "localhost", (), False, False),
        ("", "rooms.example", (), True, False),
        ("file://", "rooms.example", (), True, False),
        ("http://rooms.example/path", "rooms.example", (), True, False),
        ("http://user@rooms.example", "rooms.example", (), True, False),
        ("http://rooms.example:port", "rooms.example", (), True, False),
        ("http://[::1", "localhost", (), False, False),
        ("rooms.example", "rooms.example", (), True, False),
        ("http://rooms.example", None, (), True, False),
        # The operator may open it to all.
        ("https://anything.example", "rooms.example", ("*",), False, True),
    ],
)
def test_origins(origin: str, host: str | None, allowed: tuple[str, ...], keys: bool, granted: bool) -> None:
    assert origin_allowed([origin], host, allowed=allowed, keys_required=keys) is granted


def test_clients_without_an_origin_may_in_and_those_with_two_may_not() -> None:
    assert origin_allowed([], "rooms.example", allowed=(), keys_required=True)
    assert not origin_allowed(["http://localhost"] * 2, "localhost", allowed=(), keys_required=False)


@given(st.text(), st.none() | st.text(), st.booleans())
def test_no_origin_makes_us_stumble(origin: str, host: str | None, keys: bool) -> None:
    assert origin_allowed([origin], host, allowed=(), keys_required=keys) in {True, False}


async def test_a_foreign_page_is_403_and_ours_may_in() -> None:
    async with serving() as rig:
        status, body = await ask(rig, "/ws", "Origin: https://evil.example")
        assert (status, body["code"]) == (403, "forbidden")
        assert await ask(rig, "/ws", "Origin: http://localhost:3000") == (101, None)
    async with serving(api_keys=(KEY,)) as rig:
        good = f"Authorization: Bearer {KEY}"
        assert (await ask(rig, "/ws", good, "Origin: https://evil.example"))[0] == 403
        assert (await ask(rig, "/ws", "Origin: https://evil.example"))[0] == 401
        assert (await ask(rig, "/ws", good, "Origin: http://rooms.example", host="rooms.example"))[0] == 101
        assert (await ask(rig, "/ws?nonsense=1", good, "Origin: https://evil.example"))[0] == 403


# --- the query


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("nonsense=1", "nonsense"),
        ("After=1", "After"),
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=", "after"),
        ("after=1.0", "after"),
        ("after=%2B1", "after"),
        ("after=9223372036854775808", "after"),
        ("after=٣", "after"),
        ("after=1&after=2", "after"),
        ("types=", "types"),
        ("types=session_ended,", "types"),
        ("types=no_such", "types"),
        ("types=session_ended&types=session_ended", "types"),
        ("snapshot=1", "snapshot"),
        ("snapshot", "snapshot"),
        ("epoch=", "epoch"),
        (f"epoch={'x' * 1025}", "epoch"),
        ("session_id=", "session_id"),
        (f"session_id={'x' * 129}", "session_id"),
        ("&".join(f"session_id={n}" for n in range(1001)), "session_id"),
        ("epoch=%ff", "query"),
        ("token=a&token=b", "token"),
    ],
)
def test_a_query_that_makes_no_sense_names_the_parameter(query: str, named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        subscription(query.encode() if query.isascii() else query.replace("٣", "%D9%A3").encode())
    assert caught.value.faults[0][0] == named


async def test_a_bad_query_is_400_before_the_upgrade() -> None:
    async with serving() as rig:
        status, body = await ask(rig, "/ws?after=yesterday")
        assert (status, body["code"]) == (400, "invalid_request")
        assert body["errors"][0]["path"] == "after"
        assert rig.hub.statistics().listeners == 0


async def test_the_query_says_what_to_hear() -> None:
    wish = subscription(b"session_id=a&session_id=b&types=session_ended,session_created&after=7&epoch=e&snapshot=true")
    assert wish.filter.session_ids == {"a", "b"}
    assert wish.filter.types == {"session_ended", "session_created"}
    assert (wish.after, wish.epoch, wish.snapshot) == (7, "e", True)
    assert subscription(b"") == Subscription()
    assert subscription(b"snapshot=false&token=x") == Subscription()


@given(st.binary(max_size=80))
def test_any_query_is_understood_or_refused(query: bytes) -> None:
    try:
        wish = subscription(query)
    except InvalidRequest:
        return
    assert wish.after is None or 0 <= wish.after < 2**63


# --- the rest


async def test_a_plain_get_is_426() -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        await it.stream.send_all(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await it.answer() == 426
        assert "upgrade: websocket" in it.head.lower()


@pytest.mark.parametrize(
    "lines",
    [
        ["Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        ["Sec-WebSocket-Version: 13"],
        ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ],
)
async def test_an_invalid_upgrade_is_refused_by_the_http_layer(lines: list[str]) -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        head = ["GET /ws HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", *lines]
        await it.stream.send_all("\r\n".join(head).encode() + b"\r\n\r\n")
        assert await it.answer() == 400


async def test_no_extension_is_negotiated() -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        assert await it.upgrade("/ws", ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]) == 101
        assert "sec-websocket-extensions" not in it.head.lower()


async def test_one_listener_too_many_is_503_until_one_leaves() -> None:
    async with serving(listeners_max=1) as rig:
        async with peer(rig), peer(rig, upgrade=False) as other:
            assert await other.upgrade() == 503
            assert "retry-after:" in other.head.lower()
            assert json.loads(await other.rest())["code"] == "listeners_full"
        await rig.until_listeners(0)
        assert await ask(rig) == (101, None)


async def test_a_stopping_service_takes_no_listeners() -> None:
    async with serving() as rig:
        rig.hub.close()
        status, body = await ask(rig)
        assert (status, body["code"]) == (503, "stopping")


async def test_a_stop_at_any_moment_of_an_upgrade_is_a_503_or_a_1001() -> None:
    for turns in range(0, 40, 3):
        async with serving() as rig, peer(rig, upgrade=False) as it:
            await it.ask()
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            rig.hub.close()
            status = await it.answer()
            assert status in {101, 503}
            if status == 101:
                assert await it.close_code() == 1001


async def plain_get(it: Peer, path: str = "/health") -> int:
    await it.stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return await whole_answer(it)


async def whole_answer(it: Peer) -> int:
    status = await it.answer()
    length = next(int(line.split(":")[1]) for line in it.head.lower().splitlines() if line.startswith("content-length"))
    while len(it.buffer) < length:
        it.buffer += await it.stream.receive_some()
    it.buffer = it.buffer[length:]
    return status


async def test_an_upgrade_may_be_any_request_of_its_connection() -> None:
    """Reverse proxies reuse the connections that they keep."""
    async with serving() as rig, peer(rig, upgrade=False) as it:
        for _ in range(3):
            assert await plain_get(it) == 200
        assert await it.upgrade() == 101
        assert (await it.receive_json())["type"] == "welcome"
        rig.happen("a")
        assert (await it.receive_json())["id"] == 1
        assert rig.metrics.registry.get_sample_value("transport_connections") == 1


async def test_an_upgrade_right_behind_a_request_waits_for_its_answer() -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        await it.stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await it.ask()
        assert await whole_answer(it) == 200
        assert await it.answer() == 101
        assert (await it.receive_json())["type"] == "welcome"


@pytest.mark.parametrize(
    ("lines", "status", "is_bare"),
    [
        (["Content-Length: 0"], 101, False),
        (["Content-Length: 5"], 400, True),
        (["Transfer-Encoding: chunked"], 400, True),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], 400, False),
    ],
)
async def test_an_upgrade_has_no_body(lines: list[str], status: int, is_bare: bool) -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        assert await it.upgrade("/ws", lines) == status
        if status == 400:
            assert (await it.rest() == b"") is is_bare
            refused = rig.metrics.registry.get_sample_value("transport_http_refused_total", {"reason": "upgrade"})
            assert refused == (1 if is_bare else 0)


async def test_the_target_may_have_any_form() -> None:
    async with serving() as rig:
        for target in ("http://localhost/ws?after=0", "/%77s", "/ws?"):
            assert await ask(rig, target) == (101, None)


async def test_who_is_refused_is_sent_away() -> None:
    """What may follow, in the belief that this is a WebSocket by now, is no request."""
    async with serving() as rig, peer(rig, upgrade=False) as it:
        assert await it.upgrade("/ws?nonsense=1") == 400
        assert "connection: close" in it.head.lower()
        await it.rest()


async def test_a_listener_is_counted_and_logged_as_a_request_when_it_leaves(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def counted(status: str) -> float | None:
        labels = {"method": "GET", "route": "/ws", "status": status}
        return rig.metrics.registry.get_sample_value("transport_http_requests_total", labels)

    async with serving(access_log=True) as rig:
        async with peer(rig, "types=session_ended"):
            assert counted("101") is None
        await rig.until_listeners(0)
        await ask(rig, "/ws?nonsense=1")
        assert (counted("101"), counted("400")) == (1, 1)
    lines = [vars(record) for record in caplog.records if record.message == "request"]
    assert [(line["path"], line["status"]) for line in lines] == [("/ws", 101), ("/ws", 400)]
    assert lines[0]["client"] == "127.0.0.1"
