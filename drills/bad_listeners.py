"""A thousand listeners of which 300 never read, drip, vanish, send garbage or flood: the others hear all in time."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.wire import may_open
from drills.frame.world import World, open_files, open_world, percentile, rss_bytes, until
from drills.parts.ears import Ears, ears
from drills.parts.pests import FLOODING, GARBAGE, NEVER_READ, ONE_BYTE, VANISHED, Pests, closed_in

# Healthy, in two processes and one alone; never read; a byte a second; vanish; garbage; flood.
FULL, SHORT = (([350, 349, 1], 100, 50, 50, 50, 50), ([20, 19, 1], 6, 4, 3, 6, 4))
HEARTBEAT_S, HEARTBEAT_SHORT_S = 3.0, 0.5
PEST_S, PEST_SHORT_S = 8.0, 3.0
SILENT_BEATS = 6  # three without a word, and three more where a write was under way
CLOSE_S = 3.0  # what a closed listener may take (ADR 43)
SLACK_S = 10.0
CONNECT_S = 60.0
IN_TIME_S = 5.0
PEOPLE = 30  # whose names make events of some 8 KiB
CALLERS = 1
CODES = {"silent": 4408, "too_slow": 4008, "protocol": 1002, "bad_messages": 4400, "flooding": 4429}
CODES |= {"not_utf8": 1007, "too_big": 1009}


@attrs.define
class _Load:
    over: bool = False


async def run(report: Report, folder: Path, *, short: bool) -> None:
    heartbeat_s = HEARTBEAT_SHORT_S if short else HEARTBEAT_S
    may_open(2_000)
    settings = {"HEARTBEAT_S": f"{heartbeat_s:g}", "LISTENER_BACKLOG_BYTES": "65536", "PRESENCE_POLL_S": "0.5"}
    async with open_world(folder, nats=False, **settings) as world, Caller(world.service.url) as caller:
        await world.service.start()
        room = await _busy_room(world, caller)
        base = (await caller.events())[-1]["id"]
        healthy, *bad = SHORT if short else FULL
        async with ears(world.service.port, healthy, base) as them, trio.open_nursery() as nursery:
            load = _Load()
            for _ in range(CALLERS):
                nursery.start_soon(_churn, caller, load)
            nursery.start_soon(_come_and_go, world, room, load)
            await trio.sleep(1)
            for_s = PEST_SHORT_S if short else PEST_S
            waves = (1,) if short else (1, 2)
            peaks = [await _with_pests(report, world, heartbeat_s, bad, for_s, wave) for wave in waves]
            # The allocator keeps what it once had; what must not be is that each wave leaves something behind.
            told = [f"{peak / 2**20:.0f} MiB" for peak in peaks]
            report.holds("a second wave needs no more memory than the first", peaks[-1] <= 1.1 * peaks[0], told)
            load.over = True
            report.holds("/ready says ready all the same", (await world.service.checks())["ready"] == "ready")
            await trio.sleep(2)  # for the last look into the room
            events = [event for event in await caller.events() if event["id"] > base]
            await them.finish(events[-1]["id"])
        _check_healthy(report, them, [event["id"] for event in events])
        report.figure("listeners that behave", sum(healthy))
        report.figure("events", len(events))
        report.holds("it stops with 0 after all of this", await world.service.end() == 0)


async def _busy_room(world: World, caller: Caller) -> str:
    """A room full of people with long names: each change of it is a large event."""
    room: str = (await caller.create())["room_name"]
    for number in range(PEOPLE):
        await trio.to_thread.run_sync(partial(world.sandbox.join, room, name=f"{number:03}" + "n" * 120))

    async def all_seen() -> bool:
        return sum(event["type"] == "participant_joined" for event in await caller.events()) >= PEOPLE

    await until(all_seen, 20)
    return room


async def _churn(caller: Caller, load: _Load) -> None:
    while not load.over:
        made = await caller.create()
        await trio.sleep(0.3)
        await caller.end(made["session_id"])
        await trio.sleep(0.3)


async def _come_and_go(world: World, room: str, load: _Load) -> None:
    while not load.over:
        one = await trio.to_thread.run_sync(partial(world.sandbox.join, room, name="Ada"))
        await trio.sleep(1)
        await trio.to_thread.run_sync(partial(world.sandbox.leave, room, one))


async def _with_pests(
    report: Report, world: World, heartbeat_s: float, counts: list[int], for_s: float, wave: int
) -> int:
    """They come, misbehave, and are closed; the most memory that the service had meanwhile."""
    service = world.service
    left = await service.metric("transport_listeners")
    memory, files = rss_bytes(service.pid), open_files(service.pid)
    peaks = {"memory": memory, "files": files}
    pests = Pests(service.port, heartbeat_s, arrive_s=for_s / 4)
    async with trio.open_nursery() as nursery:
        for kinds, count in zip((NEVER_READ, ONE_BYTE, VANISHED, GARBAGE, FLOODING), counts, strict=True):
            pests.start(nursery, kinds, count)
        await until(partial(_has_met, pests, sum(counts)), CONNECT_S)
        end = trio.current_time() + for_s
        while trio.current_time() < end:
            await trio.sleep(0.25)
            peaks["memory"] = max(peaks["memory"], rss_bytes(service.pid))
            peaks["files"] = max(peaks["files"], open_files(service.pid))
        pests.over = True
        bound_s = SILENT_BEATS * heartbeat_s + CLOSE_S + SLACK_S
        gone = await until(partial(_has_listeners, world, left), bound_s, 0.2)
        report.holds("all that misbehave are closed, and nobody else", gone, f"{left:.0f} are left")
        await until(partial(_have_read, pests), CLOSE_S + SLACK_S)
        nursery.cancel_scope.cancel()
    await _check_pests(report, world, pests, heartbeat_s)
    report.count("connections that misbehaved", len(pests.met))
    back = await until(partial(_has_files, service.pid, files), CLOSE_S + SLACK_S)
    report.holds("files go back to what they were", back, f"{files}, {peaks['files']}, {open_files(service.pid)}")
    after = rss_bytes(service.pid)
    for name, value in (("before", memory), ("at the peak", peaks["memory"]), ("after", after)):
        report.figure(f"memory {name} of wave {wave} (MiB)", value / 2**20)
    each = (peaks["memory"] - memory) / sum(counts)
    report.holds("one that misbehaves costs bounded memory", each < 2 * 65536 + 128 * 1024, f"{each:,.0f} bytes")
    return peaks["memory"]


async def _has_met(pests: Pests, count: int) -> bool:
    return len(pests.met) >= count


async def _have_read(pests: Pests) -> bool:
    return all(pest.over for pest in pests.met if pest.kind.reads)


async def _has_listeners(world: World, count: float) -> bool:
    return await world.service.metric("transport_listeners") <= count


async def _has_files(pid: int, count: int) -> bool:
    return open_files(pid) <= count + 10


async def _check_pests(report: Report, world: World, pests: Pests, heartbeat_s: float) -> None:
    closed = closed_in(world.service.log)
    counted = Counter(close.reason for close in closed.values())
    shown = await world.service.metrics()
    series = {reason: f'transport_listeners_dropped_total{{reason="{reason}"}}' for reason in counted}
    differ = [f"{r}: {shown.get(name)} {counted[r]}" for r, name in series.items() if shown.get(name) != counted[r]]
    report.none("transport_listeners_dropped counts them by reason", differ, of=len(series))
    missing = [pest.kind.name for pest in pests.met if pest.listener_id not in closed]
    report.none("each that misbehaves is closed by the service", missing, of=len(pests.met))
    pairs = [(pest, closed[pest.listener_id]) for pest in pests.met if pest.listener_id in closed]
    wrong = [f"{p.kind.name}: {c.reason} {c.code}" for p, c in pairs if c.reason not in p.kind.reasons]
    wrong += [f"{p.kind.name}: {c.reason} {c.code}" for p, c in pairs if CODES[c.reason] != c.code]
    report.none("for the right reason, with its code", wrong, of=len(pairs))
    readers = [(p, c) for p, c in pairs if p.kind.reads]
    unseen = [f"{p.kind.name}: saw {p.code}, not {c.code}" for p, c in readers if p.code != c.code]
    report.none("and those that read see that code", unseen, of=len(readers))
    bounds_s = dict.fromkeys(CODES, SLACK_S) | {"silent": SILENT_BEATS * heartbeat_s + SLACK_S}
    # From when its buffers are full, which depends on how much there is to tell.
    bounds_s["too_slow"] = CONNECT_S + PEST_S + SILENT_BEATS * heartbeat_s + CLOSE_S + SLACK_S
    late = [f"{p.kind.name}: {c.at - p.began:.1f} s" for p, c in pairs if c.at - p.began > bounds_s[c.reason]]
    report.none("in a bounded time", late, of=len(pairs))
    for kind in dict.fromkeys(pest.kind for pest in pests.met):
        lasted = [c.at - p.began for p, c in pairs if p.kind is kind]
        reasons = Counter(c.reason for p, c in pairs if p.kind is kind)
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        report.figure(f"{kind.name}: {told}; slowest (s)", max(lasted, default=0.0))


def _check_healthy(report: Report, them: Ears, wanted: list[int]) -> None:
    report.none("no listener that behaves was closed", [c for c in them.codes if c is not None], of=len(them.codes))
    wrong = [f"{len(ids)} of {len(wanted)}" for ids in them.heard if ids != wanted]
    report.none("each that behaves heard every event once and in order", wrong, of=len(them.heard))
    delays = [delay for ear in them.delays_s for delay in ear]
    p99 = percentile(delays, 0.99)
    report.figure("events heard", len(delays))
    report.figure("p50 from an event's time to its arrival (ms)", percentile(delays, 0.5) * 1000)
    report.figure("p99 (ms)", p99 * 1000)
    report.figure("slowest (ms)", max(delays) * 1000)
    # Its process has nothing else to do: were those of the others too slow to listen, it would hear sooner.
    report.figure("p99 of the one with a process of its own (ms)", percentile(them.delays_s[-1], 0.99) * 1000)
    report.figure("busiest process of listeners (share of a processor)", max(them.busy))
    report.holds("in time", p99 < IN_TIME_S, f"p99 {p99:.3f} s")
