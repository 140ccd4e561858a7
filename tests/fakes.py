"""A journal without a disk, for tests on Trio's clock. It passes the contract tests of the real one.

journal = MemoryJournal()
journal.unavailable = "the disk is full"  # from now on everything raises StorageUnavailable
journal.forget(through=7)  # as if events up to 7 had been pruned
"""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Callable

import attrs
import trio

from transport_trio.errors import HistoryGone, InvalidRequest, StorageUnavailable, VersionConflict
from transport_trio.events import RecordedEvent
from transport_trio.models import Check, CheckStatus, IdempotencyRecord, RoomDebt, RoomIntent, Session, SessionId
from transport_trio.ports import (
    Change,
    EventPage,
    EventQuery,
    OnCommit,
    SessionPage,
    SessionQuery,
    Snapshot,
)
from transport_trio.wire.out import event_body


class MemoryJournal:
    """Implements `ports.Journal`. Every call passes a checkpoint, as the real one does."""

    def __init__(self) -> None:
        self.epoch = str(uuid.uuid4())
        self.head = 0
        self.unavailable: str | None = None
        self.stored: dict[SessionId, Session] = {}  # in the order of their making
        self.log: list[RecordedEvent] = []
        self.changes: list[Change] = []  # what was committed, for tests that look at it
        self.bookmarks: dict[str, int] = {}
        self._forgotten_through = 0
        self._rows: dict[SessionId, int] = {}
        self._row = itertools.count(1)  # never given anew, so that cursors stay good
        self._intents: dict[SessionId, RoomIntent] = {}
        self._debts: dict[SessionId, RoomDebt] = {}
        self._keys: dict[tuple[str, str], IdempotencyRecord] = {}
        self._tells: list[OnCommit] = []

    def on_commit(self, tell: OnCommit) -> None:
        self._tells.append(tell)

    async def commit(self, change: Change) -> Session | None:
        await self._pass()
        session = self._versioned(change)
        if session is not None:
            self.stored[session.id] = session
            if session.id not in self._rows:
                self._rows[session.id] = next(self._row)
        self._settle(change)
        self.changes.append(change)
        ids = range(self.head + 1, self.head + 1 + len(change.events))
        recorded = [
            RecordedEvent(event_id, event.session_id, event.type, event.time, event_body(event, event_id))
            for event_id, event in zip(ids, change.events, strict=True)
        ]
        if recorded:
            self.log += recorded
            self.head = recorded[-1].id
            for tell in self._tells:
                tell(recorded)
        return session

    async def begin_new_epoch(self) -> str:
        await self._pass()
        self.epoch = str(uuid.uuid4())
        return self.epoch

    async def get(self, session_id: str) -> Session | None:
        await self._pass()
        return self.stored.get(SessionId(session_id))

    async def sessions(self, query: SessionQuery) -> SessionPage:
        await self._pass()
        matching = [
            session
            for session in reversed(self.stored.values())
            if query.status in (None, session.status) and query.provider in (None, session.provider)
        ]
        before: float = math.inf
        if query.cursor is not None:
            if not query.cursor.isdecimal():
                raise InvalidRequest(("cursor", "is not a cursor of ours"))
            before = int(query.cursor)
        rest = [session for session in matching if self._rows[session.id] < before]
        shown = rest[: query.limit]
        cursor = str(self._rows[shown[-1].id]) if len(rest) > len(shown) else None
        return SessionPage(sessions=tuple(shown), total=len(matching), next_cursor=cursor)

    async def events(self, query: EventQuery) -> EventPage:
        await self._pass()
        after = self._forgotten_through if query.after is None else query.after
        self._check_history(query, after)
        found: list[RecordedEvent] = []
        for event in self.log:
            wanted = query.session_ids is None or event.session_id in query.session_ids
            if event.id <= after or not wanted or (query.types is not None and event.type not in query.types):
                continue
            if len(found) == query.limit:
                return EventPage(events=tuple(found), last_event_id=found[-1].id)
            found.append(event)
        return EventPage(events=tuple(found), last_event_id=self.head)

    async def snapshot(self, session_ids: frozenset[str] | None = None) -> Snapshot:
        await self._pass()
        sessions = tuple(
            session
            for session in self.stored.values()
            if not session.has_ended and (session_ids is None or session.id in session_ids)
        )
        return Snapshot(sessions=sessions, last_event_id=self.head)

    async def intents(self) -> tuple[RoomIntent, ...]:
        await self._pass()
        return tuple(self._intents.values())

    async def debts(self) -> tuple[RoomDebt, ...]:
        await self._pass()
        return tuple(self._debts.values())

    async def recall(self, caller: str, key: str) -> IdempotencyRecord | None:
        await self._pass()
        return self._keys.get((caller, key))

    async def bookmark(self, reader: str) -> int | None:
        await self._pass()
        return self.bookmarks.get(reader)

    async def advance(self, reader: str, event_id: int) -> None:
        await self._pass()
        self.bookmarks[reader] = event_id

    def health(self) -> Check:
        status = CheckStatus.OK if self.unavailable is None else CheckStatus.FAILED
        return Check("journal", status, self.unavailable or "")

    def forget(self, *, through: int) -> None:
        """Prune the events up to this id."""
        self._forgotten_through = through
        self.log = [event for event in self.log if event.id > through]

    def forget_sessions(self, old: Callable[[Session], bool]) -> None:
        """Prune the sessions that `old` picks."""
        for session in tuple(self.stored.values()):
            if old(session):
                del self.stored[session.id], self._rows[session.id]

    async def _pass(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.unavailable is not None:
            raise StorageUnavailable(self.unavailable)

    def _versioned(self, change: Change) -> Session | None:
        if change.session is None:
            return None
        known = self.stored.get(change.session.id)
        if (known.version if known else 0) != change.expected_version:
            raise VersionConflict(f"session {change.session.id} is not at version {change.expected_version} any more")
        return attrs.evolve(change.session, version=change.expected_version + 1)

    def _settle(self, change: Change) -> None:
        if change.add_intent is not None:
            self._intents[change.add_intent.session_id] = change.add_intent
        if change.settle_intent is not None:
            self._intents.pop(change.settle_intent, None)
        if change.add_debt is not None:
            self._debts[change.add_debt.session_id] = change.add_debt
        if change.settle_debt is not None:
            self._debts.pop(change.settle_debt, None)
        if change.remember is not None:
            self._keys[change.remember.caller, change.remember.key] = change.remember

    def _check_history(self, query: EventQuery, after: int) -> None:
        oldest = self._forgotten_through + 1
        if query.epoch not in (None, self.epoch):
            raise HistoryGone(after=after, oldest=oldest, reason="epoch")
        if after > self.head:
            raise HistoryGone(after=after, oldest=oldest, reason="ahead")
        if after < self._forgotten_through:
            raise HistoryGone(after=after, oldest=oldest, reason="pruned")
