"""Hundreds of rooms over minutes, on Trio's clock: how many requests they cost, and when a room is known to be gone."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import attrs
import pytest
import trio
from connectors_helpers import NOON
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from transport_trio.connectors import DAILY_LIMITS
from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.looking import Looking
from transport_trio.connectors.daily.operations import DOMAIN_PRESENCE, PRESENCE, Operation
from transport_trio.connectors.health import Health
from transport_trio.errors import RoomNotFound
from transport_trio.metrics import Metrics

INTERVAL_S = 15.0
PERSON = {"id": "p1", "userId": "u1", "userName": "Ada", "joinTime": "2026-01-01T11:59:00.000Z"}


@attrs.define(eq=False)
class Domain:
    """Answers after a tenth of a second, and remembers what was asked for when."""

    gone: set[str] = attrs.field(factory=set)
    full: set[str] = attrs.field(factory=set)
    timeout_s: float = 10.0
    asked_at: dict[str, list[float]] = attrs.field(factory=lambda: {PRESENCE.name: [], DOMAIN_PRESENCE.name: []})

    async def ask(self, op: Operation, path: str, _body: Any, _params: Any) -> Answer:
        self.asked_at[op.name].append(trio.current_time())
        await trio.sleep(0.1)
        if op is DOMAIN_PRESENCE:
            return self._answer(200, {name: [PERSON] for name in self.full - self.gone})
        name = path.split("/")[2]
        if name in self.gone:
            return self._answer(404, {"error": "not-found", "info": f"room {name} not found"})
        people = [PERSON] if name in self.full else []
        return self._answer(200, {"total_count": len(people), "data": people})

    def most_within(self, operation: Operation, period_s: float) -> int:
        most, window = 0, deque[float]()
        for at in self.asked_at[operation.name]:
            window.append(at)
            while window[0] <= at - period_s:
                window.popleft()
            most = max(most, len(window))
        return most

    def _answer(self, status: int, body: Any) -> Answer:
        return Answer(status=status, content=json.dumps(body).encode(), at=NOON)


@attrs.define(eq=False)
class Watched:
    """Rooms with a poller each, as sessions have them."""

    domain: Domain
    looking: Looking
    gone_at: dict[str, float] = attrs.field(factory=dict)

    async def poll(self, name: str, first_s: float) -> None:
        await trio.sleep(first_s)
        while True:
            try:
                seen = await self.looking.look(name, fresh=False)
            except RoomNotFound:
                self.gone_at[name] = trio.current_time()
                return
            assert bool(seen.participants) == (name in self.domain.full - self.domain.gone)
            await trio.sleep(INTERVAL_S)


@pytest.fixture
def watched() -> Watched:
    domain, metrics = Domain(), Metrics.create(CollectorRegistry())
    client = DailyClient(
        provider="daily",
        exchange=domain,  # type: ignore[arg-type]
        health=Health("daily"),
        metrics=metrics,
        limits=DAILY_LIMITS,
        secret="",
    )
    return Watched(domain, Looking(client=client, metrics=metrics, interval_s=INTERVAL_S, many=100))


def names(count: int) -> list[str]:
    return [f"room-{number}" for number in range(count)]


async def test_a_thousand_rooms_with_people_cost_one_request_an_interval(
    autojump_clock: MockClock, watched: Watched
) -> None:
    rooms = names(1000)
    watched.domain.full |= set(rooms)
    with trio.move_on_after(300):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.looking.visit)
            for place, name in enumerate(rooms):
                nursery.start_soon(watched.poll, name, INTERVAL_S * place / len(rooms))
    assert len(watched.domain.asked_at[PRESENCE.name]) == 99  # until they were many
    assert 19 <= len(watched.domain.asked_at[DOMAIN_PRESENCE.name]) <= 300 / INTERVAL_S


async def test_every_room_that_is_gone_is_found_within_the_time_promised(
    autojump_clock: MockClock, watched: Watched
) -> None:
    """A minute and two looks while there are not more than 540 rooms that nobody is in."""
    rooms = names(400)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.looking.visit)
        for place, name in enumerate(rooms):
            nursery.start_soon(watched.poll, name, INTERVAL_S * place / len(rooms))
        await trio.sleep(200)
        watched.domain.gone |= set(rooms[::10])
        await trio.sleep(60 + 2 * INTERVAL_S)
        nursery.cancel_scope.cancel()
    assert set(watched.gone_at) == watched.domain.gone
    assert watched.domain.most_within(PRESENCE, 5) <= 100


async def test_with_many_rooms_it_takes_longer_and_stays_within_the_limit(
    autojump_clock: MockClock, watched: Watched
) -> None:
    rooms = names(1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.looking.visit)
        for place, name in enumerate(rooms):
            nursery.start_soon(watched.poll, name, INTERVAL_S * place / len(rooms))
        await trio.sleep(300)
        watched.domain.gone |= set(rooms[::10])
        await trio.sleep(1000 / 9 + 2 * INTERVAL_S)
        nursery.cancel_scope.cancel()
    assert set(watched.gone_at) == watched.domain.gone
    assert watched.domain.most_within(PRESENCE, 5) <= 100
    assert watched.domain.most_within(DOMAIN_PRESENCE, INTERVAL_S) == 1


async def test_who_asks_for_all_may_be_cancelled(autojump_clock: MockClock, watched: Watched) -> None:
    """A session that ends must not take the answer of the others with it."""
    rooms = names(120)
    for name in rooms[:99]:
        await watched.looking.look(name, fresh=False)
    found: list[str] = []

    async def look(name: str) -> None:
        await watched.looking.look(name, fresh=False)
        found.append(name)

    async def late_look(name: str) -> None:
        await trio.sleep(0.01)
        await look(name)

    async with trio.open_nursery() as others:
        with trio.move_on_after(0.05):  # half of the time that the answer takes
            for name in rooms[100:]:
                others.start_soon(late_look, name)
            await look(rooms[99])
    assert sorted(found) == sorted(rooms[100:])
    assert len(watched.domain.asked_at[DOMAIN_PRESENCE.name]) == 2
