"""One hour of life compressed: 20,000 sessions created, used and ended, and nothing that grows with their number."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import trio

from drills.frame.clients import Follower
from drills.frame.lines import Lines, open_lines
from drills.frame.report import Report
from drills.frame.world import World, cpu_s, open_world, until
from drills.parts.amounts import ALLOWED, Amounts, look, shown_as_table
from nats_server import Onlooker

SESSIONS, SESSIONS_SHORT = 20_000, 200
LIVES, LIVES_SHORT = 220, 60
WARM_UP = 0.05  # of the sessions come first: pools and caches fill once
# So few requests at once keep the service busy all the time; more would only wait inside it.
REST_LINES, SANDBOX_LINES = 6, 6
# What is owed or undelivered beyond this holds back further sessions: a slow machine takes longer, and falls behind
# no further.
OWED_MAX, PENDING_MAX = 300, 3_000
# Ends are asked for, come with time, or because the room is gone; inside somebody stays, leaves before, or never comes.
FATES = ("requested",) * 15 + ("expired",) * 4 + ("room_gone",)
GUESTS = ("stays",) * 6 + ("leaves",) + ("nobody",) * 3
POLL_S, POLL_SHORT_S = 3.0, 0.5
BRIEF_S, BRIEF_SHORT_S = 4, 2
LOOK_S = 2.0
TENTHS = 10
COMES_BACK_S = 10.0
SETTLED_S = 90.0
BASE_S = 30.0  # idle threads end after ten seconds, idle connections after five
REQUESTS = "transport_provider_requests_total"
NOBODY = "00000000-0000-4000-8000-000000000000"
SETTINGS = {
    "EVENTS_KEEP_S": "60",
    "SESSIONS_KEEP_S": "60",
    "CREATE_QUEUE_MAX": "1000",
}


async def run(report: Report, folder: Path, *, short: bool) -> None:
    async with open_world(folder, PRESENCE_POLL_S=f"{POLL_SHORT_S if short else POLL_S}", **SETTINGS) as world:
        # Else it keeps rooms that have expired for ten minutes, and has no place for more than 10,000.
        world.sandbox.configure(collect_after_s=1)
        await world.service.start()
        key = f"Authorization: Bearer {world.sandbox.api_key}\r\n"
        sandbox_port = int(world.sandbox.url.rpartition(":")[2])
        async with (
            open_lines(world.service.port, REST_LINES) as rest,
            open_lines(sandbox_port, SANDBOX_LINES, key) as daily,
        ):
            await _Hour(report, world, rest, daily, short).run()


class _Hour:
    def __init__(self, report: Report, world: World, rest: Lines, daily: Lines, short: bool) -> None:
        self.report, self.world, self.rest, self.daily = report, world, rest, daily
        self.sessions = SESSIONS_SHORT if short else SESSIONS
        self.lives = LIVES_SHORT if short else LIVES
        self.short = short
        self.poll_s = POLL_SHORT_S if short else POLL_S
        self.brief_s = BRIEF_SHORT_S if short else BRIEF_S
        self.chance = random.Random(1)
        self.begun = self.done = self.retold = 0
        self.asked_for: Counter[str] = Counter()
        self.odd: list[str] = []
        self.looks: list[Amounts] = []
        self.looked_at: list[float] = []
        self.may_begin = trio.Event()
        self.may_begin.set()
        self.whole = Follower(world.service.socket_url)

    async def run(self) -> None:
        await self._live(round(self.sessions * WARM_UP))
        await self._settle()
        base = await self._look()
        before = self._processor_s()
        async with self._listeners(), trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            began = trio.current_time()
            await self._live(self.sessions)
            took_s = trio.current_time() - began
            nursery.cancel_scope.cancel()
        asked = sum(n for name, n in (await self.world.service.metrics()).items() if name.startswith(REQUESTS))
        self.report.figure("requests to the provider for each session", asked / self.done)
        lived = self.sessions - round(self.sessions * WARM_UP)
        for name, used_s in self._processor_s().items():
            self.report.figure(f"processor ms of the {name} for each session", (used_s - before[name]) / lived * 1000)
        self.report.figure("sessions", self.done)
        self.report.figure("sessions per second", lived / took_s)
        await self._settle()
        await self._check_told()
        if not self.short:
            self._check_flat()
        await self._check_base(base)

    # --- what happens -------------------------------------------------------------------------------------------

    async def _live(self, until_number: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(self.lives):
                nursery.start_soon(self._lives, until_number)

    async def _lives(self, until_number: int) -> None:
        await trio.sleep(self.chance.uniform(0, self.poll_s))
        while self.begun < until_number:
            self.begun += 1
            await self._life(self.chance.choice(FATES), self.chance.choice(GUESTS))
            self.done += 1
            await self.may_begin.wait()

    async def _life(self, fate: str, guest: str) -> None:
        """One session, from its creation to the request that ends it, or to its last seconds."""
        made = await self._create(self.brief_s if fate == "expired" else None)
        if made is None:
            return
        self.asked_for[fate] += 1
        inside = f"/sandbox/rooms/{made['room_name']}/participants"
        if guest != "nobody":
            await self._daily("POST", inside, {"user_name": "Ada"})
            await trio.sleep(self.poll_s + 0.3)
        if guest == "leaves" and fate == "requested":
            await self._daily("DELETE", inside, {})
            await trio.sleep(self.poll_s + 1.3)
        match fate:
            case "requested":
                status, body = await self.rest.ask("DELETE", f"/sessions/{made['session_id']}")
                if status != 200:
                    self.odd.append(f"DELETE: {status} {body!r}")
            case "room_gone":
                await self._daily("DELETE", f"/v1/rooms/{made['room_name']}")
            case "expired":
                await trio.sleep(self.brief_s)

    async def _create(self, ttl_s: int | None) -> dict[str, Any] | None:
        body: dict[str, Any] = {"provider": "daily"}
        if ttl_s is not None:
            body["options"] = {"session_ttl_s": ttl_s}
        status, answer = await self.rest.ask("POST", "/sessions", body)
        if status == 502 and b"in the past" in answer and ttl_s is not None:
            self.retold += 1  # a machine so slow that the room's time was over before it was made
            return await self._create(4 * ttl_s)
        if status != 201:
            self.odd.append(f"POST: {status} {answer!r}")
            return None
        made: dict[str, Any] = json.loads(answer)
        return made

    async def _daily(self, method: str, path: str, body: Any = None) -> None:
        """What people do at the provider. Who comes too late for a brief session is turned away."""
        status, answer = await self.daily.ask(method, path, body)
        if status not in {200, 403, 404}:
            self.odd.append(f"{method} {path}: {status} {answer!r}")

    @asynccontextmanager
    async def _listeners(self) -> AsyncIterator[None]:
        """One hears everything, however often it leaves; others come for a while, some with a snapshot."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._come_and_go, self.whole)
            ended = {"types": "session_created,session_ended"}
            for query in ({}, {"snapshot": "true"}, {**ended, "snapshot": "true"}):
                nursery.start_soon(self._visit, query)
            yield
            with trio.move_on_after(SETTLED_S):
                await self.whole.wait_id(await self._head())
            nursery.cancel_scope.cancel()

    async def _come_and_go(self, follower: Follower) -> None:
        while True:
            with trio.move_on_after(self.chance.uniform(0.5, 2) * COMES_BACK_S):
                await follower.run()

    async def _visit(self, query: dict[str, str]) -> None:
        while True:
            visitor = Follower(self.world.service.socket_url, query)
            with trio.move_on_after(self.chance.uniform(0, COMES_BACK_S)):
                visitor.after = await self._head()
                await visitor.run()
            self.report.count("visits of other listeners", 1)

    async def _head(self) -> int:
        """The last event's id: where a look for a session that never was ends."""
        status, body = await self.rest.ask("GET", f"/events?limit=1&session_id={NOBODY}")
        return int(json.loads(body)["last_event_id"]) if status == 200 else 0

    async def _watch(self) -> None:
        """Look at the amounts all the time; hold back whoever would begin while the service lags behind."""
        while True:
            self.looks.append(await self._look())
            self.looked_at.append(trio.current_time())
            tenths = [one.done * TENTHS // self.sessions for one in self.looks[-2:]]
            if tenths[0] < tenths[-1]:
                self.report.progress(self.looks[-1].line())
            lags = self.looks[-1].owed > OWED_MAX or self.looks[-1].pending > PENDING_MAX
            if lags and self.may_begin.is_set():
                self.may_begin = trio.Event()
                self.report.count("times that new sessions were held back", 1)
            elif not lags:
                self.may_begin.set()
            await trio.sleep(LOOK_S)

    async def _look(self) -> Amounts:
        return await look(self.world.service, self.done)

    def _processor_s(self) -> dict[str, float]:
        assert self.world.nats is not None
        pids = {"service": self.world.service.pid, "sandbox": self.world.sandbox_program.pid}
        return {name: cpu_s(pid) for name, pid in pids.items()} | {"drill": cpu_s("self")}

    async def _settle(self) -> None:
        async def settled() -> bool:
            now = await self._look()
            return now.live == now.owed == now.pending == 0

        await until(settled, SETTLED_S, 0.3)

    # --- what is claimed ----------------------------------------------------------------------------------------

    async def _check_told(self) -> None:
        assert self.world.nats is not None
        self.report.none("every request is answered as it should be", self.odd, of=self.begun)
        now = await self._look()
        self.report.holds("every session has ended", now.live == 0, f"{now.live} live")
        self.report.holds("every room is deleted", not self.world.rooms() and now.owed == 0, f"{now.owed} owed")
        self.report.count("brief sessions asked for again: their time was over before their room was made", self.retold)
        heard = self.whole.ids()
        self.report.figure("events heard by the listener that comes and goes", len(heard))
        self.report.figure("its connections", self.whole.connections)
        missed = [b for a, b in pairwise(heard) if b != a + 1]
        self.report.none("a listener that comes and goes hears each event once and in order", missed, of=len(heard))
        reasons = Counter(one["reason"] for one in self.whole.heard if one["type"] == "session_ended")
        self.report.holds("it hears of ends of every kind", set(reasons) == set(FATES), dict(reasons))
        types = Counter(one["type"] for one in self.whole.heard)
        came, left = types["participant_joined"], types["participant_left"]
        self.report.holds("pollers see people come and leave", min(came, left) > 0, f"{came:,} and {left:,}")
        head = await self._head()
        stored = (await Onlooker(self.world.nats.url).info()).state.messages
        self.report.holds("the stream holds one message for each event", stored == head, f"{stored:,} of {head:,}")

    def _check_flat(self) -> None:
        """Leaks of some hundred bytes for each session would show: 5,000 lie between the third and the last quarter."""
        for name, (more, share) in ALLOWED.items():
            third, last = (self._median(name, quarter) for quarter in (2, 3))
            allowed = max(more, share * third)
            if name == "journal_mib":  # it holds a minute's events, and keeps the size that the busiest minute gave it
                allowed += third * max(self._busiest(3) / self._busiest(2) - 1, 0)
            told = f"{third:g}, then {last:g}; {allowed:.3g} more are allowed"
            self.report.holds(f"{name} stays flat from the third to the last quarter", last - third <= allowed, told)
        for line in shown_as_table(self.looks, self.sessions, TENTHS):
            self.report.figure(*line)

    def _busiest(self, quarter: int) -> int:
        """The most sessions in the time for which events are kept, up to the end of this quarter."""
        kept_s = float(SETTINGS["EVENTS_KEEP_S"])
        seen = [(at, one.done) for at, one in zip(self.looked_at, self.looks, strict=True)]
        seen = [(at, done) for at, done in seen if done < self.sessions * (quarter + 1) / 4]
        return max(done - min(d for a, d in seen if a >= at - kept_s) for at, done in seen)

    def _median(self, name: str, quarter: int) -> float:
        low, high = (self.sessions * share / 4 for share in (quarter, quarter + 1))
        values = sorted(getattr(one, name) for one in self.looks if low <= one.done < high)
        return float(values[len(values) // 2])

    async def _check_base(self, base: Amounts) -> None:
        """When all is over, everything is as it was after the first sessions."""

        async def back() -> bool:
            return not (await self._look()).above(base)

        await until(back, BASE_S, 0.5)
        now = await self._look()
        above = now.above(base)
        self.report.none("files, threads and tasks go back to what they were", above, of=3)
