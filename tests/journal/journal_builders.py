"""Short ways to make sessions, events and journals for the journal's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import trio
from prometheus_client import CollectorRegistry

from transport_trio.events import Event, SessionCreated, SessionEnded, SessionUpdated
from transport_trio.journal import SqliteJournal, open_journal
from transport_trio.metrics import Metrics
from transport_trio.models import (
    EndReason,
    Participant,
    ParticipantConfig,
    Presence,
    Room,
    RoomConfig,
    RoomDebt,
    RoomIntent,
    Session,
    SessionId,
    SessionStatus,
    TokenGrant,
)
from transport_trio.ports import Change

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WEEK_S = 604800


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def sid(number: int) -> SessionId:
    return SessionId(f"00000000-0000-4000-8000-{number:012d}")


def a_session(number: int = 1, **changes: Any) -> Session:
    session = Session(
        id=sid(number),
        provider="daily",
        status=SessionStatus.CREATED,
        room=Room(
            name=f"room-{number}",
            url=f"https://sandbox.daily.co/room-{number}",
            provider_id=f"p-{number}",
            expires_at=at(14400),
            metadata={"config": {"exp": 1767283200, "tags": ["ä", None, 1.5]}},
        ),
        room_config=RoomConfig(max_participants=8),
        participant_config=ParticipantConfig(name="Ada", user_id="u-ada"),
        token=TokenGrant(expires_at=at(3600)),
        created_at=at(0.123456),
        updated_at=at(0.123456),
        expires_at=at(14400),
    )
    return attrs.evolve(session, **changes)


def somebody(id_: str = "s-1", seconds: float = 5.0) -> Presence:
    who = Participant(id=id_, user_id="u-ada", name="Ada Ünïcode", joined_at=at(seconds))
    return Presence(participant=who, last_seen_at=at(seconds + 1), missing_since=at(seconds + 2))


def ended(session: Session, seconds: float = 60.0) -> Session:
    return attrs.evolve(
        session,
        status=SessionStatus.ENDED,
        ended_at=at(seconds),
        end_reason=EndReason.REQUESTED,
        updated_at=at(seconds),
    )


def created_event(session: Session, seconds: float = 0.0) -> Event:
    return SessionCreated(
        session_id=session.id,
        time=at(seconds),
        provider=session.provider,
        room_name=session.room.name,
        room_url=session.room.url,
        status=session.status,
        session_expires_at=session.expires_at,
    )


def updated_event(number: int = 1, seconds: float = 1.0, people: int = 0) -> Event:
    participants = tuple(somebody(f"s-{place}").participant for place in range(people))
    return SessionUpdated(
        session_id=sid(number), time=at(seconds), status=SessionStatus.ACTIVE, participants=participants
    )


def ended_event(number: int = 1, seconds: float = 60.0) -> Event:
    return SessionEnded(session_id=sid(number), time=at(seconds), reason=EndReason.REQUESTED)


def begins(number: int = 1, **changes: Any) -> Change:
    """A new session with its `session_created`."""
    session = a_session(number, **changes)
    return Change(session=session, events=(created_event(session),))


def tells(*numbers: int, seconds: float = 1.0) -> Change:
    """Events of these sessions, one each, without a change of state."""
    return Change(events=tuple(updated_event(number, seconds) for number in numbers))


def an_intent(number: int = 1) -> RoomIntent:
    return RoomIntent(
        session_id=sid(number),
        provider="daily",
        room_name=f"room-{number}",
        expires_at=at(14400),
        intended_at=at(0.5),
    )


def a_debt(number: int = 1) -> RoomDebt:
    return RoomDebt(
        session_id=sid(number),
        provider="daily",
        room_name=f"room-{number}",
        provider_id=None,
        expires_at=at(14400),
        owed_at=at(60),
    )


async def until(holds: Callable[[], bool]) -> None:
    """Return when `holds` does; the caller's scope limits the waiting."""
    while True:
        if holds():
            return
        await trio.sleep(0.02)


@attrs.define(eq=False)
class SetClock:
    """A clock that stands where it is set; nothing in the journal sleeps by it."""

    time: datetime = NOON

    def now(self) -> datetime:
        return self.time

    async def sleep_until(self, at: datetime) -> None:
        raise AssertionError(f"the journal waits for no time of day ({at})")


@attrs.define(eq=False)
class Box:
    """A folder whose journal can be opened again and again, with what the openings share."""

    folder: Path
    clock: SetClock = attrs.field(factory=SetClock)
    metrics: Metrics = attrs.field(factory=lambda: Metrics.create(CollectorRegistry()))
    max_mib: int = 64
    events_keep_s: float = WEEK_S
    sessions_keep_s: float = WEEK_S
    readers: frozenset[str] | None = None
    tidy_every_s: float = 3600.0  # once when it opens; tests say when else

    @property
    def file(self) -> Path:
        return self.folder / "journal.sqlite3"

    @property
    def log(self) -> Path:
        return self.folder / "journal.sqlite3-wal"

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @asynccontextmanager
    async def open(self, *, new_epoch: bool = False) -> AsyncIterator[SqliteJournal]:
        with trio.fail_after(30):
            async with open_journal(
                self.folder,
                metrics=self.metrics,
                clock=self.clock,
                max_mib=self.max_mib,
                events_keep_s=self.events_keep_s,
                sessions_keep_s=self.sessions_keep_s,
                new_epoch=new_epoch,
                readers=self.readers,
                tidy_every_s=self.tidy_every_s,
            ) as journal:
                yield journal
