"""Short ways to make events and to run a relay, for the tests of the bus."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import attrs
import trio

from transport_trio.bus import LinkSettings, NatsBus, NatsSettings, RelaySettings, StreamPlan
from transport_trio.events import Event, EventType, RecordedEvent, SessionCreated, SessionEnded, SessionUpdated
from transport_trio.models import EndReason, Participant, SessionId, SessionStatus, new_session_id
from transport_trio.ports import BusMessage, Change

# Bounds a test that hangs; nothing waits for it on purpose.
LIMIT_S = 20.0
TOLD_S = 10.0
# A busy machine must not look like an outage, and the stream is looked at only when something went wrong.
PATIENT = NatsSettings(link=LinkSettings(connect_s=10, ack_s=10), look_s=3600, retry_base_s=0.02, retry_max_s=0.1)
# For what the bus is to find out by looking.
WATCHFUL = attrs.evolve(PATIENT, look_s=0.05)
# For servers that do not answer: the wait for an ack is what the test is about.
HASTY = attrs.evolve(PATIENT, link=LinkSettings(connect_s=10, ack_s=1))
QUICK_RELAY = RelaySettings(retry_base_s=0.02, retry_max_s=0.1, save_s=0.05)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def with_window(settings: NatsSettings, window_s: float) -> NatsSettings:
    return attrs.evolve(settings, stream=StreamPlan(duplicate_window_s=window_s))


def event(
    event_id: int,
    session_id: SessionId,
    type_: EventType = EventType.SESSION_UPDATED,
    *,
    body: bytes = b'{"type":"session_updated"}',
    time: datetime = NOON,
) -> RecordedEvent:
    return RecordedEvent(event_id, session_id, type_, time, body)


def tells(*session_ids: SessionId, end: bool = False, people: int = 0) -> Change:
    """Events of these sessions, one each, in this order; with `end` the last of their lives."""
    return Change(events=tuple(_told(session_id, end, people) for session_id in session_ids))


def _told(session_id: SessionId, end: bool, people: int) -> Event:
    now = datetime.now(UTC)
    if end:
        return SessionEnded(session_id=session_id, time=now, reason=EndReason.REQUESTED)
    crowd = tuple(Participant(id=f"p-{n}", name="Ada Lovelace", joined_at=now) for n in range(people))
    return SessionUpdated(session_id=session_id, time=now, status=SessionStatus.ACTIVE, participants=crowd)


def births(*session_ids: SessionId) -> Change:
    """The first events of these sessions."""
    now = datetime.now(UTC)
    return Change(
        events=tuple(
            SessionCreated(
                session_id=session_id,
                time=now,
                provider="daily",
                room_name="hello",
                room_url="https://acme.daily.co/hello",
                status=SessionStatus.CREATED,
                session_expires_at=now,
            )
            for session_id in session_ids
        )
    )


class Writer:
    """A journal's worth of messages for one session, each fenced by the one before."""

    def __init__(self, bus: NatsBus, epoch: str | None = None, session_id: SessionId | None = None) -> None:
        self.bus, self.epoch = bus, epoch or str(uuid.uuid4())
        self.session_id = session_id or new_session_id()
        self.fence = 0
        self._ids = itertools.count(1)

    async def write(self, event_id: int | None = None, *, body: bytes = b"{}") -> int:
        number = next(self._ids) if event_id is None else event_id
        message = BusMessage(
            event=event(number, self.session_id, body=body), epoch=self.epoch, expected_last=self.fence
        )
        self.fence = await self.bus.publish(message)
        return self.fence


async def until(holds: Callable[[], bool]) -> None:
    """Look until it does; the caller sets the scope."""
    while not holds():  # noqa: ASYNC110 -- for what tells nobody: health, logs, metrics
        await trio.sleep(0.005)


async def until_ready(bus: NatsBus) -> None:
    with trio.fail_after(LIMIT_S):
        await bus.wait_ready()


async def until_told(bus: NatsBus, text: str) -> str:
    """What `/ready` says, once that holds `text`."""
    with trio.move_on_after(TOLD_S):
        await until(lambda: text in bus.health().message)
        return bus.health().message
    raise AssertionError(f"{text!r} is not in {bus.health()!r}")


async def until_away(bus: NatsBus) -> str:
    """What `/ready` says once the bus has noticed that something is wrong."""
    return await until_told(bus, " ")
