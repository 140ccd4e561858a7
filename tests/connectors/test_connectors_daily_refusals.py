"""What Daily refuses, and which of our errors it becomes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from daily_calls import CALLS, EVERY_CALL, NOT_FOUND, PLAN, ROOM, TEST_S, TOKEN, Scripted
from scripted_http import Play, answer

from transport_trio.errors import ProviderRejected, ProviderThrottled, RoomExists
from transport_trio.models import CheckStatus


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


@pytest.mark.parametrize("name", [name for name in CALLS if name != "create_room"])
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
async def test_deleting_what_is_gone_is_no_failure(scripted: Scripted, gone: Any) -> None:
    daily, server = await scripted(answer(404, gone))
    with trio.fail_after(TEST_S):
        assert not await daily.delete_room("lobby")
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
