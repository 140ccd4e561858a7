"""The Daily connector on real sockets, against answers that go wrong."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from connectors_helpers import NOON, OpenDaily, daily_at, room_plan, token_plan
from scripted_http import (
    Play,
    ScriptedServer,
    answer,
    cut_answer,
    flood,
    hang_up,
    play,
    raw,
    reset,
    silence,
    trickle,
)

from transport_trio.connectors import DailyConnector
from transport_trio.errors import (
    ConnectorError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnreachable,
    RoomExists,
    RoomNotFound,
    SettingsError,
)
from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus
from transport_trio.sandbox import SandboxHandle

TEST_S = 20.0
SHORT_S = 0.3  # for tests in which somebody must time out
KEY = "0123456789abcdef0123456789abcdef"
PLAN = room_plan("lobby", NOON)
TOKEN = token_plan(PLAN)
ROOM = {"id": "r1", "name": "lobby", "url": "https://mine.daily.co/lobby", "config": {"exp": int(NOON.timestamp())}}
NOT_FOUND = answer(404, {"error": "not-found", "info": "room lobby not found"})
EMPTY = {"total_count": 0, "data": []}

Call = Callable[[DailyConnector], Awaitable[Any]]
# Every call of the port, with an answer that it takes.
CALLS: dict[str, tuple[Call, Any]] = {
    "create_room": (lambda daily: daily.create_room(PLAN), ROOM),
    "find_room": (lambda daily: daily.find_room("lobby"), ROOM),
    "delete_room": (lambda daily: daily.delete_room("lobby"), {"deleted": True, "name": "lobby"}),
    "create_token": (lambda daily: daily.create_token(TOKEN), {"token": "eyJ"}),
    "presence": (lambda daily: daily.presence("lobby"), EMPTY),
    "check": (lambda daily: daily.check(), {"domain_name": "mine"}),
}
EVERY_CALL = pytest.mark.parametrize("name", list(CALLS))


class Scripted:
    """A server with a script, and a connector to it that takes the server's answers for Daily's."""

    def __init__(self, nursery: trio.Nursery, metrics: Metrics, stack: AsyncExitStack) -> None:
        self._nursery, self._metrics, self._stack = nursery, metrics, stack

    async def __call__(self, *script: Play, timeout_s: float = 5.0) -> tuple[DailyConnector, ScriptedServer]:
        server = await play(self._nursery, *script)
        opening = daily_at(server.url, self._metrics, api_key=KEY, domain="mine", timeout_s=timeout_s)
        return await self._stack.enter_async_context(opening), server


@pytest.fixture
async def scripted(nursery: trio.Nursery, metrics: Metrics) -> Any:
    async with AsyncExitStack() as stack:
        yield Scripted(nursery, metrics, stack)


@EVERY_CALL
async def test_requests_look_as_daily_wants_them(scripted: Scripted, name: str) -> None:
    call, body = CALLS[name]
    daily, server = await scripted(answer(200, body))
    with trio.fail_after(TEST_S):
        await call(daily)
    (request,) = server.received
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("transport-trio/")
    assert (
        f"{request.method} {request.target}"
        == {
            "create_room": "POST /v1/rooms",
            "find_room": "GET /v1/rooms/lobby",
            "delete_room": "DELETE /v1/rooms/lobby",
            "create_token": "POST /v1/meeting-tokens",
            "presence": "GET /v1/rooms/lobby/presence",
            "check": "GET /v1/",
        }[name]
    )


async def test_a_name_cannot_break_out_of_its_path(scripted: Scripted) -> None:
    daily, server = await scripted(NOT_FOUND)
    with trio.fail_after(TEST_S):
        assert await daily.find_room("../presence?x=ü") is None
    assert server.received[0].target == "/v1/rooms/..%2Fpresence%3Fx%3D%C3%BC"


# --- answers that are none ---

SPOILT: dict[str, Play] = {
    "hang up": hang_up,
    "reset": reset,
    "cut body": cut_answer(200, ROOM),
    "not JSON": answer(200, b"<html>welcome to our hotel</html>"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "wrong shape": answer(200, ["a", "list"]),
    "gzip unasked": answer(200, gzip.compress(b"{}"), {"Content-Encoding": "gzip"}),
    "redirect": answer(302, b"", {"Location": "https://example.com/"}),
    "500": answer(500, {"error": "server-error"}),
    "503 of a proxy": answer(503, b"<h1>no upstream</h1>"),
}


@pytest.mark.parametrize("name", ["create_room", "create_token"])
@pytest.mark.parametrize("spoilt", list(SPOILT))
async def test_a_spoilt_answer_is_asked_for_again_or_leaves_a_creation_in_doubt(
    scripted: Scripted, name: str, spoilt: str
) -> None:
    call, body = CALLS[name]
    daily, server = await scripted(SPOILT[spoilt], answer(200, body))
    with trio.fail_after(TEST_S):
        if name == "create_room":
            with pytest.raises(ProviderUnreachable) as caught:
                await call(daily)
            assert caught.value.in_doubt
            assert len(server.received) == 1
        else:
            await call(daily)
            assert len(server.received) == 2


async def test_a_body_without_end_is_given_up(scripted: Scripted) -> None:
    daily, _ = await scripted(flood)
    with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="does not end") as caught:
        await daily.create_room(PLAN)
    assert caught.value.in_doubt


@pytest.mark.parametrize("slow", [silence, trickle], ids=["silence", "trickle"])
async def test_a_slow_answer_times_out_and_leaves_a_creation_in_doubt(scripted: Scripted, slow: Play) -> None:
    daily, server = await scripted(slow, timeout_s=SHORT_S)
    with (
        trio.fail_after(TEST_S),
        pytest.raises(ProviderTimeout, match=r"did not answer create_room within 0\.3 s") as c,
    ):
        await daily.create_room(PLAN)
    assert c.value.in_doubt
    assert len(server.received) == 1
    assert daily.health().status is CheckStatus.DEGRADED


async def test_nobody_there_is_unreachable_without_doubt(metrics: Metrics) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
    await listener.aclose()
    async with daily_at(url, metrics) as daily:
        with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="no connection") as caught:
            await daily.create_room(PLAN)
        assert not caught.value.in_doubt
        assert "cannot be reached" in daily.health().message
    labels = {"provider": "daily", "operation": "create_room", "outcome": "unreachable"}
    assert metrics.registry.get_sample_value("transport_provider_requests_total", labels) == 4


async def test_a_handshake_that_never_comes_is_a_timeout_without_doubt(metrics: Metrics, nursery: trio.Nursery) -> None:
    server = await play(nursery, silence, silence, silence, silence)
    url = server.url.replace("http:", "https:")
    async with daily_at(url, metrics, timeout_s=SHORT_S) as daily:
        with trio.fail_after(TEST_S), pytest.raises(ProviderTimeout, match="no connection") as caught:
            await daily.create_room(PLAN)
    assert not caught.value.in_doubt


async def test_a_stranger_behind_tls_is_not_spoken_to(metrics: Metrics, nursery: trio.Nursery) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"220 mail.example.com ESMTP\r\n")
            await stream.receive_some()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, greet, [listener])
    async with daily_at(f"https://127.0.0.1:{listener.socket.getsockname()[1]}/v1", metrics) as daily:
        with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="no connection") as caught:
            await daily.create_room(PLAN)
    assert not caught.value.in_doubt


# --- refusals ---


async def test_a_taken_name_is_room_exists(scripted: Scripted) -> None:
    refused = answer(400, {"error": "invalid-request-error", "info": "whatever"})
    daily, server = await scripted(refused, answer(200, b"whatever it is"))
    with trio.fail_after(TEST_S), pytest.raises(RoomExists):
        await daily.create_room(PLAN)
    assert [request.target for request in server.received] == ["/v1/rooms", "/v1/rooms/lobby"]


async def test_another_400_comes_back_in_daily_words(scripted: Scripted) -> None:
    daily, _ = await scripted(
        answer(400, {"error": "invalid-request-error", "info": "invalid property name 'colour'\n\x1b[2J" + "!" * 999}),
        NOT_FOUND,
    )
    with trio.fail_after(TEST_S), pytest.raises(ProviderRejected) as caught:
        await daily.create_room(PLAN)
    assert caught.value.status == 400
    assert caught.value.detail.startswith("invalid property name 'colour'")
    assert caught.value.detail.rstrip("!").isprintable()
    assert len(caught.value.detail) == 300
    assert daily.health().status is CheckStatus.OK


async def test_a_400_that_cannot_be_looked_into_is_the_looks_failure(scripted: Scripted) -> None:
    daily, _ = await scripted(
        answer(400, {"error": "invalid-request-error", "info": "a room named lobby already exists"}),
        answer(429, {"error": "rate-limit-error"}, {"Retry-After": "30"}),
    )
    with trio.fail_after(TEST_S), pytest.raises(ProviderThrottled) as caught:
        await daily.create_room(PLAN)
    assert not caught.value.in_doubt


KEY_REFUSALS = [
    answer(401, {"error": "authentication-error"}),
    answer(403, {"error": "forbidden-error", "info": "not for you"}),
    answer(400, {"error": "authorization-header-error", "info": "invalid authorization header"}),
]


@EVERY_CALL
@pytest.mark.parametrize("refusal", KEY_REFUSALS, ids=["401", "403", "400 header"])
async def test_a_refused_key_is_a_rejection_that_operators_see(scripted: Scripted, name: str, refusal: Play) -> None:
    call, body = CALLS[name]
    daily, server = await scripted(refusal, answer(200, body))
    with trio.fail_after(TEST_S):
        with pytest.raises(ProviderRejected) as caught:
            await call(daily)
        assert caught.value.status in {401, 403}
        assert len(server.received) == 1
        assert daily.health().status is CheckStatus.DEGRADED
        assert "DAILY_API_KEY" in daily.health().message
        await call(daily)
    assert daily.health().status is CheckStatus.OK


@pytest.mark.parametrize("name", ["find_room", "delete_room", "presence", "create_token", "check"])
async def test_a_wrong_base_url_is_not_a_missing_room(scripted: Scripted, name: str) -> None:
    call, _ = CALLS[name]
    daily, _ = await scripted(answer(404, {"error": "not-found", "info": "api endpoint does not exist"}))
    with trio.fail_after(TEST_S), pytest.raises(ProviderRejected) as caught:
        await call(daily)
    assert caught.value.status == 404
    assert "DAILY_API_URL" in daily.health().message


async def test_a_token_for_what_daily_does_not_know_is_a_rejection(scripted: Scripted) -> None:
    daily, _ = await scripted(NOT_FOUND)
    with trio.fail_after(TEST_S), pytest.raises(ProviderRejected) as caught:
        await daily.create_token(TOKEN)
    assert caught.value.status == 404
    assert daily.health().status is CheckStatus.OK


@pytest.mark.parametrize(
    "gone",
    [
        {"error": "not-found", "info": "room lobby not found"},
        {"error": "not-found", "deleted": True},
        {"deleted": True, "name": "lobby"},
    ],
)
async def test_deleting_what_is_gone_is_a_success(scripted: Scripted, gone: Any) -> None:
    daily, server = await scripted(answer(404, gone))
    with trio.fail_after(TEST_S):
        await daily.delete_room("lobby")
    assert len(server.received) == 1


async def test_an_unknown_status_is_told_without_a_phrase(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(499, {}), answer(402, {}))
    with trio.fail_after(TEST_S):
        with pytest.raises(ProviderRejected, match="no reason given"):
            await daily.find_room("lobby")
        with pytest.raises(ProviderRejected, match="Payment Required"):
            await daily.find_room("lobby")


async def test_retry_after_is_waited_for_also_as_a_date(scripted: Scripted) -> None:
    now, soon = "Thu, 01 Jan 2026 12:00:00 GMT", "Thu, 01 Jan 2026 12:00:01 GMT"
    daily, server = await scripted(
        answer(429, {"error": "rate-limit-error"}, {"Date": now, "Retry-After": soon}),
        answer(429, {"error": "rate-limit-error"}, {"Retry-After": "0"}),
        answer(200, ROOM),
    )
    with trio.fail_after(TEST_S):
        assert (await daily.create_room(PLAN)).provider_id == "r1"
    assert len(server.received) == 3


# --- presence ---

ADA = {"id": "p1", "userId": "u1", "userName": "Ada", "joinTime": "2026-01-01T11:59:00.000Z"}
BOB = {**ADA, "id": "p2", "userId": "u2", "userName": "Bob"}


async def test_a_shortened_presence_is_asked_for_in_full(scripted: Scripted) -> None:
    daily, server = await scripted(
        answer(200, {"total_count": 2, "data": [ADA]}), answer(200, {"total_count": 2, "data": [ADA, BOB]})
    )
    with trio.fail_after(TEST_S):
        assert [one.name for one in await daily.presence("lobby")] == ["Ada", "Bob"]
    assert [request.target.rpartition("/")[2] for request in server.received] == ["presence", "presence?limit=2"]


async def test_a_presence_that_cannot_be_had_in_full_is_unknown(scripted: Scripted) -> None:
    daily, _ = await scripted(
        answer(200, {"total_count": 500, "data": [ADA]}), answer(400, {"error": "invalid-request-error"})
    )
    with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="only some of 500"):
        await daily.presence("lobby")


async def test_a_key_refused_between_the_two_halves_is_told_as_such(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(200, {"total_count": 2, "data": [ADA]}), answer(401, {}))
    with trio.fail_after(TEST_S), pytest.raises(ProviderRejected):
        await daily.presence("lobby")


async def test_odd_entries_are_skipped_and_told_once_a_minute(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    odd = answer(200, {"total_count": 3, "data": [ADA, {**BOB, "id": 7}, None], "more": 1})
    short = answer(200, {"total_count": 9, "data": []})
    daily, _ = await scripted(odd, odd, short, short)
    with trio.fail_after(TEST_S):
        assert [one.id for one in await daily.presence("lobby")] == ["p1"]
        assert [one.id for one in await daily.presence("lobby")] == ["p1"]
        assert await daily.presence("lobby") == ()
    (record,) = [record for record in caplog.records if record.message == "presence makes no sense"]
    assert vars(record)["skipped"] == 2


async def test_a_missing_room_has_no_presence(scripted: Scripted) -> None:
    daily, _ = await scripted(NOT_FOUND)
    with trio.fail_after(TEST_S), pytest.raises(RoomNotFound):
        await daily.presence("lobby")


# --- check and health ---


async def test_another_domains_key_is_told_until_it_is_right(scripted: Scripted) -> None:
    other, mine = answer(200, {"domain_name": "other"}), answer(200, {"domain_name": "MINE"})
    daily, _ = await scripted(other, answer(200, ROOM), mine)
    with trio.fail_after(TEST_S):
        with pytest.raises(ProviderRejected, match="'other'"):
            await daily.check()
        await daily.find_room("lobby")  # works, in the wrong domain
        assert daily.health().status is CheckStatus.DEGRADED
        assert "'other'" in daily.health().message
        assert "'mine'" in daily.health().message
        await daily.check()
    assert daily.health().status is CheckStatus.OK


async def test_a_check_without_domain_and_date_passes(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(200, {}), answer(200, {"domain_name": "mine"}, {"Date": "soon"}))
    with trio.fail_after(TEST_S):
        assert await daily.check() is None
        assert await daily.check() is None
    assert daily.health().status is CheckStatus.OK


async def test_a_room_expires_by_dailys_clock(scripted: Scripted) -> None:
    room = {**ROOM, "config": {"exp": (datetime.now(UTC) + timedelta(days=1)).timestamp()}}
    daily, _ = await scripted(
        answer(200, room),
        answer(200, room, {"Date": "Fri, 31 Dec 2100 00:00:00 GMT"}),
        answer(200, {**ROOM, "config": {}}),
    )
    with trio.fail_after(TEST_S):
        assert await daily.find_room("lobby") is not None
        assert await daily.find_room("lobby") is None
        assert await daily.find_room("lobby") is not None  # never expires


async def test_changes_of_health_are_logged_once(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refused = answer(401, {"error": "authentication-error"})
    daily, _ = await scripted(refused, refused, NOT_FOUND, NOT_FOUND)
    with trio.fail_after(TEST_S):
        for _ in range(2):
            with pytest.raises(ProviderRejected):
                await daily.find_room("lobby")
        for _ in range(2):
            assert await daily.find_room("lobby") is None
    told = [record.message for record in caplog.records if record.name.endswith("health")]
    assert told == ["provider is degraded", "provider is well"]


# --- secrets ---


@pytest.mark.parametrize("key", ["", "with blank", "line\nbreak", "schlüssel"])
async def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(metrics: Metrics, key: str) -> None:
    with pytest.raises(SettingsError, match="DAILY_API_KEY") as caught:
        async with daily_at("http://127.0.0.1:1/v1", metrics, api_key=key):
            pytest.fail("opened")
    assert not key or key not in str(caught.value)


async def test_the_key_is_in_no_log_no_error_and_no_repr(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = answer(400, {"error": "invalid-request-error", "info": f"Bearer {KEY} is not good"})
    daily, _ = await scripted(quoting, hang_up, answer(401, {"error": KEY}), answer(200, EMPTY))
    errors: list[ConnectorError] = []
    with trio.fail_after(TEST_S):
        for name in ("delete_room", "create_room", "check"):
            try:
                await CALLS[name][0](daily)
            except ConnectorError as exc:
                errors.append(exc)
        await daily.presence("lobby")
    assert len(errors) == 3
    texts = [repr(daily), repr(daily.health())]
    for error in errors:
        texts += [repr(error), str(error), repr(error.__cause__), repr(vars(error))]
    texts += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert caplog.records
    assert not [text for text in texts if KEY in text]


async def test_the_environment_gives_neither_proxies_nor_passwords(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password mallory\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    daily, server = await scripted(answer(200, EMPTY))
    with trio.fail_after(TEST_S):
        assert await daily.presence("lobby") == ()
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


# --- the sandbox as a whole ---


async def test_more_callers_than_daily_allows_are_served_without_a_429(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle, metrics: Metrics
) -> None:
    """Two bursts over the slow tier: the second is refused by us, not by Daily."""
    refused: list[ProviderThrottled] = []

    async def delete(daily: DailyConnector) -> None:
        try:
            await daily.delete_room("nowhere")
        except ProviderThrottled as exc:
            refused.append(exc)

    async with open_sandbox_daily(timeout_s=5.0) as daily:
        with trio.fail_after(TEST_S):
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(delete, daily)
        requests = await trio.to_thread.run_sync(daily_sandbox.requests, "delete_room")
    assert [request["status"] for request in requests] == [404] * 45
    assert len(refused) == 15
    assert all(15 < exc.retry_after_s <= 30 for exc in refused)


async def test_a_cancelled_creation_leaves_no_connection_behind_that_confuses_the_next(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle
) -> None:
    """Cancelled at any moment, before, during and after sending; more often than there are connections."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    daily_sandbox.configure(rate_limits=False)
    async with open_sandbox_daily() as daily:
        with trio.fail_after(TEST_S):
            for number in range(120):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(daily.create_room, room_plan(f"room-{number}", soon))
                        for _ in range(number % 30):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(daily.create_room, room_plan(f"after-{number}", soon))
    names = {room["name"] for room in await trio.to_thread.run_sync(daily_sandbox.rooms)}
    assert {f"after-{number}" for number in range(40)} <= names


async def test_an_outage_leaves_no_doubt_and_passes(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle, metrics: Metrics
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    errors: list[ProviderUnreachable] = []
    async with open_sandbox_daily() as daily:
        await trio.to_thread.run_sync(daily_sandbox.outage, 0.5)
        with trio.fail_after(TEST_S):
            await until_refused(daily_sandbox)
            while True:
                try:
                    room = await daily.create_room(room_plan("lobby", soon))
                    break
                except ProviderUnreachable as exc:
                    errors.append(exc)
    assert room.name == "lobby"
    assert not any(error.in_doubt for error in errors)
    labels = {"provider": "daily", "operation": "create_room", "outcome": "unreachable"}
    assert (metrics.registry.get_sample_value("transport_provider_requests_total", labels) or 0) > 0


async def until_refused(sandbox: SandboxHandle) -> None:
    port = urlsplit(sandbox.url).port
    assert port
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        await stream.aclose()
        await trio.sleep(0.01)
