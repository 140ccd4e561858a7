"""The journal put back from an older copy: a new epoch, gaps for listeners, nothing mixed up in the stream."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller, Follower
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_heard, check_stored
from drills.frame.world import Service, World, open_world, until
from nats_server import Onlooker, Stored

WAIT_S = 30.0
JOURNAL, WITNESS = "journal.sqlite3", "journal.witness"
KEPT = LOST = 3
IN_FLIGHT = 64  # what the bookmark may lag behind, and as much again until it is stored

Event = dict[str, Any]


@attrs.frozen
class _Variant:
    name: str
    noticed_by: str | None  # the label that counts it; None: we said so ourselves
    whole: bool = False  # the whole folder is put back, with the witness of then; else the journal's file alone
    nats: bool = True
    away: bool = False  # NATS is, when the restored journal starts
    kill: bool = False  # how the journal was left before
    args: tuple[str, ...] = ()


VARIANTS = (
    _Variant("file put back", "witness", kill=True),
    _Variant("folder put back", "stream", whole=True),
    _Variant("folder put back, NATS away at the start", "stream", whole=True, away=True, kill=True),
    _Variant("folder put back, serve --new-epoch", None, whole=True, kill=True, args=("--new-epoch",)),
    _Variant("file put back, no NATS", "witness", nats=False),
    _Variant("folder put back, no NATS, serve --new-epoch", None, whole=True, nats=False, args=("--new-epoch",)),
)
SHORT = (VARIANTS[2], VARIANTS[4])
BESIDE = 3


async def run(report: Report, folder: Path, *, short: bool) -> None:
    variants = SHORT if short else VARIANTS
    beside = trio.CapacityLimiter(BESIDE)

    async def in_turn(number: int, variant: _Variant) -> None:
        async with (
            beside,
            open_world(folder / str(number), nats=variant.nats) as world,
            Caller(world.service.url) as caller,
        ):
            await _Rollback(report, variant, world, caller).play()
            report.progress(variant.name)

    async with trio.open_nursery() as nursery:
        for number, variant in enumerate(variants):
            nursery.start_soon(in_turn, number, variant)
    report.figure("ways to put a journal back", len(variants))


@attrs.define(eq=False)
class _Rollback:
    """One journal's life, its restored copy's life after that, and what everybody saw of both."""

    report: Report
    variant: _Variant
    world: World
    caller: Caller
    epoch: str = ""
    lived: list[Event] = attrs.field(factory=list)  # the events of the first life
    kept: list[Event] = attrs.field(factory=list)  # sessions that live in both lives
    ended: list[Event] = attrs.field(factory=list)  # sessions that ended after the copy was made
    lost: list[Event] = attrs.field(factory=list)  # sessions that were made after it, and live
    backed_up: int = 0

    @property
    def service(self) -> Service:
        return self.world.service

    async def play(self) -> None:
        await self.service.start()
        async with trio.open_nursery() as nursery:
            listener, late = (Follower(self.service.socket_url) for _ in range(2))
            nursery.start_soon(listener.run)
            away = trio.CancelScope()
            nursery.start_soon(_within, away, late.run)
            copy = await self._live()
            for follower in (listener, late):
                await follower.wait_id(self.lived[-1]["id"])
            away.cancel()
            await self._put_back(copy)
            await self._start_again()
            await self._check_pages()
            await self._outgrow()
            nursery.start_soon(late.run)
            await self._check_sessions(listener)
            events = await self._settled()
            await self._check_listeners(events, listener, late)
            if self.world.nats is not None:
                await self._check_stream(events, await Onlooker(self.world.nats.url).stored())
            nursery.cancel_scope.cancel()

    # --- what happens ---------------------------------------------------------------------------------------------

    async def _live(self) -> Path:
        """A life with a backup in the middle; the copy."""
        create, end = self.caller.create, self.caller.end
        self.kept = [await create() for _ in range(KEPT)]
        self.ended = [await create() for _ in range(2)]
        await end((await create())["session_id"])
        copy = self.world.folder / "backup"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._churn)  # the backup is made while the journal is in use
            await trio.to_thread.run_sync(_back_up, self.service.data_dir, copy)
        self.lost = [await create() for _ in range(LOST)]
        for session in self.ended:
            await end(session["session_id"])
        await self._churn()
        await until(self._is_quiet, WAIT_S)
        page = await self.caller.get("/events")
        self.epoch, self.lived = page["epoch"], await self.caller.events()
        return copy

    async def _churn(self) -> None:
        for _ in range(4):
            await self.caller.end((await self.caller.create())["session_id"])

    async def _put_back(self, copy: Path) -> None:
        await (self.service.kill() if self.variant.kill else self.service.end())
        folder = self.service.data_dir
        for file in folder.glob(f"{JOURNAL}*"):  # with the log that a kill leaves: it is the other life's
            file.unlink()
        shutil.copy(copy / JOURNAL, folder)
        if self.variant.whole:
            shutil.copy(copy / WITNESS, folder)
        with closing(sqlite3.connect(folder / JOURNAL)) as db:
            (self.backed_up,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        self.report.count("events lost with the later part", len(self.lived) - self.backed_up)

    async def _start_again(self) -> None:
        nats = self.world.nats
        if self.variant.away and nats is not None:
            await trio.to_thread.run_sync(nats.stop)
        await self.service.start(*self.variant.args)
        if self.variant.away and nats is not None:
            checks = await self.service.checks()
            told = (checks["ready"], checks["nats"])
            self.report.holds("/ready is 200 while NATS is away, and says so", told == ("ready", "degraded"), told)
            await self._churn()  # under the old epoch still: nobody can know better yet
            nats.start()
        began = await until(self._has_new_epoch, WAIT_S)
        self.report.holds("a new epoch begins", began, self.variant.name)
        if self.variant.noticed_by is not None:
            name = f'transport_journal_rollbacks_total{{noticed_by="{self.variant.noticed_by}"}}'
            self.report.holds(
                "transport_journal_rollbacks_total counts it", await self.service.metric(name) == 1, self.variant.name
            )

    async def _outgrow(self) -> None:
        """Until the new ids are beyond the lost ones: who compares ids alone would notice nothing any more."""
        while (await self.caller.events())[-1]["id"] <= self.lived[-1]["id"] + 1:
            await self._churn()

    async def _settled(self) -> list[Event]:
        """The restored journal's events, when no more come."""
        before: list[Event] = []
        while len(events := await self.caller.events()) != len(before) or not await self._is_quiet():
            before = events
            await trio.sleep(0.6)  # longer than a look into a room takes to come round
        return events

    async def _is_quiet(self) -> bool:
        shown = await self.service.metrics()
        return shown["pending_messages"] == 0 and shown["transport_rooms_owed"] == 0

    async def _has_new_epoch(self) -> bool:
        return bool((await self.caller.get("/events?limit=1"))["epoch"] != self.epoch)

    # --- what must hold -------------------------------------------------------------------------------------------

    async def _check_pages(self) -> None:
        """Who asks for what comes after a lost event, and says whose, is told that it is gone."""
        lost_id, path = self.lived[-1]["id"], "/events?after={}&epoch={}"
        answer = await self.caller.ask("GET", path.format(lost_id, self.epoch))
        self.report.holds("GET /events answers 410 to an id of the lost part", answer.status_code == 410)

    async def _check_listeners(self, events: list[Event], listener: Follower, late: Follower) -> None:
        report, lived = self.report, {event["id"]: event for event in self.lived}
        check_dense(report, events)
        for follower in (listener, late):
            with trio.move_on_after(WAIT_S):
                await follower.wait_id(events[-1]["id"])
            who = (
                "a listener that resumes" if follower is listener else "one that is away until the ids have grown again"
            )
            reasons = [gap["reason"] for gap in follower.gaps]
            report.holds(f"{who} is told of a gap, at last of the epoch", reasons[-1:] == ["epoch"], reasons)
            report.holds(f"{who} is told of no other gap than ahead", set(reasons[:-1]) <= {"ahead"}, reasons)
            if not follower.resumed:
                continue
            last_id, before = follower.resumed[-1]
            old = [event for event in follower.heard[:before] if lived.get(event["id"]) == event]
            check_heard(report, "a listener of the first life", old, self.lived)
            later = [event for event in events if event["id"] > last_id]
            check_heard(report, "a listener, after gap and snapshot,", follower.heard[before:], later)
            shown = {session["session_id"] for session in follower.shown}
            report.none("the snapshot has the sessions that live", _ids(self.kept) - shown, of=KEPT)
            report.none("the snapshot has no lost session", _ids(self.lost) & shown, of=LOST)

    async def _check_sessions(self, listener: Follower) -> None:
        report, caller = self.report, self.caller
        for session in self.kept:
            join = partial(self.world.sandbox.join, session["room_name"], name="Ada", user_id=session["session_id"])
            await trio.to_thread.run_sync(join)
        met = await until(partial(self._all_met, listener), WAIT_S, 0.2)
        report.holds("sessions that live go on: who joins is seen and told", met)
        gone = await until(self._all_gone, WAIT_S, 0.2)
        report.holds("sessions that had ended meanwhile end again, as room_gone", gone)
        known = {session["session_id"]: session for session in await caller.sessions()}
        report.none("sessions made after the backup are not known", _ids(self.lost) & known.keys(), of=LOST)
        wanted = {one["room_name"] for one in known.values() if one["status"] != "Ended"}
        left = [room for room in self.world.sandbox.rooms() if room["name"] not in wanted]
        ends = {one["room_name"]: one["session_expires_at"] for one in self.lost}
        strange = [room["name"] for room in left if ends.get(room["name"]) != _stamp(room["config"]["exp"])]
        report.none(
            "a room without a session is a lost one, and closes when its caller was told", strange, of=len(left)
        )
        report.count("rooms of lost sessions, until they expire", len(left))
        for session in self.kept[1:]:
            await caller.end(session["session_id"])

    async def _all_met(self, listener: Follower) -> bool:
        met = {e["session_id"] for e in listener.heard if e["type"] == "participant_joined"}
        return _ids(self.kept) <= met

    async def _all_gone(self) -> bool:
        sessions = [await self.caller.get(f"/sessions/{one['session_id']}") for one in self.ended]
        return all(session.get("end_reason") == "room_gone" for session in sessions)

    async def _check_stream(self, events: list[Event], stored: Sequence[Stored]) -> None:
        report = self.report
        epochs = list(dict.fromkeys(message.epoch for message in stored))
        report.holds("the stream holds two epochs and no third", len(epochs) == 2 and epochs[0] == self.epoch)
        old, new = ([m for m in stored if (m.epoch == self.epoch) is mine] for mine in (True, False))
        check_stored(report, "the stream of the first life", old, self.lived)
        again = {message.event_id for message in new if message.event_id <= self.backed_up}
        report.count("events in doubt, told under the new epoch too", len(again))
        report.holds("of what the backup had, only what was in doubt is told again", len(again) <= 2 * IN_FLIGHT)
        wanted = [event for event in events if event["id"] > self.backed_up or event["id"] in again]
        check_stored(report, "the stream of the second life", new, wanted)
        names = [message.headers["Nats-Msg-Id"] for message in stored]
        report.none("no two messages have one name", names[len(set(names)) :], of=len(names))
        odd = [
            m.seq
            for m in stored
            if (m.headers["ce-source"], m.headers["ce-id"]) != (f"urn:uuid:{m.epoch}", str(m.event_id))
        ]
        report.none("ce-source and ce-id name epoch and event", odd, of=len(stored))
        last_old = {message.session_id: message.seq for message in old}
        mixed = [m.seq for m in new if last_old.get(m.session_id, 0) > m.seq]
        report.none("in each session one epoch ends before the next begins", mixed, of=len(new))


def _back_up(data_dir: Path, copy: Path) -> None:
    """As an operator would, while the service runs. The witness of a snapshot may be older than its journal."""
    copy.mkdir()
    shutil.copy(data_dir / WITNESS, copy)
    with closing(sqlite3.connect(data_dir / JOURNAL)) as db:
        db.execute("VACUUM INTO ?", (str(copy / JOURNAL),))


async def _within(scope: trio.CancelScope, run: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await run()


def _ids(sessions: Sequence[Event]) -> set[str]:
    return {session["session_id"] for session in sessions}


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
