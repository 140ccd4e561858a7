"""`kill -9` at random moments, again and again, while sessions come and go and somebody listens everywhere."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller, Follower, consuming
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_heard, check_stored, check_stories
from drills.frame.world import World, open_world, until
from nats_server import Onlooker
from transport_trio.sandbox import SandboxError

LANES = 2  # one for each core
KILLS, KILLS_SHORT = 100, 3  # in each lane
IN_START = 0.25  # the share of kills that strike before the service answers
START_S = 0.3
LIFE_S = 0.7
CALLERS = 6
LATE_S = 10.0  # an end falls into an outage of some seconds, and is made good at the next start
BRIEF_S, BRIEF_SHORT_S = (5, 40), (2, 4)  # lengths of those sessions that are left to expire
QUIET_S = 40.0


@attrs.define
class _Lane:
    """What was promised to the callers of one service."""

    answered: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    ended: set[str] = attrs.field(factory=set)
    brief: dict[str, datetime] = attrs.field(factory=dict)
    joins: int = 0
    brief_s: tuple[int, int] = BRIEF_S
    over: bool = False


async def run(report: Report, folder: Path, *, short: bool) -> None:
    kills = KILLS_SHORT if short else KILLS
    lanes = 1 if short else LANES
    async with trio.open_nursery() as nursery:
        for number in range(lanes):
            nursery.start_soon(_lane, report, folder / f"lane{number}", kills, random.Random(number))
    report.figure("kills with SIGKILL", kills * lanes)


async def _lane(report: Report, folder: Path, kills: int, chance: random.Random) -> None:
    lane = _Lane(brief_s=BRIEF_SHORT_S if kills == KILLS_SHORT else BRIEF_S)
    async with open_world(folder, PRESENCE_POLL_S="0.3", PRESENCE_CONFIRM_S="0.3") as world:
        service = world.service
        assert world.nats is not None
        whole = Follower(service.socket_url)
        some = Follower(service.socket_url, {"types": "session_created,session_ended"})
        with consuming(world.nats.url) as consumer:
            async with Caller(service.url) as caller, trio.open_nursery() as listeners:
                listeners.start_soon(whole.run)
                listeners.start_soon(some.run)
                async with trio.open_nursery() as load:
                    for _ in range(CALLERS):
                        load.start_soon(_churn, world, caller, lane, chance)
                    await _kill_again_and_again(report, world, lane, kills, chance)
                    lane.over = True
                await _settle(world, caller, lane)
                await _check_sessions(report, world, caller, lane)
                events = await _all_events(caller)
                with trio.move_on_after(QUIET_S):
                    await whole.wait_id(events[-1]["id"])
                check_dense(report, events)
                check_stories(report, events)
                _check_timers(report, lane, events)
                check_heard(report, "a resuming listener", whole.heard, events)
                wanted = [event for event in events if event["type"] in {"session_created", "session_ended"}]
                check_heard(report, "a filtered listener", some.heard, wanted)
                report.holds("no listener was told of a gap", not whole.gaps and not some.gaps)
                check_stored(report, "the stream", await Onlooker(world.nats.url).stored(), events)
                await until(partial(consumer.has_taken, len(events)), QUIET_S)
                check_stored(report, "a durable consumer", consumer.first_deliveries(), events)
                listeners.cancel_scope.cancel()
    report.count("sessions answered with 201", len(lane.answered))
    report.count("of these by a repeat with its key", caller.replayed)
    report.count("people who joined", lane.joins)
    report.count("events", len(events))
    report.count("connections of the resuming listener", whole.connections)


async def _kill_again_and_again(report: Report, world: World, lane: _Lane, kills: int, chance: random.Random) -> None:
    for number in range(kills):
        await world.service.launch()
        if chance.random() < IN_START:
            await trio.sleep(chance.uniform(0.05, START_S))
        else:
            await world.service.ready()
            await trio.sleep(chance.uniform(0, LIFE_S))
        await world.service.kill()
        if number % 20 == 19:
            report.progress(f"{number + 1} of {kills} kills, {len(lane.answered)} sessions answered")
    await world.service.start()


async def _churn(world: World, caller: Caller, lane: _Lane, chance: random.Random) -> None:
    """Create, let somebody come, end; or leave it to its expiry, or alive."""
    while not lane.over:
        fate = chance.choice(["end", "end", "expire", "live"])
        ttl_s = chance.randint(*lane.brief_s) if fate == "expire" else 3600
        made = await caller.create({"options": {"session_ttl_s": ttl_s}})
        session_id = made["session_id"]
        lane.answered[session_id] = made
        if fate == "expire":
            lane.brief[session_id] = datetime.fromisoformat(made["session_expires_at"])
        if chance.random() < 0.5:
            await trio.to_thread.run_sync(partial(_join, world, made["room_name"], session_id))
            lane.joins += 1
        await trio.sleep(chance.uniform(0, 0.3))
        if fate == "end":
            await caller.end(session_id)
            lane.ended.add(session_id)


def _join(world: World, room: str, who: str) -> None:
    with suppress(SandboxError):  # a brief session may have ended meanwhile
        world.sandbox.join(room, name="Ada", user_id=who)


async def _settle(world: World, caller: Caller, lane: _Lane) -> None:
    """Wait until the brief sessions have expired, and rooms and messages are where they belong."""
    late = max(lane.brief.values(), default=datetime.now(UTC))
    await trio.sleep(max((late - datetime.now(UTC)).total_seconds(), 0) + 1)

    async def settled() -> bool:
        if await world.service.metric("pending_messages"):
            return False
        alive = {one["room_name"] for one in await caller.sessions() if one["status"] != "Ended"}
        return world.rooms() == alive

    await until(settled, QUIET_S, 0.3)


async def _all_events(caller: Caller) -> list[dict[str, Any]]:
    """The journal's events when no more are added: who joined last has been seen by then."""
    before: list[dict[str, Any]] = []
    while len(events := await caller.events()) != len(before) or not events:
        before = events
        await trio.sleep(1)
    return events


async def _check_sessions(report: Report, world: World, caller: Caller, lane: _Lane) -> None:
    sessions = {session["session_id"]: session for session in await caller.sessions()}
    report.none("every session answered with 201 exists", lane.answered.keys() - sessions.keys(), of=len(lane.answered))
    alive = {sid: one for sid, one in sessions.items() if one["status"] != "Ended"}
    report.none("every end answered with 200 is an end", lane.ended & alive.keys(), of=len(lane.ended))
    report.none("every session whose time has passed has ended", lane.brief.keys() & alive.keys(), of=len(lane.brief))
    rooms = world.rooms()
    wanted = {one["room_name"] for one in alive.values()}
    report.none("no room is left without a session", rooms - wanted, of=len(rooms))
    report.none("no live session is without its room", wanted - rooms, of=len(wanted))
    shown = await world.service.metrics()
    report.holds(
        "active_sessions counts them", shown["active_sessions"] == len(alive), f"{shown['active_sessions']:.0f}"
    )
    newcomers = {sid: _newcomer(world, one["room_name"]) for sid, one in alive.items()}

    async def unseen() -> list[str]:
        return [sid for sid, who in newcomers.items() if not await _is_in(caller, sid, who)]

    await until(lambda: _is_empty(unseen), QUIET_S, 0.5)
    report.none("every live session has its poller", await unseen(), of=len(newcomers))


def _check_timers(report: Report, lane: _Lane, events: list[dict[str, Any]]) -> None:
    """Sessions end at their time, or as soon as a service is there again."""
    late = {
        event["session_id"]: (datetime.fromisoformat(event["time"]) - lane.brief[event["session_id"]]).total_seconds()
        for event in events
        if event["type"] == "session_ended" and event["session_id"] in lane.brief
    }
    report.none("sessions end at their time", [s for s, by_s in late.items() if not 0 <= by_s < LATE_S], of=len(late))
    told = {event["session_id"] for event in events if event["type"] == "token_expired"}
    report.none("their tokens' expiry is told", late.keys() - told, of=len(late))
    report.figure("latest expiry, s", max(*late.values(), float(report.figures.get("latest expiry, s", 0))))


def _newcomer(world: World, room: str) -> str:
    with suppress(SandboxError):  # a room that lets nobody in has a session that should not be alive
        joined: str = world.sandbox.join(room, name="Late", user_id="late")["id"]
        return joined
    return "nobody"


async def _is_in(caller: Caller, session_id: str, who: str) -> bool:
    session = await caller.get(f"/sessions/{session_id}")
    return who in {person["id"] for person in session["participants"]}


async def _is_empty(ask: Callable[[], Awaitable[list[str]]]) -> bool:
    return not await ask()
