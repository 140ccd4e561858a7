"""Many rooms: one question for all of them, shared, and what it cannot tell looked for room by room."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import trio
from connectors_helpers import daily_at, room_plan
from daily_calls import TEST_S, Scripted
from scripted_http import answer

from transport_trio.connectors import DailyConnector, DailyLimits, Limit
from transport_trio.connectors.daily import looking
from transport_trio.errors import ConnectorError, ProviderUnreachable, RoomNotFound
from transport_trio.metrics import Metrics
from transport_trio.ports import Seen
from transport_trio.sandbox import SandboxHandle

ROOMS = ("one", "two", "three")
ADA = {"id": "p1", "userId": "u1", "userName": "Ada", "joinTime": "2026-01-01T11:59:00.000Z"}

Open = Callable[..., AbstractAsyncContextManager[DailyConnector]]


@pytest.fixture
def open_shared(daily_sandbox: SandboxHandle, metrics: Metrics) -> Open:
    """A connector for which two rooms are many."""
    return partial(daily_at, daily_sandbox.api_url, metrics, shared_presence_rooms=2, poll_s=60.0)


async def on_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await trio.to_thread.run_sync(partial(call, *args, **kwargs))


async def make_rooms(daily: DailyConnector, sandbox: SandboxHandle, *names: str) -> None:
    now = await on_thread(sandbox.now)
    for name in names:
        await daily.create_room(room_plan(name, datetime.fromtimestamp(now + 3600, UTC)))


async def become_many(daily: DailyConnector) -> None:
    for name in ROOMS[:2]:
        await daily.presence(name)


def names(seen: Seen) -> list[str | None]:
    return [who.name for who in seen.participants]


async def asked(sandbox: SandboxHandle) -> dict[str, int]:
    requests = await on_thread(sandbox.requests)
    found = [one["operation"] for one in requests if one["operation"].endswith("presence")]
    return {operation: found.count(operation) for operation in ("room_presence", "all_presence") if operation in found}


async def test_few_rooms_are_asked_for_one_by_one(daily_sandbox: SandboxHandle, open_shared: Open) -> None:
    with trio.fail_after(TEST_S):
        async with open_shared() as daily:
            await make_rooms(daily, daily_sandbox, "one")
            for _ in range(3):
                await daily.presence("one")
            assert await asked(daily_sandbox) == {"room_presence": 3}


async def test_many_rooms_share_one_answer(daily_sandbox: SandboxHandle, open_shared: Open, metrics: Metrics) -> None:
    found: dict[str, Seen] = {}

    async def look(name: str) -> None:
        found[name] = await daily.presence(name)

    with trio.fail_after(TEST_S):
        async with open_shared() as daily:
            await make_rooms(daily, daily_sandbox, *ROOMS, "foreign")
            await on_thread(daily_sandbox.join, "two", name="Ada", user_id="u1")
            await on_thread(daily_sandbox.join, "foreign", name="Eve")
            await become_many(daily)
            async with trio.open_nursery() as lookers:
                for name in ROOMS:
                    lookers.start_soon(look, name)
            assert {name: names(seen) for name, seen in found.items()} == {"one": [], "two": ["Ada"], "three": []}
            assert len({seen.answered_at for seen in found.values()}) == 1
            assert await asked(daily_sandbox) == {"room_presence": 1, "all_presence": 1}
            assert metrics.registry.get_sample_value("transport_presence_shared", {"provider": "daily"}) == 1


async def test_a_fresh_look_asks_for_the_one_room(daily_sandbox: SandboxHandle, open_shared: Open) -> None:
    with trio.fail_after(TEST_S):
        async with open_shared() as daily:
            await make_rooms(daily, daily_sandbox, *ROOMS)
            await become_many(daily)
            await on_thread(daily_sandbox.join, "two", name="Ada")
            shared = await daily.presence("two")
            fresh = await daily.presence("two", fresh=True)
            assert (names(shared), names(fresh)) == ([], ["Ada"])
            assert fresh.answered_at > shared.answered_at


async def test_a_fresh_look_for_which_there_is_no_room_in_the_budget_is_answered_all_the_same(
    daily_sandbox: SandboxHandle, open_shared: Open
) -> None:
    limits = DailyLimits(default=Limit(count=2, period_s=1000), slow=Limit(count=2, period_s=1000))
    with trio.fail_after(TEST_S):
        async with open_shared() as unlimited:
            await make_rooms(unlimited, daily_sandbox, *ROOMS)
        async with open_shared(rate_limits=limits, timeout_s=2.0) as daily:
            for _ in range(3):
                assert names(await daily.presence("two", fresh=True)) == []
            assert await asked(daily_sandbox) == {"room_presence": 2, "all_presence": 1}


async def test_one_failure_is_everybodys_and_logged_once(
    scripted: Scripted, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    broken = answer(200, ["no object"])
    empty = answer(200, {"total_count": 0, "data": []})
    failures: list[ConnectorError] = []

    async def look() -> None:
        with pytest.raises(ProviderUnreachable) as caught:
            await daily.presence("two")
        failures.append(caught.value)

    daily, server = await scripted(empty, *[broken] * 4, shared_presence_rooms=2)
    with trio.fail_after(TEST_S):
        await daily.presence("one")
        async with trio.open_nursery() as lookers:
            for _ in range(50):
                lookers.start_soon(look)
        await look()  # nor does who comes after that ask again
    assert len(server.received) == 5
    assert len(failures) == 51
    assert all(failure.told for failure in failures)
    told = [record for record in caplog.records if record.message == "presence of the domain is unknown"]
    assert len(told) == 1


async def test_a_room_that_is_gone_is_found_in_its_turn(
    daily_sandbox: SandboxHandle, open_shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "VISIT_INTERVALS", 0)
    with trio.fail_after(TEST_S):
        async with open_shared() as daily:
            await make_rooms(daily, daily_sandbox, *ROOMS)
            await on_thread(daily_sandbox.join, "two", name="Ada")
            await become_many(daily)
            await daily.delete_room("one")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(daily.visit_rooms)
                await until_gone(daily, "one")
                nursery.cancel_scope.cancel()
            before = await asked(daily_sandbox)
            with pytest.raises(RoomNotFound):  # until it is settled, who asks is not told "nobody" in between
                await daily.presence("one")
            assert names(await daily.presence("two")) == ["Ada"]  # who was named needs no visit
            after = await asked(daily_sandbox)
            assert after["room_presence"] == before["room_presence"] + 1
            await make_rooms(daily, daily_sandbox, "one")
            assert names(await daily.presence("one")) == []


@pytest.mark.parametrize("many", [True, False])
async def test_only_what_is_watched_and_shared_is_visited(
    daily_sandbox: SandboxHandle, open_shared: Open, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """Else each session that has ended would cost a request more."""
    monkeypatch.setattr(looking, "VISIT_INTERVALS", 0)
    if many:
        monkeypatch.setattr(looking, "WATCHED_INTERVALS", 0)
    with trio.fail_after(TEST_S):
        async with open_shared() as daily:
            await make_rooms(daily, daily_sandbox, *ROOMS)
            if many:
                await become_many(daily)
            else:
                await daily.presence("one")
            before = await asked(daily_sandbox)
            with trio.move_on_after(1.0):  # ten turns
                await daily.visit_rooms()
            assert await asked(daily_sandbox) == before


async def until_gone(daily: DailyConnector, name: str) -> None:
    while True:
        try:
            assert names(await daily.presence(name)) == []
        except RoomNotFound:
            return
        await trio.sleep(0.01)


@pytest.mark.parametrize("body", [[], "text", {"error": "something"}, {"two": None, "one": 3}])
async def test_what_is_no_presence_of_a_domain_empties_no_room(scripted: Scripted, body: Any) -> None:
    empty = answer(200, {"total_count": 0, "data": []})
    daily, _ = await scripted(empty, *[answer(200, body)] * 4, shared_presence_rooms=2)
    with trio.fail_after(TEST_S):
        await daily.presence("one")
        with pytest.raises(ProviderUnreachable, match="makes no sense"):
            await daily.presence("two")


async def test_a_room_whose_people_make_no_sense_is_asked_for_by_itself(scripted: Scripted) -> None:
    empty = answer(200, {"total_count": 0, "data": []})
    everybody = answer(200, {"one": [ADA, None, {"id": 7}], "two": "nonsense"})
    daily, server = await scripted(
        empty, everybody, answer(200, {"total_count": 1, "data": [ADA]}), shared_presence_rooms=2
    )
    with trio.fail_after(TEST_S):
        await daily.presence("one")
        assert names(await daily.presence("two")) == ["Ada"]
        assert names(await daily.presence("one")) == ["Ada"]
    assert [request.target for request in server.received] == [
        "/v1/rooms/one/presence",
        "/v1/presence",
        "/v1/rooms/two/presence",
    ]


async def test_a_large_answer_is_read(scripted: Scripted) -> None:
    """By a thread, beyond 256 KiB."""
    empty = answer(200, {"total_count": 0, "data": []})
    everybody = {f"foreign-{number}": [ADA] for number in range(3000)}
    daily, _ = await scripted(empty, answer(200, {**everybody, "two": [ADA]}), shared_presence_rooms=2)
    with trio.fail_after(TEST_S):
        await daily.presence("one")
        assert names(await daily.presence("two")) == ["Ada"]


async def test_rooms_can_be_asked_for_one_by_one_however_many_they_are(
    daily_sandbox: SandboxHandle, open_shared: Open
) -> None:
    limits = DailyLimits(default=Limit(count=90, period_s=5.0), slow=Limit(count=45, period_s=30.0))
    with trio.fail_after(TEST_S):
        async with open_shared(shared_presence_rooms=0, poll_s=0.1, rate_limits=limits) as daily:
            await make_rooms(daily, daily_sandbox, *ROOMS)
            for name in ROOMS:
                await daily.presence(name)
            assert await asked(daily_sandbox) == {"room_presence": 3}
