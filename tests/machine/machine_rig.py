"""Everything that there is around the service, and all that can be done to it."""

from __future__ import annotations

import math
import shutil
import sqlite3
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import trio
from machine_client import Client
from machine_provider import Provider
from machine_pushes import Heard
from machine_service import Service, open_service
from machine_time import a_thread_works, pass_time, stand_still
from trio.testing import MockClock

from fakes_bus import FakeBus, Fate
from fakes_connector import trio_time
from transport_trio.bus import READER
from transport_trio.errors import TransportError
from transport_trio.models import News
from transport_trio.sessions import SessionService

# The journal tries a disk that failed every five seconds, and what could not be stored is tried again after one.
RECOVERY_S = 12.0
TABLES = ("sessions", "events", "intents", "debts", "idempotency", "bookmarks", "journal")


class Fates(deque[Fate]):
    """What becomes of the next messages to the bus; unlike an iterator it can be looked at."""

    last_at = 0.0  # when one was met with

    def __next__(self) -> Fate:
        if not self:
            raise StopIteration
        self.last_at = trio.current_time()
        return self.popleft()


@attrs.define(eq=False)
class Call:
    """A caller's request. `answer` is None while it waits, and for ever when the service died under it."""

    kind: str
    about: dict[str, Any]
    began: float
    calm: bool  # nothing was wrong anywhere when it began
    answer: Any = None
    cut: bool = False
    noted: bool = False


class World:
    """Everything there is. Its methods run in Trio's thread."""

    def __init__(self, folder: Path, clock: MockClock, nursery: trio.Nursery) -> None:
        self.clock = clock
        self.provider = Provider()
        self.fates = Fates()
        self.bus = FakeBus(fates=self.fates)
        self.service: Service | None = None
        self.clients: list[Client] = []
        self.calls: list[Call] = []
        self.heard: defaultdict[str, list[Heard]] = defaultdict(list)  # of pushes, by room name
        self.failure: BaseException | None = None
        self.refusing = False  # the disk takes no change
        self.bus_up = True
        self.wipes, self.wiped, self.bookmark_at_wipe = 0, set[int](), 0
        self.disk_well_since = -math.inf
        self._folder = folder
        self._runs = 0
        self._still_s, self.woke_at = 0.0, 0.0
        self._nursery = nursery
        self._inside: trio.Nursery | None = None
        self._over = trio.Event()

    @property
    def now(self) -> float:
        return trio.current_time()

    @property
    def awake(self) -> float:
        """The time in which the process was run."""
        return self.now - self._still_s

    @property
    def data(self) -> Path:
        return self._folder / f"run-{self._runs}"

    # --- the service

    async def start(self) -> None:
        self._over = trio.Event()
        await self._nursery.start(self._run)
        assert self.service is not None
        if not self.refusing:
            self.disk_well_since = -math.inf
        for client in self.clients:
            self._connect(client)

    async def stop(self) -> None:
        """Stop in order; the service is given all the time that it may take."""
        assert self.service is not None
        self.service.stop.set()
        for _ in range(100):
            if self._over.is_set():
                return
            await self.pass_time(0.5)
        raise AssertionError("the service does not stop")

    async def crash(self, linger_s: float = 0.0) -> None:
        """End it as `kill -9` does: what was committed stays, told or not, and nothing else is done or heard.

        With `linger_s` a thread may finish its commit and Trio does not hear of it any more.
        """
        assert self._inside is not None
        time.sleep(linger_s)  # noqa: ASYNC251 -- Trio must not go on meanwhile
        old = self.data
        self._runs += 1
        self.data.mkdir(parents=True)
        with closing(sqlite3.connect(old / "journal.sqlite3")) as was, closing(sqlite3.connect(self._file)) as stays:
            was.backup(stays)
        self.service = None
        for client in self.clients:
            client.hang_up()
        for call in self.calls:
            call.cut = call.cut or call.answer is None
        self._inside.cancel_scope.cancel(reason="killed")
        await self._over.wait()
        shutil.rmtree(old)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with (
                trio.open_nursery() as self._inside,
                open_service(self.data, self.provider, self.bus) as service,
            ):
                self.service = service
                task_status.started()
                await service.stop.wait()
        except (Exception, BaseExceptionGroup) as exc:
            self.failure = exc
        finally:
            self.service = None
            self._over.set()

    # --- callers and listeners

    async def call(self, kind: str, work: Callable[[SessionService], Awaitable[Any]], **about: Any) -> Call:
        """Send a request; it may wait longer than this step."""
        assert self.service is not None
        assert self._inside is not None
        call = Call(kind, about, self.now, self.calm)
        self.calls.append(call)
        self._inside.start_soon(self._call, call, work, self.service)
        return call

    async def _call(self, call: Call, work: Callable[[SessionService], Awaitable[Any]], service: Service) -> None:
        try:
            answer = await work(service.sessions)
        except TransportError as exc:
            answer = exc
        if not call.cut:
            call.answer = answer

    def listen(self, client: Client) -> None:
        self.clients.append(client)
        if self.service is not None:
            self._connect(client)

    def _connect(self, client: Client) -> None:
        assert self.service is not None
        assert self._inside is not None
        self._inside.start_soon(client.run, self.service.hub)

    def come_back(self, client: Client) -> None:
        client.hang_up()
        if self.service is not None:
            self._connect(client)

    # --- pushes

    def push(self, room_name: str, news: News | None) -> bool | None:
        """Whether the service takes it to be of a room of its own; None: it is not there to hear of it."""
        if self.service is None:
            return None
        sure = not self.refusing and self.now - self.disk_well_since >= RECOVERY_S
        taken = self.service.sessions.hear("daily", room_name, news)
        if news is not None and taken:
            self.heard[room_name].append(Heard(trio_time(), news, self.service, sure))
        return taken

    # --- the disk

    @property
    def _file(self) -> Path:
        return self.data / "journal.sqlite3"

    @property
    def calm(self) -> bool:
        """Whether nothing is wrong with disk, provider and service (the bus concerns nobody but the relay)."""
        well = not self.refusing and self.now - self.disk_well_since >= RECOVERY_S
        return self.service is not None and well and not self.provider.troubled

    def refuse(self) -> None:
        """From now on the journal's file takes no change, as when its disk is full."""
        self.refusing = True
        self._alter("CREATE TRIGGER refuse_{0}_{1} BEFORE {1} ON {0} BEGIN SELECT RAISE(ABORT, 'no space'); END")

    def take_again(self) -> None:
        self.refusing = False
        self.disk_well_since = self.now
        self._alter("DROP TRIGGER refuse_{0}_{1}")

    def _alter(self, statement: str) -> None:
        with closing(sqlite3.connect(self._file, timeout=30, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            for table in TABLES:
                for operation in ("INSERT", "UPDATE", "DELETE"):
                    db.execute(statement.format(table, operation))
            db.execute("COMMIT")

    # --- the bus

    def bus_goes(self) -> None:
        self.bus_up = False
        self.bus.go_away()

    def bus_comes(self) -> None:
        self.bus_up = True
        self.bus.come_back()

    async def wipe_bus(self) -> None:
        """The stream loses all that it held; what was stored of the bookmark is where the relay may go on from."""
        with closing(sqlite3.connect(self._file)) as db:
            row = db.execute("SELECT event_id FROM bookmarks WHERE reader = ?", (READER,)).fetchone()
        self.bookmark_at_wipe = row[0] if row else 0
        self.wipes += 1
        self.bus.go_away()  # no connection survives it
        await self.pass_time(0.01)
        self.wiped |= {kept.event_id for kept in self.bus.stream}
        self.bus.wipe()
        if self.bus_up:
            self.bus.come_back()

    # --- time

    async def pass_time(self, seconds: float) -> None:
        await pass_time(self.clock, seconds)

    async def stand_still(self, seconds: float) -> None:
        self._still_s += seconds
        await stand_still(self.clock, seconds)
        self.woke_at = self.now

    async def scurry(self, moves: list[str]) -> None:
        """Let the tasks run a little, without waiting until they are done: `pass`, or until no thread works."""
        for move in moves:
            await trio.lowlevel.checkpoint()
            while move == "thread" and a_thread_works():
                await trio.lowlevel.checkpoint()
