"""The embedded NATS when its service is killed: one server on the store, never two, and every event in it once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import trio

from drills.frame.clients import Caller, Follower
from drills.frame.load import Load
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_heard, check_stored
from drills.frame.world import World, frozen, open_world, percentile, until
from nats_server import Onlooker
from ports import free_port
from transport_trio.bus import leash
from transport_trio.bus.home import find_program

KILLS, KILLS_SHORT = 5, 1
START_S = 1.2  # a kill in mid-start strikes within this time, often before there is a server
FROZEN_S = 7.0  # longer than an answer is waited for
WAIT_S = 60.0
MADE = 4  # sessions between two kills, so that each life has something to tell
LOOK_S = 0.005


async def run(report: Report, folder: Path, *, short: bool) -> None:
    chance = random.Random(0)
    ports = (free_port(), free_port())
    async with open_world(folder, nats=False, NATS_URL="embedded", NATS_PORT=str(ports[0])) as world:
        service = world.service
        with watching(service.data_dir / "nats" / "server.conf") as watch:
            await service.start()
            async with Caller(service.url) as caller, trio.open_nursery() as nursery:
                listener, load = Follower(service.socket_url), Load(caller, world.sandbox)
                nursery.start_soon(listener.run)
                async with trio.open_nursery() as churn:
                    churn.start_soon(load.run, 2)
                    drill = _Drill(report, world, watch, load, ports, chance)
                    await drill.kill_parents(KILLS_SHORT if short else KILLS)
                    await drill.leave_frozen_server()
                    await drill.leave_server_that_heard_of_nothing()
                    if not short:
                        await drill.freeze_newborn()
                        await drill.freeze_child()
                    await drill.kill_child()
                    load.over = True
                await until(drill.all_delivered, WAIT_S, 0.1)
                events = await caller.events()
                with trio.move_on_after(WAIT_S):
                    await listener.wait_id(events[-1]["id"])
                check_dense(report, events)
                check_heard(report, "a listener", listener.heard, events)
                check_stored(report, "the stream", await Onlooker(drill.nats_url).stored(), events)
                nursery.cancel_scope.cancel()
            code = await service.end()
            report.holds("a stop is orderly", code == 0, code)
            report.none("a stop leaves no server behind", await trio.to_thread.run_sync(watch.servers), of=1)
    report.figure("sessions answered with 201", len(load.made))
    report.figure("events", len(events))
    report.figure("looks at the processes", watch.looks)
    report.figure("servers seen, one after the other", len(watch.seen))
    report.none("never are there two servers on the store", watch.offences, of=watch.looks)
    report.figure("from kill -9 to serving again, median (s)", percentile(drill.back_s, 0.5))
    report.figure("from kill -9 to serving again, longest (s)", max(drill.back_s))


@attrs.define(eq=False)
class _Drill:
    report: Report
    world: World
    watch: Watch
    load: Load
    ports: tuple[int, int]
    chance: random.Random
    back_s: list[float] = attrs.field(factory=list)
    kills: int = 0

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.world.service.environ['NATS_PORT']}"

    async def kill_parents(self, times: int) -> None:
        """Kill the service, once while it serves and once while it starts, and start it again at once."""
        for number in range(times):
            await self._kill()
            await self.world.service.launch()
            await trio.sleep(self.chance.uniform(0.2, START_S))
            await self._kill(another_port=number % 2 == 0)
            await self._start()
        self.report.progress("killed and started again")

    async def leave_frozen_server(self) -> None:
        """The server of the killed service stands still, so that it cannot die with it."""
        pid = (await self._servers())[0]
        with _frozen_while_it_lives(pid):
            await self._kill(another_port=True)
            await self._start()
        self.report.progress("left a server that stood still")

    async def leave_server_that_heard_of_nothing(self) -> None:
        """A server on the store whose parent-death signal was lost: it has a parent that lives, the drill."""
        await self._kill(another_port=True)  # with the same, the port alone would keep the next one out
        await until(self._is_unserved, WAIT_S)
        with _left_behind(self.watch.config) as orphan:
            await until(lambda: self._serves(orphan.pid), WAIT_S)
            await self._start()
            self.report.holds("a server that was left behind is ended", orphan.poll() is not None)
        self.report.progress("left a server that heard of nothing")

    async def freeze_newborn(self) -> None:
        """The service is killed while its server is being born and stands still; it wakes beside the next one."""
        await self._kill()
        await until(self._is_unserved, WAIT_S)
        await self.world.service.launch()
        with trio.fail_after(WAIT_S):
            while not (newborn := self.watch.born()):
                await trio.sleep(0.0005)
        with _frozen_while_it_lives(newborn[0]):
            await self._kill()
            await self._start()
        await trio.sleep(0.5)  # time for it to do harm
        self.report.progress("woke a newborn server beside the next")

    async def kill_child(self) -> None:
        service = self.world.service
        pid = (await self._servers())[0]
        before = await service.metric('transport_task_restarts_total{task="nats-server"}')
        os.kill(pid, signal.SIGKILL)
        self.report.holds("/ready says that nats is degraded", await until(partial(self._nats, "degraded"), WAIT_S))
        self.report.holds("and ok when it is back", await until(partial(self._nats, "ok"), WAIT_S))
        restarts = await service.metric('transport_task_restarts_total{task="nats-server"}') - before
        self.report.holds("transport_task_restarts_total counts it", restarts == 1, f"{restarts:.0f}")
        self.report.progress("killed the server alone")

    async def freeze_child(self) -> None:
        """A server that hangs is not replaced; REST goes on, and so does it when it can."""
        pid = (await self._servers())[0]
        with frozen(pid):
            self.report.holds("/ready says that nats is degraded", await until(partial(self._nats, "degraded"), WAIT_S))
            away = await self.world.service.metric("transport_bus_away")
            self.report.holds("transport_bus_away is 1", away == 1)
            await trio.sleep(FROZEN_S - 5)
        self.report.holds("and ok when it is back", await until(partial(self._nats, "ok"), WAIT_S))
        self.report.none("it is the same server", set(await self._servers()) ^ {pid}, of=1)

    async def all_delivered(self) -> bool:
        return await self.world.service.metric("pending_messages") == 0

    async def _kill(self, *, another_port: bool = False) -> None:
        await self.world.service.kill()
        self.kills += 1
        self.report.count("kills of the service with SIGKILL", 1)
        if another_port:
            now = self.world.service.environ["NATS_PORT"]
            self.world.service.environ["NATS_PORT"] = next(str(port) for port in self.ports if str(port) != now)

    async def _start(self) -> None:
        began = trio.current_time()
        await self.world.service.start()
        back = await until(partial(self._nats, "ok"), WAIT_S)
        self.back_s.append(trio.current_time() - began)
        self.report.holds("it serves again, with one server", back and len(await self._servers()) == 1)
        made = len(self.load.made)
        await until(lambda: self._has_made(made + MADE), WAIT_S)

    async def _has_made(self, count: int) -> bool:
        return len(self.load.made) >= count

    async def _servers(self) -> list[int]:
        return await trio.to_thread.run_sync(self.watch.servers)

    async def _nats(self, status: str) -> bool:
        return (await self.world.service.checks())["nats"] == status

    async def _is_unserved(self) -> bool:
        return not await self._servers()

    async def _serves(self, pid: int) -> bool:
        return pid in await self._servers()


@attrs.define(eq=False)
class Watch:
    """Looks at the machine's processes all the time: who serves this configuration?"""

    config: Path
    looks: int = 0
    seen: set[int] = attrs.field(factory=set)
    offences: list[tuple[int, ...]] = attrs.field(factory=list)
    over: threading.Event = attrs.field(factory=threading.Event)

    def run(self) -> None:
        while not self.over.is_set():
            servers = self.servers()
            self.looks += 1
            self.seen.update(servers)
            if len(servers) > 1:
                self.offences.append(tuple(servers))
            time.sleep(LOOK_S)

    def servers(self) -> list[int]:
        """Those that have become the server; who only waits to become it is none."""
        return [pid for pid, command in self._ours() if command.split(b"\0")[0].endswith(b"nats-server")]

    def born(self) -> list[int]:
        """Those that are on the way to it too."""
        return [pid for pid, _ in self._ours()]

    def _ours(self) -> Iterator[tuple[int, bytes]]:
        wanted = str(self.config.resolve()).encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                command = (process / "cmdline").read_bytes()
                if wanted in command:
                    yield int(process.name), command


@contextmanager
def _left_behind(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a service starts it, but for the parent."""
    command = [sys.executable, leash.__file__, str(os.getpid()), str(config.with_name("server.pid")), find_program()]
    # From this thread, which lives on: the kernel takes the end of the thread for that of the parent.
    with subprocess.Popen([*command, "-c", str(config)], stderr=subprocess.DEVNULL) as orphan:
        try:
            yield orphan
        finally:
            orphan.kill()


@contextmanager
def watching(config: Path) -> Iterator[Watch]:
    watch = Watch(config)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()


@contextmanager
def _frozen_while_it_lives(pid: int) -> Iterator[None]:
    """It stands still during the block, unless somebody ends it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
