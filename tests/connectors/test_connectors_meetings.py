"""Daily's account of who was in a room, read from its meetings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import trio
from connectors_helpers import OpenDaily, Provider, room_plan
from daily_calls import TEST_S, Scripted
from scripted_http import answer

from transport_trio.errors import ProviderUnreachable
from transport_trio.sandbox import SandboxHandle

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
END = START + timedelta(hours=1)


def meeting(id_: str, *people: Any, ongoing: bool = False) -> dict[str, Any]:
    return {"id": id_, "room": "r", "start_time": 1767268800, "ongoing": ongoing, "participants": list(people)}


def person(id_: str, joined: Any = 1767268800, duration: Any = 45) -> dict[str, Any]:
    return {"participant_id": id_, "user_id": "u", "user_name": "Ada", "join_time": joined, "duration": duration}


async def test_a_room_that_nobody_was_in(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        assert await provider.connector.visits("never", provider.now() - timedelta(hours=1), provider.now()) == ()


async def test_visits_are_those_of_the_meetings(open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle) -> None:
    def call() -> tuple[str, datetime]:
        start = datetime.fromtimestamp(daily_sandbox.now(), UTC)
        ada = daily_sandbox.join("r", "Ada", user_id="u1")
        daily_sandbox.advance(60)
        daily_sandbox.leave("r")
        return ada["id"], start

    with trio.fail_after(TEST_S):
        async with open_sandbox_daily() as daily:
            await daily.create_room(room_plan("r", datetime.fromtimestamp(daily_sandbox.now() + 900, UTC)))
            id_, start = await trio.to_thread.run_sync(call)
            end = start + timedelta(seconds=61)
            assert await daily.visits("r", start, end) is None  # it counts as under way for 20 seconds more
            await trio.to_thread.run_sync(partial(daily_sandbox.advance, 21))
            visits = await daily.visits("r", start, end)
            assert visits is not None
            (visit,) = visits
            assert (visit.ids, visit.user_id, visit.name) == ((id_,), "u1", "Ada")
            assert abs((visit.joined_at - start).total_seconds()) <= 15
            assert visit.left_at is not None
            assert abs((visit.left_at - end).total_seconds()) <= 16
            assert await daily.visits("other", start, end) == ()


async def test_what_makes_no_sense_is_skipped(scripted: Scripted) -> None:
    odd = (person("x", joined="noon"), person("y", duration=None), person("z", duration=True), person(""), 7, None)
    body = {"data": [meeting("m", person("p"), *odd), meeting("n", *odd), {"id": "o", "participants": None}]}
    with trio.fail_after(TEST_S):
        daily, server = await scripted(answer(200, body))
        visits = await daily.visits("r", START, END)
    assert visits is not None
    assert [(visit.ids, visit.left_at) for visit in visits] == [(("p",), START + timedelta(seconds=45))]
    (request,) = server.received
    assert "room=r&timeframe_start=1767268785&timeframe_end=1767272415&limit=100" in request.target


async def test_more_meetings_than_a_page_holds(scripted: Scripted) -> None:
    first = [meeting(f"m{number}", person(f"p{number}")) for number in range(100)]
    with trio.fail_after(TEST_S):
        daily, server = await scripted(answer(200, {"data": first}), answer(200, {"data": [meeting("n", person("q"))]}))
        visits = await daily.visits("r", START, END)
    assert visits is not None
    assert len(visits) == 101
    assert "starting_after=m99" in server.received[1].target


@pytest.mark.parametrize("body", [[], {"data": None}, {"data": [1]}, {}])
async def test_an_answer_without_meetings_is_broken(scripted: Scripted, body: Any) -> None:
    with trio.fail_after(TEST_S):
        daily, _ = await scripted(*[answer(200, body)] * 4)
        with pytest.raises(ProviderUnreachable):
            await daily.visits("r", START, END)
