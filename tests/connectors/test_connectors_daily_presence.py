"""Who is there, when Daily tells only half of it or nonsense."""

from __future__ import annotations

import pytest
import trio
from daily_calls import NOT_FOUND, TEST_S, Scripted
from scripted_http import answer

from transport_trio.errors import ProviderRejected, ProviderUnreachable, RoomNotFound

ADA = {"id": "p1", "userId": "u1", "userName": "Ada", "joinTime": "2026-01-01T11:59:00.000Z"}
BOB = {**ADA, "id": "p2", "userId": "u2", "userName": "Bob"}


async def test_a_shortened_presence_is_asked_for_in_full(scripted: Scripted) -> None:
    daily, server = await scripted(
        answer(200, {"total_count": 2, "data": [ADA]}), answer(200, {"total_count": 2, "data": [ADA, BOB]})
    )
    with trio.fail_after(TEST_S):
        assert [one.name for one in (await daily.presence("lobby")).participants] == ["Ada", "Bob"]
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
        assert [one.id for one in (await daily.presence("lobby")).participants] == ["p1"]
        assert [one.id for one in (await daily.presence("lobby")).participants] == ["p1"]
        assert (await daily.presence("lobby")).participants == ()
    (record,) = [record for record in caplog.records if record.message == "presence makes no sense"]
    assert vars(record)["skipped"] == 2


async def test_a_missing_room_has_no_presence(scripted: Scripted) -> None:
    daily, _ = await scripted(NOT_FOUND)
    with trio.fail_after(TEST_S), pytest.raises(RoomNotFound):
        await daily.presence("lobby")
