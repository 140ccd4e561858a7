"""A hub over a small journal that tests can stop, prune and break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import trio
from prometheus_client import CollectorRegistry

from transport_trio.errors import HistoryGone, StorageUnavailable
from transport_trio.events import EventType, RecordedEvent
from transport_trio.hub import Hub, Listener, Subscription
from transport_trio.metrics import Metrics
from transport_trio.models import ParticipantConfig, Room, RoomConfig, Session, SessionId, SessionStatus, TokenGrant
from transport_trio.ports import EventPage, EventQuery, Snapshot
from transport_trio.settings import Settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_session(session_id: str, **changes: Any) -> Session:
    fields: dict[str, Any] = {
        "id": SessionId(session_id),
        "provider": "daily",
        "status": SessionStatus.CREATED,
        "room": Room(name=f"tt-{session_id}", url=f"https://x.daily.co/tt-{session_id}"),
        "room_config": RoomConfig(),
        "participant_config": ParticipantConfig(),
        "token": TokenGrant(expires_at=NOW),
        "created_at": NOW,
        "updated_at": NOW,
        "expires_at": NOW,
    }
    return Session(**(fields | changes))


class TinyJournal:
    """What the hub asks of a journal. `told` ids are what the hub knows; what is committed may be further."""

    def __init__(self) -> None:
        self.epoch = "epoch-1"
        self.head = 0
        self.oldest = 1
        self.log: list[RecordedEvent] = []
        self.sessions_now: list[Session] = []
        self.gate: trio.Event | None = None  # reads wait for it
        self.failures = 0
        self.reads: list[EventQuery | str] = []

    def commit(self, session_id: str, type_: EventType = EventType.SESSION_UPDATED, size: int = 0) -> RecordedEvent:
        """Write an event without telling anybody."""
        event_id = self.log[-1].id + 1 if self.log else 1
        body = {"type": type_, "id": event_id, "session_id": session_id, "pad": "x" * size}
        event = RecordedEvent(event_id, SessionId(session_id), type_, NOW, json.dumps(body).encode())
        self.log.append(event)
        return event

    async def events(self, query: EventQuery) -> EventPage:
        self.reads.append(query)
        await self._pass()
        after = query.after or 0
        newest = self.log[-1].id if self.log else 0
        for reason, holds in (
            ("epoch", query.epoch not in (None, self.epoch)),
            ("ahead", after > newest),
            ("pruned", after < self.oldest - 1),
        ):
            if holds:
                raise HistoryGone(after=after, oldest=self.oldest, reason=reason)
        found, last = [], after
        for event in self.log:
            if event.id <= after:
                continue
            if len(found) == query.limit:
                return EventPage(events=tuple(found), last_event_id=last)
            last = event.id
            wanted = query.session_ids is None or event.session_id in query.session_ids
            if wanted and (query.types is None or event.type in query.types):
                found.append(event)
        return EventPage(events=tuple(found), last_event_id=last)

    async def snapshot(self, session_ids: frozenset[str] | None = None) -> Snapshot:
        self.reads.append("snapshot")
        await self._pass()
        chosen = tuple(s for s in self.sessions_now if session_ids is None or s.id in session_ids)
        return Snapshot(sessions=chosen, last_event_id=self.log[-1].id if self.log else 0)

    async def _pass(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("the disk is gone")


class Rig:
    """A hub, its journal and its metrics; `happen` commits and tells as the journal's commit loop does."""

    def __init__(self, journal: Any = None, **settings: Any) -> None:
        self.journal = journal or TinyJournal()
        self.metrics = Metrics.create(CollectorRegistry())
        self.settings = Settings(**settings)
        self.hub = Hub(self.journal, self.metrics, self.settings)

    def happen(self, *session_ids: str, type_: EventType = EventType.SESSION_UPDATED, size: int = 0) -> list[int]:
        events = [self.journal.commit(session_id, type_, size) for session_id in session_ids]
        self.tell(events)
        return [event.id for event in events]

    def tell(self, events: list[RecordedEvent]) -> None:
        if events:
            self.journal.head = events[-1].id
        self.hub.tell(events)

    @contextmanager
    def listening(self, wish: Subscription | None = None) -> Iterator[Ear]:
        with self.hub.listen(wish or Subscription()) as listener:
            yield Ear(listener)

    def dropped(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value("transport_listeners_dropped_total", {"reason": reason})
        return value or 0.0


class Ear:
    """Reads what a listener is sent, as its client would."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    async def hear(self, wait_s: float = 0.001) -> list[dict[str, Any]]:
        """Everything that is to be had now; `{"close": code}` at the end of it all."""
        heard: list[dict[str, Any]] = []
        while True:
            batch = await self.listener.next_batch(trio.current_time() + wait_s)
            if batch is None:
                assert self.listener.closed_for is not None
                return [*heard, {"close": self.listener.closed_for.code}]
            if not batch:
                return heard
            heard += messages(b"".join(batch))

    async def ids(self) -> list[int]:
        return [message["id"] for message in await self.hear() if "id" in message]


def messages(data: bytes) -> list[dict[str, Any]]:
    """The text messages in a run of server frames."""
    found = []
    while data:
        opcode, size, start = data[0], data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        if opcode == 0x81:
            found.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return found
