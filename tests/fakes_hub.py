"""A hub over a small journal that tests can stop, prune and break."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import trio
from prometheus_client import CollectorRegistry
from trio.testing import wait_all_tasks_blocked

from transport_trio.errors import HistoryGone, StorageUnavailable
from transport_trio.events import EventType, RecordedEvent
from transport_trio.hub import Hub, Listener, Subscription, open_hub
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
        if self.failures < 0:
            raise RuntimeError("a bug")
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("the disk is gone")


class Pipe:
    """A line to a client in memory. With `room` it takes that many bytes, and then no more until it is given more."""

    def __init__(self, room: int | None = None) -> None:
        self.received = b""
        self.room = room
        self.is_cut = False
        self.is_closing = False
        self.has_unread = False
        self.writes: list[bytes | memoryview] = []
        self._more = trio.Event()
        self._news = trio.Event()

    def send(self, data: bytes | memoryview) -> int:
        if self.is_cut:
            raise BrokenPipeError
        if self.room == 0:
            raise BlockingIOError
        taken = bytes(data[: self.room])
        self.received += taken
        self.writes.append(data)
        self._news.set()
        if self.room is not None:
            self.room -= len(taken)
        return len(taken)

    def make_room(self, size: int | None) -> None:
        self.room = size
        self._more.set()
        self._more = trio.Event()

    async def wait_room(self) -> None:
        while not self.is_cut:
            if self.room != 0:
                await trio.lowlevel.checkpoint()
                return
            await self._more.wait()
        raise trio.ClosedResourceError

    def close_soon(self) -> None:
        self.is_closing = True
        self._news.set()

    def sent_all(self) -> None:
        pass

    def cut(self) -> None:
        self.is_cut = True
        self.make_room(0)
        self._news.set()

    async def wait_news(self) -> None:
        """Return when something has come since the last call, or nothing ever will."""
        await self._news.wait()
        if not self.is_cut:
            self._news = trio.Event()


class Rig:
    """A hub, its journal and its metrics; `happen` commits and tells as the journal's commit loop does."""

    def __init__(self, journal: Any, hub: Hub, metrics: Metrics, settings: Settings) -> None:
        self.journal = journal
        self.hub = hub
        self.metrics = metrics
        self.settings = settings

    def happen(self, *session_ids: str, type_: EventType = EventType.SESSION_UPDATED, size: int = 0) -> list[int]:
        events = [self.journal.commit(session_id, type_, size) for session_id in session_ids]
        self.tell(events)
        return [event.id for event in events]

    def tell(self, events: list[RecordedEvent]) -> None:
        if events:
            self.journal.head = events[-1].id
        self.hub.tell(events)

    @contextmanager
    def listening(self, wish: Subscription | None = None, room: int | None = None) -> Iterator[Ear]:
        pipe = Pipe(room)
        listener = self.hub.join(wish or Subscription(), lambda _: pipe)
        try:
            yield Ear(listener, pipe)
        finally:
            pipe.cut()
            self.hub.leave(listener)

    def dropped(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value("transport_listeners_dropped_total", {"reason": reason})
        return value or 0.0


R = TypeVar("R", bound=Rig)


@asynccontextmanager
async def open_rig(journal: Any = None, *, kind: type[R] = Rig, **changes: Any) -> AsyncIterator[R]:  # type: ignore[assignment]
    journal = journal or TinyJournal()
    metrics = Metrics.create(CollectorRegistry())
    settings = Settings(**changes)
    async with open_hub(journal, metrics, settings) as hub:
        yield kind(journal, hub, metrics, settings)


class Ear:
    """Reads what a listener is sent, as its client would."""

    def __init__(self, listener: Listener, pipe: Pipe) -> None:
        self.listener = listener
        self.pipe = pipe

    async def hear(self) -> list[dict[str, Any]]:
        """Everything that has come when all tasks wait; `{"close": code}` for a close frame."""
        await wait_all_tasks_blocked()
        return self.take()

    def take(self) -> list[dict[str, Any]]:
        """Everything that has come so far."""
        heard, self.pipe.received = messages(self.pipe.received)
        return heard

    async def ids(self) -> list[int]:
        return [message["id"] for message in await self.hear() if "id" in message]


def messages(data: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The text messages and close codes in a run of server frames, and the rest that is no whole frame."""
    found: list[dict[str, Any]] = []
    while len(data) >= 2:
        opcode, size, start = data[0], data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        if len(data) < start + size:
            break
        payload, data = data[start : start + size], data[start + size :]
        if opcode == 0x81:
            found.append(json.loads(payload))
        elif opcode == 0x88:
            found.append({"close": int.from_bytes(payload[:2])})
    return found, data
