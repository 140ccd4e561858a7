"""Webhooks that get lost, come twice, late, out of order or forged, over a `kill -9`, while presence is late."""

from __future__ import annotations

import random
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.truth import check_stories
from drills.frame.world import World, http_client, percentile, until
from drills.parts.presence_truth import inside_after
from drills.parts.provider_parts import at_sandbox, started_world

LAG_S, POLL_S, CONFIRM_S, GRACE_S = 10.0, 2.0, 4.0, 30.0
SETTLE_S = LAG_S + GRACE_S + CONFIRM_S + 20.0  # the last for a busy machine
ACTIVE_S = 20.0
SETTINGS = {
    "DAILY_WEBHOOK_URL": "self",
    "PRESENCE_POLL_S": f"{POLL_S:g}",
    "PRESENCE_CONFIRM_S": f"{CONFIRM_S:g}",
}
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "drop", "chance": 0.2},
    {"kind": "duplicate", "chance": 0.2},
    {"kind": "delay", "operation": "webhook_delivery", "chance": 0.3, "delay_s": 3.0},
)


@attrs.frozen(kw_only=True)
class Size:
    sessions: int
    people: int
    honest_visits: int
    lies_s: float
    forged: int


FULL = Size(sessions=6, people=4, honest_visits=40, lies_s=25.0, forged=500)
SHORT = Size(sessions=2, people=3, honest_visits=5, lies_s=4.0, forged=50)


async def run(report: Report, folder: Path, *, short: bool) -> None:
    size = SHORT if short else FULL
    sandbox_args = ("--no-rate-limits", "--lag-s", f"{LAG_S:g}", "--ghost-s", "5")
    async with (
        started_world(folder, sandbox_args=sandbox_args, **SETTINGS) as world,
        Caller(world.service.url) as caller,
    ):
        report.holds("the webhook is registered by itself", await until(partial(_in_force, world), ACTIVE_S))
        rooms = {}
        for _ in range(size.sessions):
            made = await caller.create()
            rooms[made["session_id"]] = made["room_name"]
        await _honest(report, world, caller, rooms, size)
        await _forged(report, world, next(iter(rooms.values())), size)
        await _lies(report, world, rooms, size)
        await _check(report, world, caller, rooms)
        report.holds("it stops with 0", await world.service.end() == 0)
        report.holds("the webhook is removed at a stop", await _hooks(world) == [])


async def _honest(report: Report, world: World, caller: Caller, rooms: dict[str, str], size: Size) -> None:
    """Presence knows nothing yet of any of these visits when they are over."""
    room = next(iter(rooms.values()))
    for number in range(size.honest_visits):
        shown = await at_sandbox(world, "join", room, name="Ada", user_id=f"visitor-{number}")
        await at_sandbox(world, "leave", room, shown["id"])
    assert await until(partial(_told, caller, 2 * size.honest_visits), 20.0)
    told = [event for event in await caller.events() if event["type"].startswith("participant_")]
    late_s = [_moment(event["time"]) - _moment(event["occurred_at"]) for event in told]
    report.none("every visit is told by webhook", [e["id"] for e in told if e["source"] != "webhook"], of=len(told))
    report.figure("p50 from a join or leave to its event (ms)", percentile(late_s, 0.5) * 1000)
    report.figure("p99 from a join or leave to its event (ms)", percentile(late_s, 0.99) * 1000)


async def _forged(report: Report, world: World, room: str, size: Size) -> None:
    body = {"type": "participant.joined", "payload": {"room": room, "session_id": "forged"}}
    before = await world.service.metric("transport_journal_commit_seconds_count")
    signature = {"X-Webhook-Signature": "AAAA", "X-Webhook-Timestamp": "1"}
    async with http_client(world.service.url) as http:
        answers = [await http.post("/webhooks/daily", json=body, headers=signature) for _ in range(size.forged)]
    others = [answer.status_code for answer in answers if answer.status_code != 401]
    report.none("what is not signed is refused", others, of=size.forged)
    after = await world.service.metric("transport_journal_commit_seconds_count")
    report.holds("and nothing comes of it", before == after)


async def _lies(report: Report, world: World, rooms: dict[str, str], size: Size) -> None:
    await at_sandbox(world, "set_faults", *FAULTS)
    over = trio.current_time() + size.lies_s
    async with trio.open_nursery() as people:
        for number, room in enumerate(rooms.values()):
            for person in range(size.people):
                chance = random.Random(100 * number + person)
                people.start_soon(_live, world, room, f"user-{person}" if person else None, chance, over)
        await trio.sleep(size.lies_s / 2)
        await world.service.kill()
        await world.service.start()
    await at_sandbox(world, "set_faults")
    deliveries = await at_sandbox(world, "deliveries")
    for outcome in ("delivered", "dropped", "failed"):
        report.count(f"webhooks {outcome}", sum(one["outcome"] == outcome for one in deliveries))
    report.count("webhooks tried more than once", sum(one["tries"] > 1 for one in deliveries))


async def _live(world: World, room: str, user: str | None, chance: random.Random, over: float) -> None:
    """One person's comings and goings; about half of them are there in the end."""
    while True:
        shown = await at_sandbox(world, "join", room, name="Ada", user_id=user)
        await trio.sleep(chance.uniform(0.2, 4))
        if trio.current_time() > over and chance.random() < 0.5:
            return
        await at_sandbox(world, "leave", room, shown["id"])
        if trio.current_time() > over:
            return
        await trio.sleep(chance.uniform(0, 2))


async def _check(report: Report, world: World, caller: Caller, rooms: dict[str, str]) -> None:
    report.holds("after a kill -9 the webhook is taken over", await until(partial(_in_force, world), ACTIVE_S))
    report.holds("there is never more than one", len(await _hooks(world)) == 1)
    agreed = await until(partial(_agrees, world, caller, rooms), SETTLE_S)
    report.holds("in the end every session names exactly who is in its room", agreed)
    events = await caller.events()
    check_stories(report, events)
    ends = [event["session_id"] for event in events if event["type"] == "session_ended"]
    report.none("no session was ended", ends, of=len(rooms))
    inside = inside_after(events)
    sessions = [await caller.get(f"/sessions/{session_id}") for session_id in rooms]
    shown = {(one["session_id"], person["id"]) for one in sessions for person in one["participants"]}
    report.none("joins minus leaves are the participants", inside ^ shown, of=len(inside | shown))
    for source in ("webhook", "poll", "inferred"):
        told = [event for event in events if event.get("source") == source]
        report.count(f"joins and leaves told by {source}", len(told))


async def _agrees(world: World, caller: Caller, rooms: dict[str, str]) -> bool:
    for session_id, room in rooms.items():
        shown = (await caller.get(f"/sessions/{session_id}"))["participants"]
        there = await at_sandbox(world, "participants", room)
        # Whoever brings no user id has one in webhooks that Daily made up: there they are told apart by number alone.
        known = sorted(one["userId"] for one in there if one["userId"])
        if sorted(one["user_id"] for one in shown if one["user_id"] in known) != known or len(shown) != len(there):
            return False
    return True


async def _told(caller: Caller, count: int) -> bool:
    return sum(event["type"].startswith("participant_") for event in await caller.events()) >= count


async def _in_force(world: World) -> bool:
    return (await world.service.checks()).get("webhook:daily") == "ok"


async def _hooks(world: World) -> list[dict[str, Any]]:
    key = {"Authorization": f"Bearer {world.sandbox.api_key}"}
    async with http_client(world.sandbox.url) as http:
        found: list[dict[str, Any]] = (await http.get("/v1/webhooks", headers=key)).json()
    return found


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
