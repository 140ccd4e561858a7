"""Who uses a service whose disk fails: callers that ask once, people, somebody who looks at `/ready`; what they saw."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.world import World, http_client, percentile, until
from transport_trio.sandbox import SandboxError

CALLERS = 4
STEADY = 3  # sessions that are to outlive every fault
ASIDE = 5  # sessions that are to end while the disk is full, of each kind
BRIEF_S = 2
PAUSE_S = 0.03
LOOK_S = 0.1
SEEN_S = 30.0
SETTLED_S = 60.0
REFUSAL = (503, "application/problem+json", "storage_unavailable")
FILES = ("journal.sqlite3", "journal.sqlite3-wal")


@attrs.frozen
class Answer:
    what: str
    status: int  # 0: none
    kind: str
    code: str
    took_s: float


@attrs.define(eq=False)
class Load:
    """Sessions come and go until `over`. Every request is made once: what it brought counts."""

    world: World
    caller: Caller
    chance: random.Random
    over: bool = False
    answered: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    ended: set[str] = attrs.field(factory=set)
    answers: list[Answer] = attrs.field(factory=list)
    refused: list[Answer] = attrs.field(factory=list)
    steady: dict[str, str] = attrs.field(factory=dict)  # session by room
    awaited: dict[str, str] = attrs.field(factory=dict)  # who came into a steady session, by person

    async def begin(self, nursery: trio.Nursery) -> None:
        for _ in range(STEADY):
            made = await self.caller.create()
            self.answered[made["session_id"]] = made
            self.steady[made["session_id"]] = made["room_name"]
        await self.come()
        for _ in range(CALLERS):
            nursery.start_soon(self._churn)

    async def _churn(self) -> None:
        while not self.over:
            made = await self._ask("POST", "/sessions", {"provider": "daily"})
            if made is not None:
                self.answered[made["session_id"]] = made
                if self.chance.random() < 0.5:
                    await self._join(made["room_name"])
                await trio.sleep(self.chance.uniform(0, 0.2))
                await self.end(made["session_id"])
            await trio.sleep(PAUSE_S)

    async def end(self, session_id: str) -> None:
        if await self._ask("DELETE", f"/sessions/{session_id}") is not None:
            self.ended.add(session_id)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a success, or None."""
        began = trio.current_time()
        what = f"{method} {'/sessions/{id}' if method == 'DELETE' else path}"
        try:
            answer = await self.caller.send(method, path, body)
        except httpx.ConnectError:  # a service that was killed is not even asked
            return None
        except httpx.HTTPError:
            self.answers.append(Answer(what, 0, "", "", trio.current_time() - began))
            return None
        took_s = trio.current_time() - began
        told = answer.json()
        one = Answer(what, answer.status_code, answer.headers["content-type"], told.get("code", ""), took_s)
        self.answers.append(one)
        if answer.is_success:
            return told
        self.refused.append(one)
        return None

    async def put_aside(self) -> dict[str, list[str]]:
        """Sessions that will be asked to end, and sessions whose time will come, while the disk is full."""
        aside: dict[str, list[str]] = {}
        for reason, ttl_s in (("requested", 3600), ("expired", BRIEF_S)):
            made = [await self.caller.create({"options": {"session_ttl_s": ttl_s}}) for _ in range(ASIDE)]
            aside[reason] = [one["session_id"] for one in made]
            self.answered |= {one["session_id"]: one for one in made}
        return aside

    async def not_ended(self, session_ids: list[str], reason: str) -> list[str]:
        """Those that have not ended for this reason."""
        found = {sid: await self.caller.get(f"/sessions/{sid}") for sid in session_ids}
        return [sid for sid, one in found.items() if one.get("end_reason") != reason]

    async def come(self) -> None:
        """Somebody new comes into each steady session."""
        for session_id, room in self.steady.items():
            person = await self._join(room)
            assert person is not None
            self.awaited[person] = session_id

    async def check_steady(self, report: Report) -> None:
        """Claim that the steady sessions live, and that whoever came into them meanwhile is told of."""

        async def unseen() -> list[str]:
            shown = {sid: await self.caller.get(f"/sessions/{sid}") for sid in self.steady}
            inside = {person["id"] for one in shown.values() for person in one["participants"]}
            return [who for who in self.awaited if who not in inside]

        async def all_seen() -> bool:
            return not await unseen()

        await until(all_seen, SEEN_S, 0.2)
        report.none("who comes while the disk fails is told when it works again", await unseen(), of=len(self.awaited))
        alive = {sid: (await self.caller.get(f"/sessions/{sid}"))["status"] for sid in self.steady}
        report.none("live sessions go on", [sid for sid, status in alive.items() if status != "Active"], of=len(alive))

    async def _join(self, room: str) -> str | None:
        with suppress(SandboxError):
            joined = await trio.to_thread.run_sync(partial(self.world.sandbox.join, room, name="Ada"))
            return str(joined["id"])
        return None

    # --- afterwards ---------------------------------------------------------------------------------------------

    async def settle(self, report: Report) -> None:
        """Wait until the rooms are those of live sessions and no event is added; claim the former."""

        async def wanted() -> set[str]:
            return {one["room_name"] for one in await self.caller.sessions() if one["status"] != "Ended"}

        async def settled() -> bool:
            return self.world.rooms() == await wanted()

        await until(settled, SETTLED_S, 0.3)
        rooms, names = self.world.rooms(), await wanted()
        report.none("no room is left without a session", rooms - names, of=len(rooms))
        report.none("no live session is without its room", names - rooms, of=len(names))
        for _ in range(int(SETTLED_S)):
            head = (await self.caller.events())[-1]["id"]
            await trio.sleep(1)
            if (await self.caller.events())[-1]["id"] == head:
                return

    async def check_answers(self, report: Report, within_s: float) -> None:
        sessions = {one["session_id"]: one for one in await self.caller.sessions()}
        alive = {sid for sid, one in sessions.items() if one["status"] != "Ended"}
        missing = self.answered.keys() - sessions.keys()
        report.none("every session answered with 201 exists", missing, of=len(self.answered))
        report.none("every end answered with 200 is an end", self.ended & alive, of=len(self.ended))
        unanswered = sum(one.status == 0 and one.what.startswith("POST") for one in self.answers)
        unknown = len(sessions.keys() - self.answered.keys())
        told = f"{unknown} unknown, {unanswered} never answered"
        report.holds("a refused creation makes no session", unknown <= unanswered, told)
        odd = [one for one in self.refused if (one.status, one.kind, one.code) != REFUSAL]
        report.none("every refusal is 503 storage_unavailable, as problem+json", odd, of=len(self.refused))
        late = [one for one in self.answers if one.took_s > within_s]
        report.none(f"every request is answered within {within_s:g} s", late, of=len(self.answers))

    def figures(self, report: Report) -> None:
        report.figure("sessions answered with 201", len(self.answered))
        for what, count in sorted(Counter(one.what for one in self.refused).items()):
            report.figure(f"refusals of {what}", count)
        if self.refused:
            report.figure("slowest refusal, s", max(one.took_s for one in self.refused))
            report.figure("refusals, p99 s", percentile([one.took_s for one in self.refused], 0.99))


@attrs.frozen
class Look:
    status: int
    journal: str
    message: str
    took_s: float


class Readiness:
    """Looks at `/ready` all the time. What it sees between `begin` and `end` of a fault has to be a 503."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._looks: list[Look] = []
        self._since: int | None = None
        self._messages: Counter[str] = Counter()

    async def run(self) -> None:
        """Task body: looks until cancelled."""
        async with http_client(self._url) as http:
            while True:
                began = trio.current_time()
                with suppress(httpx.HTTPError):  # a service that was killed says nothing
                    answer = await http.get("/ready")
                    check = next(one for one in answer.json()["checks"] if one["name"] == "journal")
                    took_s = trio.current_time() - began
                    self._looks.append(Look(answer.status_code, check["status"], check["message"], took_s))
                await trio.sleep(LOOK_S)

    def mark(self) -> int:
        return len(self._looks)

    def begin(self) -> None:
        # The look that is under way now may have been answered before.
        self._since = self.mark() + 1

    def end(self) -> int:
        """How many looks there were."""
        seen = self._seen()
        self._messages.update(look.message for look in seen)
        self._since = None
        return len(seen)

    def check_shut(self, report: Report, name: str) -> None:
        seen = self._seen()
        open_ = [look for look in seen if (look.status, look.journal) != (503, "failed") or not look.message]
        report.none(f"/ready is 503 and says why while the disk is {name}", open_, of=len(seen))

    def check_named(self, report: Report, text: str, since: int) -> None:
        seen = self._looks[since:]
        report.none(text, [look for look in seen if "the journal's disk" not in look.message], of=len(seen))

    def figures(self, report: Report) -> None:
        report.figure("slowest answer of /ready, s", max(look.took_s for look in self._looks))
        for message, count in self._messages.most_common():
            report.figure(f"/ready said: {message}", count)

    def _seen(self) -> list[Look]:
        return [] if self._since is None else self._looks[self._since :]


def check_integrity(report: Report, data_dir: Path) -> None:
    """Have SQLite check a copy of what a killed service left."""
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            if (data_dir / name).exists():
                shutil.copy(data_dir / name, folder)
        with closing(sqlite3.connect(Path(folder) / FILES[0])) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check")]
            events = db.execute("SELECT count(*) FROM events").fetchone()[0]
    report.holds("the journal passes SQLite's integrity check after each kill", found == ["ok"], (found[:3], events))
