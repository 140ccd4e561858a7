"""Presence that is late, shows ghosts, is empty, halved, missing or nonsense for a moment, while people come and go."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.truth import check_stories
from drills.frame.world import World, until
from drills.parts.presence_truth import Pace, Truth, check_joins, check_leaves, inside_after
from drills.parts.provider_parts import at_sandbox, started_world

LIES: tuple[dict[str, Any], ...] = (
    {"kind": "empty_presence"},
    {"kind": "half_presence"},  # the service asks again, and is told half again
    {"kind": "not_found"},
    {"kind": "wrong_types"},
    {"kind": "garbage"},
    {"kind": "error", "status": 500},
)
SHORT_LIES = 4
SETTLE_S = 20.0  # for a busy machine, beyond what lag and confirmation take
REAL_LAG_S, REAL_CONFIRM_S, REAL_GHOST_S, REAL_POLL_S = 25.0, 15.0, 20.0, 5.0


FULL = Pace(sessions=6, people=4, for_s=32.0, poll_s=0.4, confirm_s=3.0, lag_s=1.0, ghost_s=1.5)
SHORT = Pace(sessions=2, people=3, for_s=3.0, poll_s=0.2, confirm_s=1.2, lag_s=0.2, ghost_s=0.3)


async def run(report: Report, folder: Path, *, short: bool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_lies, report, folder / "lies", SHORT if short else FULL, short)
        if not short:
            nursery.start_soon(_real_lag, report, folder / "lag")


async def _lies(report: Report, folder: Path, pace: Pace, short: bool) -> None:
    truth = Truth()
    async with (
        started_world(folder, sandbox_args=pace.sandbox_args, **pace.settings) as world,
        Caller(world.service.url) as caller,
    ):
        for _ in range(pace.sessions):
            made = await caller.create()
            truth.rooms[made["session_id"]] = made["room_name"]
        over = trio.current_time() + pace.for_s
        async with trio.open_nursery() as people:
            for number, session_id in enumerate(truth.rooms):
                for person in range(pace.people):
                    chance = random.Random(100 * number + person)
                    user = f"user-{person}" if person else None
                    people.start_soon(_live, world, truth, session_id, user, pace, chance, over)
            await _lie(report, world, truth, over, SHORT_LIES if short else len(LIES))
        await _check(report, world, caller, truth, pace)
        await _check_shown(report, world)


async def _live(
    world: World, truth: Truth, session_id: str, user: str | None, pace: Pace, chance: random.Random, over: float
) -> None:
    """One person's comings and goings; whoever has no user id is another person after each going."""
    room = truth.rooms[session_id]
    while True:
        shown = await at_sandbox(world, "join", room, name="Ada", user_id=user)
        truth.comes(session_id, user or shown["id"])
        # Somebody who has not been seen yet when they go was never there for us: short visits are not promised.
        await trio.sleep(pace.lag_s + 4 * pace.poll_s + chance.uniform(0.5, 2))
        if trio.current_time() > over:
            return
        truth.goes(session_id, user or shown["id"])
        await at_sandbox(world, "leave", room, shown["id"])
        blinks = user is not None and chance.random() < 0.5
        await trio.sleep(pace.blink_s * chance.uniform(0, 1) if blinks else pace.absence_s)
        if not blinks and (trio.current_time() > over or chance.random() < 0.3):
            return


async def _lie(report: Report, world: World, truth: Truth, over: float, kinds: int) -> None:
    """One lie to each session, then the truth to each before the next: two lies in a row would be believed."""
    told = 0
    while trio.current_time() < over:
        lie = LIES[told % kinds]
        times = len(truth.rooms) * (2 if lie["kind"] == "half_presence" else 1)
        await at_sandbox(world, "set_faults", {**lie, "operation": "room_presence", "count": times})
        assert await until(partial(_no_faults, world), 10.0)
        number = max(request["number"] for request in await at_sandbox(world, "requests", "room_presence"))
        assert await until(partial(_truth_told, world, truth, number), 10.0)
        told += 1
        report.count("answers that were lies", times)
    report.count("kinds of lies", kinds)


async def _check(report: Report, world: World, caller: Caller, truth: Truth, pace: Pace) -> None:
    agreed = await until(
        partial(_agrees, world, caller, truth), pace.lag_s + pace.ghost_s + pace.confirm_s + 4 * pace.poll_s + SETTLE_S
    )
    report.holds("in the end every session names exactly who is in its room", agreed)
    events = [event for event in await caller.events() if event["session_id"] in truth.rooms]
    ends = [event["session_id"] for event in events if event["type"] == "session_ended"]
    report.none("no session was ended", ends, of=len(truth.rooms))
    check_stories(report, events)
    check_leaves(report, events, truth, pace)
    check_joins(report, events, truth)
    inside = inside_after(events)
    sessions = [await caller.get(f"/sessions/{session_id}") for session_id in truth.rooms]
    shown = {(one["session_id"], person["id"]) for one in sessions for person in one["participants"]}
    report.none("joins minus leaves are the participants", inside ^ shown, of=len(inside | shown))
    report.count("joins told", sum(event["type"] == "participant_joined" for event in events))
    report.count("leaves told", sum(event["type"] == "participant_left" for event in events))


async def _check_shown(report: Report, world: World) -> None:
    """Lies that show as such are counted, and no lie makes the service unready."""
    shown = await world.service.metrics()
    met = (
        'transport_presence_polls_total{outcome="ok",provider="daily"}',
        'transport_presence_polls_total{outcome="room_missing",provider="daily"}',
        'transport_provider_requests_total{operation="presence",outcome="broken",provider="daily"}',
    )
    report.none("a metric counts looks by what they met", [name for name in met if not shown.get(name)], of=len(met))
    report.holds("/ready is ok in the end", (await world.service.checks())["provider:daily"] == "ok")


async def _real_lag(report: Report, folder: Path) -> None:
    """Daily's own figures once: presence 25 s late, ghosts for 20 s, leaves confirmed after 15 s."""
    truth = Truth()
    pace = Pace(
        sessions=1,
        people=4,
        for_s=0,
        poll_s=REAL_POLL_S,
        confirm_s=REAL_CONFIRM_S,
        lag_s=REAL_LAG_S,
        ghost_s=REAL_GHOST_S,
    )
    async with (
        started_world(folder, sandbox_args=pace.sandbox_args, **pace.settings) as world,
        Caller(world.service.url) as caller,
    ):
        made = await caller.create()
        session_id, room = made["session_id"], made["room_name"]
        truth.rooms[session_id] = room
        shown = {}
        for user in ("stays", "goes", "rejoins", "blinks"):
            shown[user] = await at_sandbox(world, "join", room, name=user, user_id=user)
            truth.comes(session_id, user)
        await at_sandbox(world, "advance", REAL_LAG_S + 1)  # else half a minute passes before they show
        everybody = partial(_shows, caller, session_id, 4)
        assert await until(everybody, 2 * REAL_POLL_S + SETTLE_S)
        truth.goes(session_id, "goes")
        await at_sandbox(world, "leave", room, shown["goes"]["id"])
        for user in ("rejoins", "blinks"):
            truth.goes(session_id, user)
            await at_sandbox(world, "leave", room, shown[user]["id"])
        await at_sandbox(world, "join", room, name="rejoins", user_id="rejoins")
        truth.comes(session_id, "rejoins")
        await at_sandbox(world, "join", room, name="comes", user_id="comes")
        truth.comes(session_id, "comes")
        await trio.sleep(REAL_CONFIRM_S / 3)
        await at_sandbox(world, "join", room, name="blinks", user_id="blinks")
        truth.comes(session_id, "blinks")
        await trio.sleep(REAL_LAG_S)  # until then the old picture would agree with nothing new
        await _check(report, world, caller, truth, pace)


async def _agrees(world: World, caller: Caller, truth: Truth) -> bool:
    for session_id, room in truth.rooms.items():
        shown = (await caller.get(f"/sessions/{session_id}"))["participants"]
        there = await at_sandbox(world, "participants", room)
        if _keys(shown, "user_id") != _keys(there, "userId"):
            return False
    return True


def _keys(people: list[dict[str, Any]], field: str) -> list[str]:
    return sorted(person[field] or person["id"] for person in people)


async def _shows(caller: Caller, session_id: str, people: int) -> bool:
    return len((await caller.get(f"/sessions/{session_id}"))["participants"]) == people


async def _no_faults(world: World) -> bool:
    return not await at_sandbox(world, "faults")


async def _truth_told(world: World, truth: Truth, after: int) -> bool:
    """Whether every room was told of rightly after this request."""
    requests = await at_sandbox(world, "requests", "room_presence")
    right = {one["path"] for one in requests if one["number"] > after and one["fault"] is None and one["status"] == 200}
    return all(any(room in path for path in right) for room in truth.rooms.values())
