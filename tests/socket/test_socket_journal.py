"""The socket over a real journal: what is committed is heard, once and in order, however clients come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import trio
from prometheus_client import CollectorRegistry
from socket_rig import Served, hear, listening, serving

from fakes_hub import make_session
from transport_trio.events import SessionCreated, SessionEnded, SessionUpdated
from transport_trio.journal import SqliteJournal, open_journal
from transport_trio.metrics import Metrics
from transport_trio.models import EndReason, Session, SessionStatus, new_session_id
from transport_trio.ports import Change


class Wall:
    """A wall clock that tests set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    async def sleep_until(self, at: datetime) -> None:
        await trio.sleep_forever()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Served, SqliteJournal, Wall]]:
    wall = Wall()
    async with (
        open_journal(
            folder,
            metrics=Metrics.create(CollectorRegistry()),
            clock=wall,
            max_mib=64,
            events_keep_s=3600,
            sessions_keep_s=3600,
        ) as journal,
        serving(journal) as rig,
    ):
        journal.on_commit(rig.hub.tell)
        yield rig, journal, wall


async def create(journal: SqliteJournal) -> Session:
    session = make_session(new_session_id())
    created = SessionCreated(
        session_id=session.id,
        time=session.created_at,
        provider="daily",
        room_name=session.room.name,
        room_url=session.room.url,
        status=session.status,
        session_expires_at=session.expires_at,
    )
    stored = await journal.commit(Change(session=session, events=(created,)))
    assert stored is not None
    return stored


async def update(journal: SqliteJournal, session: Session) -> Session:
    event = SessionUpdated(session_id=session.id, time=session.updated_at, status=session.status, participants=())
    stored = await journal.commit(Change(session=session, expected_version=session.version, events=(event,)))
    assert stored is not None
    return stored


async def end(journal: SqliteJournal, session: Session) -> None:
    event = SessionEnded(session_id=session.id, time=session.updated_at, reason=EndReason.REQUESTED)
    ended = attrs.evolve(
        session, status=SessionStatus.ENDED, ended_at=session.updated_at, end_reason=EndReason.REQUESTED
    )
    await journal.commit(Change(session=ended, expected_version=session.version, events=(event,)))


async def churn(journal: SqliteJournal, rounds: int) -> None:
    """A session that lives and ends, and one that stays."""
    await create(journal)
    session = await create(journal)
    for _ in range(rounds):
        session = await update(journal, session)
    await end(journal, session)


async def test_clients_that_come_and_go_hear_every_commit_once(tmp_path: Path) -> None:
    writers, rounds = 4, 40
    total = writers * (rounds + 3)
    heard: dict[str, list[int]] = {"steady": [], "fickle": []}

    async def listen(name: str, rig: Served, patience: int) -> None:
        ids = heard[name]
        while not ids or ids[-1] < total:
            async with listening(rig, f"after={ids[-1] if ids else 0}") as ws:
                assert (await hear(ws))["type"] == "welcome"
                for _ in range(patience):
                    if ids and ids[-1] == total:
                        return
                    ids.append((await hear(ws))["id"])

    async with served(tmp_path) as (rig, journal, _), trio.open_nursery() as nursery:
        nursery.start_soon(listen, "steady", rig, total)
        nursery.start_soon(listen, "fickle", rig, 7)
        for _ in range(writers):
            nursery.start_soon(churn, journal, rounds)
    assert heard == {name: list(range(1, total + 1)) for name in heard}


async def test_a_snapshot_and_the_events_after_it_add_up_to_the_truth(tmp_path: Path) -> None:
    sums: list[set[str]] = []

    async def keep_books(rig: Served, total: int) -> None:
        async with listening(rig, "snapshot=true") as ws:
            await hear(ws)
            snapshot = await hear(ws)
            live = {shown["session_id"] for shown in snapshot["sessions"]}
            last = snapshot["last_event_id"]
            while last < total:
                event = await hear(ws)
                assert event["id"] == last + 1
                last = event["id"]
                if event["type"] == "session_created":
                    live.add(event["session_id"])
                elif event["type"] == "session_ended":
                    live.remove(event["session_id"])
            sums.append(live)

    async with served(tmp_path) as (rig, journal, _):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(churn, journal, 20)
                nursery.start_soon(keep_books, rig, 4 * 23)
                await trio.sleep(0.01)
        truth = {session.id for session in (await journal.snapshot()).sessions}
    assert len(truth) == 4
    assert sums == [truth] * 4


async def test_pruned_history_and_new_epochs_are_gaps(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, journal, wall):
        await churn(journal, 5)
        wall.time += timedelta(days=365)
        await journal.prune()
        async with listening(rig, f"after=2&epoch={journal.epoch}") as ws:
            assert (await hear(ws))["last_event_id"] == 8
            gap = await hear(ws)
            assert (gap["type"], gap["reason"], gap["after"], gap["oldest"]) == ("gap", "pruned", 2, 9)
            assert len((await hear(ws))["sessions"]) == 1
            await create(journal)
            assert (await hear(ws))["id"] == 9
            new = await journal.begin_new_epoch()
            rig.hub.tell(())
            gap = await hear(ws)
            assert (gap["type"], gap["reason"], gap["epoch"]) == ("gap", "epoch", new)
            assert len((await hear(ws))["sessions"]) == 2
            await create(journal)
            assert (await hear(ws))["id"] == 10
