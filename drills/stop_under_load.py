"""SIGTERM under everything at once: bad listeners, a slow provider, NATS away, half requests, answers nobody reads."""

from __future__ import annotations

import random
import signal
import socket
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller, Follower
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_heard, check_stored, check_stories
from drills.frame.wire import HOST, talk
from drills.frame.world import Service, World, open_world, until
from drills.parts.hostile_shapes import post
from drills.parts.pests import FLOODING, GARBAGE, NEVER_READ, ONE_BYTE, VANISHED, Pests
from nats_server import Onlooker

ROUNDS, ROUNDS_SHORT = 6, 2
STARTS, STARTS_SHORT = 6, 2  # that a signal strikes
DRAIN_S, DRAIN_SHORT_S = 2.0, 1.0
CLOSING_S = 6.0  # beside twice DRAIN_S: the connection to NATS 1 s, commits that wait 5 s (ADR 46)
LIFE_S = 1.0
CALLERS, FOLLOWERS = 4, 5
PESTS = 2  # of each kind
HALVES = 5  # half-sent requests of each kind, and answers that nobody reads
QUIET_S = 60.0
NOTICED_S = 5.0  # that the connection to NATS is gone, by a service with a hundred other things to do
READY = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"
BIG_ANSWER = b"GET /events?limit=500 HTTP/1.1\r\nHost: x\r\n\r\n"


@attrs.define
class _Promises:
    """What callers were told, and what was seen of the stops."""

    answered: set[str] = attrs.field(factory=set)
    ended: set[str] = attrs.field(factory=set)
    lasted_s: list[float] = attrs.field(factory=list)
    codes: list[int] = attrs.field(factory=list)
    ready: list[str] = attrs.field(factory=list)
    cut: int = 0  # such probes
    over: bool = False


async def run(report: Report, folder: Path, *, short: bool) -> None:
    drain_s = DRAIN_SHORT_S if short else DRAIN_S
    chance = random.Random(10)
    promises = _Promises()
    settings = {"DRAIN_S": f"{drain_s:g}", "HEARTBEAT_S": "1", "LISTENER_BACKLOG_BYTES": "65536"}
    async with open_world(folder, **settings) as world, Caller(world.service.url) as caller:
        followers = [Follower(world.service.socket_url) for _ in range(FOLLOWERS)]
        async with trio.open_nursery() as listeners:
            async with trio.open_nursery() as load:
                await world.service.launch()
                await world.service.ready()
                for follower in followers:
                    listeners.start_soon(follower.run)
                for _ in range(CALLERS):
                    load.start_soon(_churn, caller, promises, chance)
                for number in range(ROUNDS_SHORT if short else ROUNDS):
                    await _round(report, world, promises, followers, ("frozen", "away", "there")[number % 3])
                await _second_signal(report, world)
                await _signals_at_start(report, world, STARTS_SHORT if short else STARTS, chance, drain_s)
                await world.service.start()
                promises.over = True
            await _check_end(report, world, caller, promises, followers)
            listeners.cancel_scope.cancel()
        report.figure("stop without load (s)", await _quick_stop(world))
    bound_s = 2 * drain_s + CLOSING_S
    report.figure("stops with SIGTERM under load", len(promises.lasted_s))
    report.figure("documented bound of a stop (s)", bound_s)
    report.figure("slowest stop (s)", max(promises.lasted_s))
    report.none("it exits with 0", [code for code in promises.codes if code], of=len(promises.codes))
    late = [f"{lasted:.1f} s" for lasted in promises.lasted_s if lasted > bound_s]
    report.none("within the documented bound", late, of=len(promises.lasted_s))
    wrong = [seen for seen in promises.ready if "503" not in seen or "stopping" not in seen]
    report.none("/ready is 503 while it drains, and says why", wrong, of=len(promises.ready))
    report.figure("probes that the end of a drain cut", promises.cut)
    report.figure("sessions answered with 201", len(promises.answered))


async def _round(report: Report, world: World, promises: _Promises, followers: list[Follower], nats: str) -> None:
    """A life with everything at once, its stop, and the next start."""
    service = world.service
    assert world.nats is not None
    world.sandbox.set_faults({"kind": "delay", "operation": "create_room", "delay_s": 3.0, "chance": 0.5})
    pests = Pests(service.port, heartbeat_s=1.0, arrive_s=LIFE_S / 2)
    async with trio.open_nursery() as nursery:
        for kinds in (NEVER_READ, ONE_BYTE, VANISHED, GARBAGE, FLOODING):
            pests.start(nursery, kinds, PESTS * len(kinds))
        await trio.sleep(LIFE_S)
        if nats == "frozen":
            world.nats.freeze()
        elif nats == "away":
            await trio.to_thread.run_sync(world.nats.kill)
        half = post(b"Content-Length: 50\r\n", b'{"provider"')
        for _ in range(HALVES):
            nursery.start_soon(partial(talk, service.port, half, QUIET_S))
            nursery.start_soon(partial(talk, service.port, half[:30], QUIET_S))
            nursery.start_soon(_never_read_answer, service.port)
        await trio.sleep(LIFE_S)
        if nats == "away":  # during an outage, too, /ready tells the truth
            told = await until(partial(_is_degraded, service), NOTICED_S)
            report.holds(f"NATS away is degraded, and ready, within {NOTICED_S:g} s", told, await service.checks())
        there = [follower for follower in followers if await _listening(follower)]
        before = [follower.codes.copy() for follower in there]
        began = trio.current_time()
        nursery.start_soon(_look_at_ready, world, promises)
        promises.codes.append(await service.end())
        promises.lasted_s.append(trio.current_time() - began)
        pests.over = True
        nursery.cancel_scope.cancel()
    ends = [await _end_of(follower, was) for follower, was in zip(there, before, strict=True)]
    report.none("healthy listeners see 1001", [dict(end) for end in ends if 1001 not in end], of=len(there))
    world.sandbox.set_faults()
    if nats == "frozen":
        world.nats.thaw()
    elif nats == "away":
        world.nats.start()
    await service.start()
    report.progress(f"stopped in {promises.lasted_s[-1]:.1f} s with NATS {nats}")


async def _is_degraded(service: Service) -> bool:
    shown = await service.checks()
    return (shown["nats"], shown["ready"]) == ("degraded", "ready")


async def _listening(follower: Follower) -> bool:
    """Whether it is connected; those that come back after a start need a moment."""

    async def listening() -> bool:
        return follower.is_listening

    return await until(listening, 20)


async def _end_of(follower: Follower, before: Counter[int]) -> Counter[int]:
    """How its connection ended: it may be a little behind the process whose end it hears of."""

    async def ended() -> bool:
        return follower.codes != before

    await until(ended, 10)
    return follower.codes - before


async def _never_read_answer(port: int) -> None:
    with trio.socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await peer.connect((HOST, port))
        await peer.send(BIG_ANSWER)
        await trio.sleep_forever()


async def _look_at_ready(world: World, promises: _Promises) -> None:
    """What somebody new hears from `/ready` as long as anybody answers. The signal takes a moment to arrive."""
    await trio.sleep(0.3)
    while world.service.running:
        try:
            seen = await talk(world.service.port, READY, 5)
        except OSError:  # the port is closed: what is left is NATS and the journal
            return
        if seen.statuses and seen.end == "closed":
            promises.ready.append(seen.received.decode())
        promises.cut += seen.end == "reset"  # the drain was over, in the middle of an answer (ADR 46)
        await trio.sleep(0.1)


async def _churn(caller: Caller, promises: _Promises, chance: random.Random) -> None:
    while not promises.over:
        made = await caller.create()
        promises.answered.add(made["session_id"])
        await trio.sleep(chance.uniform(0, 0.3))
        if chance.random() < 0.7:
            await caller.end(made["session_id"])
            promises.ended.add(made["session_id"])


async def _second_signal(report: Report, world: World) -> None:
    """A creation holds the stop up; a second signal does not wait for it."""
    world.sandbox.set_faults({"kind": "delay", "operation": "create_room", "delay_s": 5.0})
    async with trio.open_nursery() as nursery:
        body = b'{"provider":"daily"}'
        asked = post(b"Content-Length: %d\r\n" % len(body), body)
        nursery.start_soon(partial(talk, world.service.port, asked, QUIET_S))
        await trio.sleep(0.5)
        nursery.start_soon(_terminate_soon, world)
        began = trio.current_time()
        code = await world.service.end()
        lasted_s = trio.current_time() - began
        nursery.cancel_scope.cancel()
    world.sandbox.set_faults()
    report.holds("a second signal ends it with 143", code == 128 + signal.SIGTERM, code)
    report.figure("end after a second signal (s)", lasted_s)


async def _terminate_soon(world: World) -> None:
    await trio.sleep(0.3)
    if world.service.running:
        await world.service.end()


async def _signals_at_start(report: Report, world: World, count: int, chance: random.Random, drain_s: float) -> None:
    """Before Python has got as far as us the signal itself ends it; else in order, or at once with 143."""
    wrong: list[Any] = []
    for _ in range(count):
        await world.service.launch()
        await trio.sleep(chance.uniform(0.02, 1.2))
        began = trio.current_time()
        code = await world.service.end()
        if (
            code not in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
            or trio.current_time() - began > 2 * drain_s + CLOSING_S
        ):
            wrong.append((code, trio.current_time() - began))
    report.figure("starts that a signal struck", count)
    report.none("a signal during the start ends it in time", wrong, of=count)


async def _check_end(
    report: Report, world: World, caller: Caller, promises: _Promises, followers: list[Follower]
) -> None:
    async def all_told() -> bool:
        return await world.service.metric("pending_messages") == 0

    report.holds("pending_messages falls back to 0", await until(all_told, QUIET_S, 0.3))
    sessions = {session["session_id"]: session for session in await caller.sessions()}
    report.none(
        "every session answered with 201 exists", promises.answered - sessions.keys(), of=len(promises.answered)
    )
    alive = {sid for sid, session in sessions.items() if session["status"] != "Ended"}
    report.none("every end answered with 200 is an end", promises.ended & alive, of=len(promises.ended))
    before: list[dict[str, Any]] = []
    while len(events := await caller.events()) != len(before):
        before = events
        await trio.sleep(1)
    for follower in followers:
        with trio.move_on_after(QUIET_S):
            await follower.wait_id(events[-1]["id"])
        check_heard(report, "a resuming listener", follower.heard, events)
    report.none("no listener was told of a gap", [gap for one in followers for gap in one.gaps], of=len(followers))
    check_dense(report, events)
    check_stories(report, events)
    assert world.nats is not None
    await until(all_told, QUIET_S, 0.3)
    check_stored(report, "the stream", await Onlooker(world.nats.url).stored(), events)
    report.figure("events", len(events))


async def _quick_stop(world: World) -> float:
    began = trio.current_time()
    await world.service.end()
    return trio.current_time() - began
