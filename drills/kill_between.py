"""`kill -9` while sessions are being made: between the room at the provider, the commit and the answer."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.raw import GONE, connected, request
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_stories
from drills.frame.world import World, open_world, until
from drills.parts.creations import Creation, OtherUser, check_creations, check_rooms
from drills.parts.late_requests import LateRequests, late_requests
from transport_trio.journal.sqlite_schema import FILE_NAME

LANES = 2


class Moment(StrEnum):
    """Where the kill strikes."""

    MADE = "room made, its answer awaited"
    LOOKING = "answer lost, looking for the room"
    TOKEN = "room known, token awaited"
    COMMIT = "token there, commit awaited"
    UNREAD = "committed, answer not read"
    LATE = "room asked for, and made after our death"
    ANY = "anywhere"


MOMENTS_SHORT = (Moment.MADE, Moment.COMMIT, Moment.LATE)
UNCOMMITTED = {Moment.MADE, Moment.LOOKING, Moment.TOKEN, Moment.LATE}
TIMES = 3
FOREVER_S = 60.0  # longer than a service lives here
LOCK_S = 0.2  # shorter than the journal's patience with a lock
# A creation's budget at most (three PROVIDER_TIMEOUT_S of ten seconds); a look at a room in doubt after 1, 3, 7 ... s.
ANSWER_S = 30.0
CLEAN_S = 20.0


@attrs.define(eq=False)
class _Lane:
    report: Report
    world: World
    network: LateRequests
    caller: Caller
    chance: random.Random
    provider: OtherUser
    made: list[Creation] = attrs.field(factory=list)
    rooms_before: set[str] = attrs.field(factory=set)
    replayed: int = 0
    slowest_answer_s: float = 0.0
    slowest_cleanup_s: float = 0.0
    arrivals: int = 0  # readable answers in this round

    def new(self, *, named: bool, retried: int = 1) -> Creation:
        number = len(self.made) + 1
        self.made.append(Creation(number, f"stage-{number}" if named else None, retried))
        return self.made[-1]

    def faults(self, *faults: dict[str, Any]) -> None:
        self.world.sandbox.set_faults(*faults)


async def run(report: Report, folder: Path, *, short: bool) -> None:
    moments = MOMENTS_SHORT if short else tuple(Moment) * TIMES
    lanes = 1 if short else LANES
    async with trio.open_nursery() as nursery:
        for number in range(lanes):
            nursery.start_soon(_lane, report, folder / f"lane{number}", moments, random.Random(number))
    report.figure("kills with SIGKILL", len(moments) * lanes)


async def _lane(report: Report, folder: Path, moments: tuple[Moment, ...], chance: random.Random) -> None:
    async with open_world(folder, nats=False, PRESENCE_POLL_S="5") as world:
        upstream = int(world.sandbox.url.rpartition(":")[2])
        async with late_requests(upstream) as network, Caller(world.service.url) as caller:
            world.service.environ["DAILY_API_URL"] = f"http://127.0.0.1:{network.port}/v1"
            lane = _Lane(
                report, world, network, caller, chance, OtherUser(world.sandbox.api_url, world.sandbox.api_key)
            )
            await world.service.start()
            for moment in moments:
                await _round(lane, moment)
            sessions, rooms = await caller.sessions(), world.sandbox.rooms()
            check_creations(report, lane.made, sessions, {room["name"]: room for room in rooms})
            foreign = {one.foreign_id for one in lane.made}
            check_rooms(report, sessions, [room for room in rooms if room["id"] not in foreign])
            events = await caller.events()
            check_dense(report, events)
            check_stories(report, events)
    report.count("creations begun", len(lane.made))
    report.count("of these answered before the kill", sum(one.status == 201 for one in lane.made))
    report.count("repeats answered with a session made before the kill", lane.replayed)
    for what, value in (("answer to a repeat", lane.slowest_answer_s), ("clean-up", lane.slowest_cleanup_s)):
        text = f"slowest {what} after a start, s"
        report.figure(text, max(value, float(report.figures.get(text, 0))))


async def _round(lane: _Lane, moment: Moment) -> None:
    """Begin creations, kill in the middle of them, start, repeat some of them, and see what has become of all."""
    service = lane.world.service
    group = [
        lane.new(named=False),
        lane.new(named=False, retried=0),
        lane.new(named=True),
        lane.new(named=True, retried=0),
        lane.new(named=True, retried=3),
        lane.new(named=True),
    ]
    _arrange(lane, moment)
    lane.arrivals = 0
    async with trio.open_nursery() as callers:
        for creation in group:
            callers.start_soon(_begin, lane, creation, moment is Moment.UNREAD)
        await _reach(lane, moment, group)
        await service.kill()
        lane.report.count("creations under way at the kills", sum(not one.status for one in group))
    lane.faults()
    lane.network.holding = False
    if moment in UNCOMMITTED:
        # Between kill and start somebody else, with the same account, takes a name for a room of their own.
        lane.provider.take(group[-1], lane.chance.choice([None, 9000]))
        lane.report.count("names taken by somebody else meanwhile", 1)
    _deliver(lane, len(group) // 2)
    await service.start()
    await _check_told(lane, moment, len(group))
    async with trio.open_nursery() as late:
        if moment is Moment.LATE:
            late.start_soon(_deliver_rest, lane, group)
        await _retry_all(lane, group)
    await _check_clean(lane)


def _arrange(lane: _Lane, moment: Moment) -> None:
    lane.world.sandbox.forget_requests()
    wait = {"kind": "delay", "delay_s": FOREVER_S}
    match moment:
        case Moment.MADE:
            lane.faults({**wait, "operation": "create_room", "takes_effect": True})
        case Moment.LOOKING:
            lost = {"kind": "lost_response", "operation": "create_room"}
            lane.faults(lost, {**wait, "operation": "get_room"})
        case Moment.TOKEN:
            lane.faults({**wait, "operation": "create_meeting_token", "takes_effect": lane.chance.random() < 0.5})
        case Moment.COMMIT:
            lane.faults({"kind": "delay", "delay_s": 0.5, "operation": "create_meeting_token"})
        case Moment.LATE:
            lane.network.holding = True


async def _begin(lane: _Lane, creation: Creation, unread: bool) -> None:
    """Ask, and read the answer if there is one before the kill."""
    asked = request("POST", "/sessions", creation.body, creation.key)
    try:
        async with await connected(lane.world.service.port) as stream:
            await stream.send_all(asked)
            await trio.lowlevel.wait_readable(stream.socket)
            lane.arrivals += 1
            if not unread:
                head = await stream.receive_some()
                creation.status = int(head.split()[1]) if head else 0
    except GONE:
        pass


async def _reach(lane: _Lane, moment: Moment, group: list[Creation]) -> None:
    """Return when the creations stand where the kill shall strike, all of them."""
    if moment is Moment.ANY:
        await trio.sleep(lane.chance.uniform(0, 0.6))
        return
    reached = await until(partial(_stands, lane, moment, len(group)), ANSWER_S, 0.02)
    lane.report.holds("each kill struck while all creations stood at their moment", reached, moment)
    if moment is Moment.COMMIT:
        with closing(sqlite3.connect(lane.world.service.data_dir / FILE_NAME, isolation_level=None)) as journal:
            journal.execute("BEGIN IMMEDIATE")
            await until(partial(_has_minted, lane, len(group)), LOCK_S + 1, 0.02)
            await trio.sleep(LOCK_S)
            await lane.world.service.kill()
    elif moment is not Moment.UNREAD:
        await trio.sleep(0.1)  # what the provider has done becomes known, or lost


async def _stands(lane: _Lane, moment: Moment, wanted: int) -> bool:
    match moment:
        case Moment.UNREAD:
            return lane.arrivals == wanted
        case Moment.LATE:
            return len(lane.network.held) == wanted
        case _:
            made = lane.world.rooms() - lane.rooms_before
            return len(made) == wanted


async def _has_minted(lane: _Lane, wanted: int) -> bool:
    return len(lane.world.sandbox.requests("create_meeting_token")) >= wanted


def _deliver(lane: _Lane, most: int) -> None:
    """What was on the network when the service died reaches the provider."""
    lane.report.count("rooms asked for before a kill, made after it", lane.network.deliver(most))


async def _deliver_rest(lane: _Lane, group: list[Creation]) -> None:
    """So late that the service has been at work again for a moment."""
    await trio.sleep(lane.chance.uniform(0, 1.5))
    _deliver(lane, len(group))
    arrived = await until(partial(_all_arrived, lane.network), CLEAN_S)
    lane.report.holds("what was late reached the provider", arrived)


async def _all_arrived(network: LateRequests) -> bool:
    return not network.under_way


async def _check_told(lane: _Lane, moment: Moment, begun: int) -> None:
    checks = await lane.world.service.checks()
    wrong = {name: status for name, status in checks.items() if status not in {"ready", "ok", "off"}}
    lane.report.none("after each start /ready says that all is well", wrong.items(), of=len(checks))
    told = await lane.world.service.metric("transport_creations_interrupted_total")
    wanted = {Moment.UNREAD: [0], Moment.ANY: range(begun + 1)}.get(moment, [begun])
    lane.report.holds(
        "transport_creations_interrupted_total says how many were broken off", told in wanted, f"{moment}: {told:.0f}"
    )


async def _retry_all(lane: _Lane, group: list[Creation]) -> None:
    """Those who got no answer, and some who did, ask again with their key."""
    began = trio.current_time()
    async with trio.open_nursery() as callers:
        for creation in group:
            for _ in range(creation.retried):
                callers.start_soon(_retry, lane, creation)
    lane.slowest_answer_s = max(lane.slowest_answer_s, trio.current_time() - began)
    await _reuse(lane, group[2])


async def _retry(lane: _Lane, creation: Creation) -> None:
    answer = await lane.caller.ask("POST", "/sessions", creation.body, {"Idempotency-Key": creation.key})
    told = f"{creation.key}: " + ("no answer" if answer is None else f"{answer.status_code} {answer.text[:100]}")
    if creation.foreign_id is not None:
        right = answer is not None and answer.status_code == 409 and answer.json()["code"] == "room_exists"
        lane.report.none("whose name somebody else has taken is told so", [] if right else [told], of=1)
        lane.report.none(
            "and is not asked to come back", [told] if right and "Retry-After" in answer.headers else [], of=1
        )
        return
    good = answer is not None and answer.status_code == 201
    lane.report.none("every repeat is answered 201 at the first asking", [] if good else [told], of=1)
    if not good:
        return
    again = "Idempotency-Replayed" in answer.headers
    lane.replayed += again
    if creation.status == 201:
        lane.report.none("what was answered 201 before the kill is repeated", [] if again else [told], of=1)
    session_id = answer.json()["session_id"]
    same = creation.session_id in (None, session_id)
    lane.report.none("repeats with one key have one session", [] if same else [told], of=1)
    creation.session_id = session_id


async def _reuse(lane: _Lane, creation: Creation) -> None:
    """End a session and create the next one of its name at once."""
    if creation.session_id is None:
        return  # a claim has failed already
    await lane.caller.end(creation.session_id)
    creation.ended = True
    following = lane.new(named=True)
    following.name = creation.name
    await _retry(lane, following)


async def _check_clean(lane: _Lane) -> None:
    """Each room belongs to a session or to somebody else, soon after the start."""
    began = trio.current_time()
    await until(lambda: _is_clean(lane), CLEAN_S)
    lane.slowest_cleanup_s = max(lane.slowest_cleanup_s, trio.current_time() - began)
    wanted, rooms = await _wanted(lane), lane.world.rooms()
    lane.report.none("no room is left without a session", rooms - wanted, of=len(rooms))
    lane.report.none("no session is without its room", wanted - rooms, of=len(wanted))
    lane.rooms_before = rooms


async def _is_clean(lane: _Lane) -> bool:
    return lane.world.rooms() == await _wanted(lane)


async def _wanted(lane: _Lane) -> set[str]:
    live = {one["room_name"] for one in await lane.caller.sessions() if one["status"] != "Ended"}
    return live | {one.name for one in lane.made if one.foreign_id and one.name}
