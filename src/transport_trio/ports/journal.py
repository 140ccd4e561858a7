"""What sessions, hub and relay ask of the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from transport_trio.events import Event, EventType, RecordedEvent
from transport_trio.models import Check, IdempotencyRecord, RoomDebt, RoomIntent, Session, SessionId, SessionStatus


@attrs.frozen(kw_only=True)
class Change:
    """What one commit writes; all of it or nothing. `session.version` is ignored: the journal counts.

    `expected_version` is the version the writer read (0: the session is new).
    """

    session: Session | None = None
    expected_version: int = 0
    events: tuple[Event, ...] = ()
    add_intent: RoomIntent | None = None
    settle_intent: SessionId | None = None
    add_debt: RoomDebt | None = None
    settle_debt: SessionId | None = None
    remember: IdempotencyRecord | None = None


@attrs.frozen(kw_only=True)
class SessionQuery:
    status: SessionStatus | None = None
    provider: str | None = None
    limit: int = 100
    cursor: str | None = None  # opaque; from `SessionPage.next_cursor`


@attrs.frozen(kw_only=True)
class SessionPage:
    sessions: tuple[Session, ...]
    total: int
    next_cursor: str | None


@attrs.frozen(kw_only=True)
class EventQuery:
    """`after=None`: from the oldest kept. `epoch=None`: whichever journal this is."""

    after: int | None = None
    epoch: str | None = None
    limit: int = 100
    session_ids: frozenset[str] | None = None
    types: frozenset[EventType] | None = None


@attrs.frozen(kw_only=True)
class EventPage:
    """`last_event_id` is the last id looked at, whatever the filter let through: go on from there."""

    events: tuple[RecordedEvent, ...]
    last_event_id: int


@attrs.frozen(kw_only=True)
class Snapshot:
    """The unfinished sessions, and the id of the last event they include; read in one transaction."""

    sessions: tuple[Session, ...]
    last_event_id: int


OnCommit = Callable[[Sequence[RecordedEvent]], None]


class Journal(Protocol):
    """What the service remembers. Every call may raise `StorageUnavailable`.

    Cancelling `commit` ends the waiting, not the commit: it is done or not, as with a lost answer.
    """

    @property
    def epoch(self) -> str:
        """A random name of this journal: ids mean nothing in another one."""

    @property
    def head(self) -> int:
        """The id of the last event that was committed and announced (0: none ever)."""

    def on_commit(self, tell: OnCommit) -> None:
        """Have `tell` called, synchronously and in id order, with each group of events before its writers go on."""

    async def commit(self, change: Change) -> Session | None:
        """Write the change durably; the session as stored, with its new version.

        Raises:
            VersionConflict: the stored version is not `expected_version`; nothing was written.
        """

    async def get(self, session_id: str) -> Session | None: ...

    async def sessions(self, query: SessionQuery) -> SessionPage:
        """A page of sessions, newest first.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """

    async def events(self, query: EventQuery) -> EventPage:
        """A page of events in id order.

        Raises:
            HistoryGone: `after` is older than what is kept, ahead of us, or of another epoch.
        """

    async def snapshot(self, session_ids: frozenset[str] | None = None) -> Snapshot: ...

    async def intents(self) -> tuple[RoomIntent, ...]: ...

    async def debts(self) -> tuple[RoomDebt, ...]: ...

    async def recall(self, caller: str, key: str) -> IdempotencyRecord | None: ...

    async def bookmark(self, reader: str) -> int | None:
        """Where a reader of the journal stands; None when it has never read."""

    async def advance(self, reader: str, event_id: int) -> None:
        """Move a reader's bookmark; it may lag after a crash, so readers cope with seeing events again."""

    def health(self) -> Check: ...
