"""The disk full, read-only and failing, while sessions come and go and somebody listens everywhere."""

from __future__ import annotations

import errno
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from drills.frame.clients import Caller, Follower, consuming
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_heard, check_stored, check_stories
from drills.frame.world import START_S, World, open_world, until
from drills.parts.disk_load import Load, Readiness, check_integrity
from drills.parts.disks import Gate, Shortage, Simulated, open_gate, tmpfs
from nats_server import Onlooker

ROUNDS, ROUNDS_SHORT = 2, 1
HOLD_S, HOLD_SHORT_S = 2.5, 0.7
STRIKES_S = 10.0  # until the churn has met the fault: it commits many times a second
# ADR 3: the disk is tried again after five seconds at most, and housekeeping takes the ballast back every five.
RECOVERS_S = 10.0 + 5.0  # and room for a loaded machine
# A change that the disk does not take is given back after ten seconds, and so is the undoing of a creation.
ANSWERS_S = 20.0 + 5.0
QUIET_S = 60.0
FILE, BALLAST = "journal.sqlite3", "ballast"
STORES = frozenset({FILE, f"{FILE}-wal", f"{FILE}-shm", BALLAST})


async def run(report: Report, folder: Path, *, short: bool) -> None:
    disk = folder / "disk"
    with tmpfs(disk) as small, open_gate() as gate:
        data = disk / "data"
        report.figure("small disk", "a tmpfs of 24 MiB" if small else "simulated: no tmpfs may be mounted here")
        async with open_world(folder, DATA_DIR=str(data), HEARTBEAT_S="5") as world:
            gate.put_before(world.service)
            await _Drill(report, world, gate, short).run(small or Simulated(gate, data))
        report.figure("writes and syncs refused by hand", sum(gate.refused.values()))


class _Drill:
    def __init__(self, report: Report, world: World, gate: Gate, short: bool) -> None:
        self.report, self.world, self.gate, self.short = report, world, gate, short
        self.hold_s = HOLD_SHORT_S if short else HOLD_S
        self.service = world.service
        self.seen: dict[int, dict[str, Any]] = {}  # events of GET /events, of whatever moment
        self.recovered_s: list[float] = []
        self.refused_starts = 0

    async def run(self, disk: Shortage) -> None:
        assert self.world.nats is not None
        await self.service.start()
        follower = Follower(self.service.socket_url)
        with consuming(self.world.nats.url) as consumer:
            async with Caller(self.service.url) as caller, trio.open_nursery() as nursery:
                nursery.start_soon(follower.run)
                self.caller, self.follower = caller, follower
                self.load = Load(self.world, caller, random.Random(1))
                self.ready = Readiness(self.service.url)
                nursery.start_soon(self.ready.run)
                async with trio.open_nursery() as load:
                    await self.load.begin(load)
                    await self._rounds(disk)
                    self.load.over = True
                await self._kill_and_compare(consumer)
                nursery.cancel_scope.cancel()
        self._figures()

    async def _rounds(self, disk: Shortage) -> None:
        for number in range(ROUNDS_SHORT if self.short else ROUNDS):
            await self._full(disk, kill=number > 0)
        await self._failing("read-only", errno.EROFS, {"write", "pwrite", "ftruncate"})
        if self.short:
            return
        await self._failing("failing to sync", errno.EIO, {"fsync", "fdatasync"}, kill=True)
        await self._failing("full", errno.ENOSPC, {"write", "pwrite"})
        await self._checkpoint_fails()
        await self._no_byte_left(disk)
        await self._read_only_at_the_start(disk)

    # --- rounds -------------------------------------------------------------------------------------------------

    async def _full(self, disk: Shortage, *, kill: bool) -> None:
        """Full, with the ballast to give way; then with that space taken too; then empty again."""
        leaving = await self.load.put_aside()
        await self._begin("full", "full")
        disk.fill()
        await self._struck("full")
        await trio.sleep(self.hold_s)
        if kill:
            await self._kill()
            await self.service.start()
        await self._ends_get_through(leaving)
        await self._stays_shut("full")
        crowded = self.ready.mark()
        async with disk.crowded():
            await trio.sleep(self.hold_s)
            await self._reads_go_on()
        self.ready.check_named(self.report, "with no byte left /ready names the disk", crowded)
        disk.empty()
        await self._recovers()

    async def _failing(self, name: str, code: int, calls: set[str], *, kill: bool = False) -> None:
        """The program's own calls on its journal and ballast fail; nothing else does."""
        await self._begin(name, "full" if code == errno.ENOSPC else "io")
        self.gate.verdict = lambda call, file: code if call in calls and file in STORES else 0
        await self._struck(name)
        await trio.sleep(self.hold_s)
        await self._stays_shut(name)
        await self._reads_go_on()
        if kill:
            await self._kill()
        self.gate.verdict = lambda call, file: 0
        if kill:
            await self.service.start()
        await self._recovers()

    async def _checkpoint_fails(self) -> None:
        """The log can be written and the file cannot: all is durable in the log, which grows meanwhile."""
        refused = partial(self._refusals, FILE)
        created = len(self.load.answered)
        self.gate.verdict = lambda call, file: errno.ENOSPC if call == "pwrite" and file == FILE else 0
        met = await until(lambda: _true(refused() > 0), STRIKES_S)
        self.report.holds("a checkpoint meets a full disk", met, f"{refused()} writes refused")
        await trio.sleep(self.hold_s)
        self.report.holds(
            "sessions go on beginning while only checkpoints fail",
            len(self.load.answered) > created,
            f"{len(self.load.answered) - created} created",
        )
        self.gate.verdict = lambda call, file: 0

    async def _no_byte_left(self, disk: Shortage) -> None:
        """Killed and started on a disk without a byte left: it opens for what goes on, or says why it cannot."""
        await self._begin("full", "full")
        disk.fill()
        await self._struck("full")
        async with disk.crowded():
            await trio.sleep(self.hold_s)
            await self._kill()
            await self.service.launch()
            await until(self._has_begun, START_S)
            started = self.service.running
            if started:
                checks = await self.service.checks()
                self.report.holds("a start with no byte left is not ready", checks["journal"] == "failed", checks)
            else:
                await self._was_refused("with no byte left", "cannot be")
            self.report.figure("a start with no byte left", "opens" if started else "is refused")
        disk.empty()
        if not started:
            await self.service.start()
        await self._recovers()

    async def _has_begun(self) -> bool:
        return b"service started" in self.service.printed() or not self.service.running

    async def _read_only_at_the_start(self, disk: Shortage) -> None:
        await self._kill()
        disk.set_read_only(True)
        await self.service.launch()
        await self._was_refused("on a read-only disk", "Read-only file system")
        disk.set_read_only(False)
        await self.service.start()
        await self._recovers()

    # --- what is claimed ----------------------------------------------------------------------------------------

    async def _begin(self, name: str, reason: str) -> None:
        """Note what the metric of this fault says before it."""
        self.counter = f'transport_journal_commit_failures_total{{reason="{reason}"}}'
        self.counted = await self.service.metric(self.counter)
        self.report.count(f"rounds of a disk that is {name}", 1)

    async def _struck(self, name: str) -> None:
        refused = len(self.load.refused)
        struck = await until(lambda: _true(len(self.load.refused) > refused), STRIKES_S)
        self.report.holds(f"callers are refused when the disk is {name}", struck)
        # What is asked from here on is asked of a service that knows.
        await until(self._not_ready, STRIKES_S)
        self.ready.begin()
        now = await self.service.metric(self.counter)
        told = f"{self.counted:.0f} to {now:.0f}"
        self.report.holds(f"{self.counter} counts a disk that is {name}", now > self.counted, told)
        await self.load.come()

    async def _not_ready(self) -> bool:
        return (await self.service.checks())["ready"] == "not_ready"

    async def _stays_shut(self, name: str) -> None:
        self.ready.check_shut(self.report, name)
        value = await self.service.metric("transport_journal_writable")
        self.report.holds(f"transport_journal_writable is 0 while the disk is {name}", value == 0, value)

    async def _ends_get_through(self, leaving: dict[str, list[str]]) -> None:
        """The freed ballast is there for ends: those that are asked for, and those whose time has come."""
        with trio.move_on_after(STRIKES_S):
            for session_id in leaving["requested"]:
                await self.load.end(session_id)
        for reason, what in (("requested", "DELETE"), ("expired", "expiry")):
            unfinished = partial(self.load.not_ended, leaving[reason], reason)
            await until(partial(_none_of, unfinished), STRIKES_S)
            self.report.none(f"{what} gets through on a full disk", await unfinished(), of=len(leaving[reason]))

    async def _reads_go_on(self) -> None:
        ask = self.caller.ask
        paths = [f"/sessions/{next(iter(self.load.steady))}", "/sessions?limit=10", "/events?limit=500", "/health"]
        answers = [await ask("GET", path) for path in paths]
        offenders = [p for p, one in zip(paths, answers, strict=True) if one is None or one.status_code != 200]
        self.report.none("reads go on", offenders, of=len(paths))
        for event in await self.caller.events():
            self.seen[event["id"]] = event

    async def _recovers(self) -> None:
        """Nobody does anything but make space."""
        began = trio.current_time()
        shut = self.ready.end()
        created = len(self.load.answered)
        self.report.count("looks at /ready while the disk failed", shut)

        async def recovered() -> bool:
            return not await self._not_ready() and len(self.load.answered) > created

        back = await until(recovered, RECOVERS_S)
        took_s = trio.current_time() - began
        self.report.holds(f"sessions begin again within {RECOVERS_S:g} s, by themselves", back, f"{took_s:.1f} s")
        self.recovered_s.append(took_s)
        held = (self.service.data_dir / BALLAST).stat().st_size if back else 0
        self.report.holds("the ballast is taken again", held > 0, f"{held:,} bytes")
        await self.load.check_steady(self.report)

    async def _kill(self) -> None:
        await self.service.kill()
        check_integrity(self.report, self.service.data_dir)
        self.report.count("kills with SIGKILL", 1)

    async def _was_refused(self, where: str, words: str) -> None:
        """Claim that the start that was launched ends, and says why."""
        self.refused_starts += 1
        code = await self.service.ended()
        told = [
            line for line in self.service.printed().decode().splitlines() if not line.startswith("{")
        ]  # but for logs
        self.report.holds(f"a start {where} ends with one line", code > 0 and len(told) == 1, (code, told))
        self.report.holds(f"that line names the fault, {where}", bool(told) and words in told[-1], told[-1:])

    def _refusals(self, file: str) -> int:
        return sum(count for (_, name), count in self.gate.refused.items() if name == file)

    # --- the reckoning ------------------------------------------------------------------------------------------

    async def _kill_and_compare(self, consumer: Any) -> None:
        """After `kill -9` the journal alone knows what was stored; all that was told must be in it."""
        assert self.world.nats is not None
        await self._kill()
        await self.service.start()
        await self.load.settle(self.report)
        events = await self.caller.events()
        stored = {event["id"]: event for event in events}
        lost = [event_id for event_id, event in self.seen.items() if stored.get(event_id) != event]
        self.report.none("all that GET /events told is stored", lost, of=len(self.seen))
        with trio.move_on_after(QUIET_S):
            await self.follower.wait_id(events[-1]["id"])
        check_dense(self.report, events)
        check_stories(self.report, events)
        check_heard(self.report, "a resuming listener", self.follower.heard, events)
        self.report.holds("no listener was told of a gap", not self.follower.gaps)
        starts, connections = self.service.starts - self.refused_starts, self.follower.connections
        told = f"{connections} connections over {starts} starts"
        self.report.holds("listeners stay connected while the disk fails", connections <= starts, told)
        await until(partial(self._delivered), QUIET_S, 0.3)
        check_stored(self.report, "the stream", await Onlooker(self.world.nats.url).stored(), events)
        await until(partial(consumer.has_taken, len(events)), QUIET_S)
        check_stored(self.report, "a durable consumer", consumer.first_deliveries(), events)
        self.report.figure("events", len(events))
        await self.load.check_answers(self.report, ANSWERS_S)

    async def _delivered(self) -> bool:
        return await self.service.metric("pending_messages") == 0

    def _figures(self) -> None:
        self.report.figure("slowest recovery after the fault, s", max(self.recovered_s))
        self.load.figures(self.report)
        self.ready.figures(self.report)


async def _true(value: bool) -> bool:
    return value


async def _none_of(ask: Callable[[], Awaitable[list[str]]]) -> bool:
    return not await ask()
