"""1,000 clients that hang up in the middle of `POST` and `DELETE`, at every point, with FIN and with RST."""

from __future__ import annotations

import random
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.raw import GONE, HEAD_END, connected, hang_up, request
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_stories
from drills.frame.world import World, connections, open_files, open_world, percentile, rss_bytes, until
from drills.parts.creations import Creation, check_rooms
from drills.parts.hang_up_clients import OF_DELETE, OF_POST, Again, Client, Point, check_clients

HALF, HALF_SHORT = 500, 30  # what is kept for good, as caches, is there after the first half
AT_ONCE = 40
HEALTHY, PAUSE_S = 3, 0.1
# While it lasts somebody can hang up.
ROOM_S, TOKEN_S = 0.15, 0.1
ANSWER_S = 30.0  # three PROVIDER_TIMEOUT_S
QUIET_S = 120.0
# What SQLite's caches, which fill as the journal grows, and the allocator may keep of the second half.
KEPT_MIB = 16


@attrs.define(eq=False)
class _Drill:
    report: Report
    world: World
    chance: random.Random
    caller: Caller = attrs.field(init=False)  # another one for each storm, so that no connection of ours stays
    clients: list[Client] = attrs.field(factory=list)
    made: list[Creation] = attrs.field(factory=list)
    waits_s: list[float] = attrs.field(factory=list)
    over: bool = False

    def new(self) -> Creation:
        number = len(self.made) + 1
        name = f"stage-{number}" if self.chance.random() < 1 / 3 else None
        self.made.append(Creation(number, name))
        return self.made[-1]


async def run(report: Report, folder: Path, *, short: bool) -> None:
    async with open_world(folder, nats=False, CREATE_QUEUE_MAX="500", PRESENCE_POLL_S="5") as world:
        await world.service.start()
        world.sandbox.set_faults(
            {"kind": "delay", "operation": "create_room", "delay_s": ROOM_S, "takes_effect": True},
            {"kind": "delay", "operation": "create_meeting_token", "delay_s": TOKEN_S},
        )
        drill = _Drill(report, world, random.Random(1))
        await _storm(drill, HALF_SHORT if short else HALF)
        before = await _levels(drill)
        await _storm(drill, HALF_SHORT if short else HALF)
        _check_levels(report, before, await _levels(drill))
        shown = await world.service.metrics()
        told = sum(value for name, value in shown.items() if _tells_hang_ups(name))
        report.holds("transport_http_requests_total shows them, with status 499", told > 0, f"{told:.0f}")
        async with Caller(world.service.url) as caller:
            events = await caller.events()
        check_dense(report, events)
        check_stories(report, events)
    report.figure("requests of healthy callers meanwhile", len(drill.waits_s))
    report.figure("the slowest hundredth of them took, s", percentile(drill.waits_s, 0.99))


def _tells_hang_ups(metric: str) -> bool:
    return metric.startswith("transport_http_requests_total{") and 'status="499"' in metric


async def _storm(drill: _Drill, hang_ups: int) -> None:
    """Clients come and hang up; then everything is looked at, and ended."""
    async with Caller(drill.world.service.url) as drill.caller:
        await _plan(drill, hang_ups)
        await _come_and_go_all(drill)
        idle = await until(partial(_is_idle, drill.world), QUIET_S)
        drill.report.holds("the work that was begun comes to its end", idle)
        await _ask_again(drill)
        sessions = await drill.caller.sessions()
        check_clients(drill.report, drill.clients, sessions)
        check_rooms(drill.report, sessions, drill.world.sandbox.rooms())
        await _end_all(drill)


async def _come_and_go_all(drill: _Drill) -> None:
    drill.over = False
    async with trio.open_nursery() as around:
        around.start_soon(_watch_ready, drill)
        async with trio.open_nursery() as healthy:
            for _ in range(HEALTHY):
                healthy.start_soon(_live_on, drill)
            at_once = trio.CapacityLimiter(AT_ONCE)
            async with trio.open_nursery() as clients:
                for client in drill.clients:
                    await at_once.acquire_on_behalf_of(client)
                    clients.start_soon(_come_and_go, drill, client, at_once)
            drill.over = True
        around.cancel_scope.cancel()


async def _plan(drill: _Drill, hang_ups: int) -> None:
    """Every point alike, by FIN and by RST alike; two of five are a DELETE, whose sessions are made here."""
    posts, deletes = cycle(OF_POST), cycle(OF_DELETE)
    agains, resets = cycle(Again), cycle([False, False, True, True, True, False, True])
    drill.clients = []
    for number in range(hang_ups):
        if number % 5 < 3:
            drill.clients.append(Client(next(posts), next(resets), drill.new(), next(agains)))
        else:
            drill.clients.append(Client(next(deletes), next(resets), drill.new()))
    drill.chance.shuffle(drill.clients)
    at_once = trio.CapacityLimiter(AT_ONCE)

    async def make(creation: Creation) -> None:
        async with at_once:
            creation.session_id = (await drill.caller.create(creation.body, creation.key))["session_id"]

    async with trio.open_nursery() as nursery:
        for client in drill.clients:
            if client.again is None:
                nursery.start_soon(make, client.creation)


async def _come_and_go(drill: _Drill, client: Client, at_once: trio.CapacityLimiter) -> None:
    creation, chance = client.creation, drill.chance
    if client.again is None:
        data = request("DELETE", f"/sessions/{creation.session_id}")
    else:
        data = request("POST", "/sessions", creation.body, creation.key)
    head = data.index(HEAD_END) + len(HEAD_END)
    match client.point:
        case Point.HEAD_PART:
            sent = data[: chance.randrange(1, head - 1)]
        case Point.HEAD:
            sent = data[:head]
        case Point.BODY_PART:
            sent = data[: chance.randrange(head + 1, len(data))]
        case _:
            sent = data
    try:
        stream = await connected(drill.world.service.port)
        await stream.send_all(sent)
        if client.point is Point.READING:
            start = await stream.receive_some(chance.randrange(1, 40))
            client.answered = start.startswith(b"H")
        elif client.point is Point.WAITING:
            await trio.sleep(chance.uniform(0, (ROOM_S + TOKEN_S) if client.again else 0.02))
        await hang_up(stream, reset=client.reset)
    except GONE:
        drill.report.count("connections that the service closed first", 1)
    finally:
        at_once.release_on_behalf_of(client)
    if client.again is Again.AT_ONCE:
        await _repeat(drill, creation)


async def _repeat(drill: _Drill, creation: Creation) -> None:
    """Ask again with the key, until the answer is 201."""
    with trio.move_on_after(QUIET_S):
        creation.session_id = (await drill.caller.create(creation.body, creation.key))["session_id"]
    unanswered = [creation.key] if creation.session_id is None else []
    drill.report.none("a POST asked again with its key is answered 201", unanswered, of=1)


async def _live_on(drill: _Drill) -> None:
    """A caller who does not hang up: each request is answered at the first asking, in time."""
    while not drill.over:
        creation = drill.new()
        created = await _ask(drill, 201, "POST", "/sessions", creation.body, {"Idempotency-Key": creation.key})
        if created is None:
            continue
        path = f"/sessions/{created['session_id']}"
        await _ask(drill, 200, "GET", path)
        await _ask(drill, 200, "DELETE", path)
        await trio.sleep(PAUSE_S)


async def _ask(drill: _Drill, wanted: int, method: str, path: str, *more: Any) -> Any:
    began = trio.current_time()
    answer = await drill.caller.ask(method, path, *more)
    took_s = trio.current_time() - began
    drill.waits_s.append(took_s)
    status = 0 if answer is None else answer.status_code
    wrong = [] if status == wanted else [f"{method}: {status}"]
    drill.report.none("healthy callers are served at the first asking", wrong, of=1)
    late = [] if took_s <= ANSWER_S else [f"{method}: {took_s:.1f} s"]
    drill.report.none("and within a creation's time", late, of=1)
    return None if wrong else answer.json()


async def _watch_ready(drill: _Drill) -> None:
    while True:
        checks = await drill.world.service.checks()
        wrong = {name: status for name, status in checks.items() if status not in {"ready", "ok", "off"}}
        drill.report.none("/ready says all the time that all is well", wrong.items(), of=len(checks))
        await trio.sleep(0.3)


async def _is_idle(world: World) -> bool:
    """No creation under way, and no room owed."""
    shown = await world.service.metrics()
    return not shown["transport_creations"] and not shown["transport_rooms_owed"]


async def _ask_again(drill: _Drill) -> None:
    later = [client.creation for client in drill.clients if client.again is Again.LATER]
    before = drill.caller.replayed

    async def repeat(creation: Creation) -> None:
        async with at_once:
            await _repeat(drill, creation)

    at_once = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for creation in later:
            nursery.start_soon(repeat, creation)
    drill.report.count("hung-up POSTs asked again later", len(later))
    drill.report.count("of these answered with the session made meanwhile", drill.caller.replayed - before)


async def _end_all(drill: _Drill) -> None:
    at_once = trio.CapacityLimiter(AT_ONCE)

    async def end(session_id: str) -> None:
        async with at_once:
            await drill.caller.end(session_id)

    async with trio.open_nursery() as nursery:
        for session in await drill.caller.sessions():
            if session["status"] != "Ended":
                nursery.start_soon(end, session["session_id"])
    drill.report.holds("all rooms go with their sessions", await until(partial(_is_empty, drill.world), QUIET_S))


async def _is_empty(world: World) -> bool:
    return await _is_idle(world) and not world.rooms()


@attrs.frozen
class _Levels:
    files: int  # open ones, but for the pool of connections to the provider
    tasks: int
    memory_bytes: int


async def _levels(drill: _Drill) -> _Levels:
    """What the service holds when nobody is connected any more, and no session is live."""
    service = drill.world.service
    alone = await until(partial(_is_alone, service.port), QUIET_S)
    drill.report.holds("no connection is left of those that hung up", alone, connections(local=service.port))
    pooled = connections(remote=int(drill.world.sandbox.url.rpartition(":")[2]))
    files = open_files(service.pid) - pooled
    return _Levels(files, int(await service.metric("transport_tasks")), rss_bytes(service.pid))


async def _is_alone(port: int) -> bool:
    return not connections(local=port)


def _check_levels(report: Report, before: _Levels, after: _Levels) -> None:
    more_mib = (after.memory_bytes - before.memory_bytes) / 2**20
    report.holds("open files return to their level", after.files <= before.files, f"{before.files}, {after.files}")
    report.holds("tasks return to their level", after.tasks <= before.tasks, f"{before.tasks}, {after.tasks}")
    report.holds("memory returns to its level", more_mib <= KEPT_MIB, f"{more_mib:+.1f} MiB")
