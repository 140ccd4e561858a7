"""The relay: reads the journal from its bookmark on and publishes; ack first, then the bookmark moves.

Each message is fenced by the sequence of its session's last message in the stream. So a repeat of one whose ack was
lost is refused by the server if the first copy is there, however late it lands, and the order within a session holds
without trusting the connection. Within a session one message waits for the ack of the one before; sessions do not
wait for each other.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import attrs
import trio

from transport_trio.bus.backoff import Backoff
from transport_trio.bus.fences import Fences
from transport_trio.errors import BusOutOfSequence, BusRefused, BusUnavailable, HistoryGone, StorageUnavailable
from transport_trio.events import EventType, RecordedEvent
from transport_trio.metrics import Metrics
from transport_trio.ports import Bus, BusMessage, EventQuery, Journal

log = logging.getLogger(__name__)

T = TypeVar("T")

READER = "nats"
IN_FLIGHT_MAX = 64


@attrs.frozen(kw_only=True)
class RelaySettings:
    """How patient the relay is. Only tests change the numbers."""

    retry_base_s: float = 0.2
    retry_max_s: float = 5.0
    save_s: float = 1.0  # the bookmark may lag so long: after a crash the stream is asked what is there
    look_s: float = 30.0  # a net under `on_commit`, which wakes us


class Relay:
    """Feeds the bus from the journal. Run it with `run`; one relay serves a journal."""

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        metrics: Metrics,
        *,
        on_rollback: Callable[[], Awaitable[None]],
        settings: RelaySettings | None = None,
    ) -> None:
        """`on_rollback` must begin a new epoch: the stream has shown that the journal lost events it had announced."""
        self._journal, self._bus, self._metrics = journal, bus, metrics
        self._on_rollback = on_rollback
        self._settings = settings or RelaySettings()
        self._fences = Fences()
        # A journal that was rolled back may outgrow its lost ids before NATS can be asked about them.
        self._head_at_start: int | None = journal.head
        self._anew = trio.Lock()
        self._mark: int | None = None  # every event up to here is settled; None: not yet known
        self._saved = 0  # the journal knows it up to here
        self._save_at = math.inf
        self._woken = trio.Event()
        self._moved = trio.Event()
        metrics.watch(metrics.pending_messages, lambda: self.pending)
        journal.on_commit(self._on_commit)

    @property
    def pending(self) -> int:
        """Events that NATS has not acknowledged yet; 0 until the bookmark is known."""
        return 0 if self._mark is None else max(0, self._journal.head - self._mark)

    async def run(self) -> None:
        """Deliver until cancelled; a cancelled run loses nothing, the next one goes on from the bookmark."""
        mark = await self._begin()
        await self._look_for_rollback()
        while True:
            self._woken = trio.Event()
            events = await self._read(mark)
            if events:
                await self._deliver(events)
                mark = events[-1].id
                self._move(mark)
            if mark - self._saved >= IN_FLIGHT_MAX or trio.current_time() >= self._save_at:
                await self._save()
            if not events:
                await self._idle()

    async def drain(self) -> None:
        """Return when everything in the journal is delivered and the bookmark stored; the caller sets the scope."""
        while self._mark is None or self.pending:
            await self._moved.wait()
        await self._save()

    # --- the journal's side -------------------------------------------------------------------------------------

    def _on_commit(self, events: Sequence[RecordedEvent]) -> None:
        self._woken.set()

    async def _begin(self) -> int:
        mark = await self._patiently(lambda: self._journal.bookmark(READER))
        if mark is None:
            page = await self._patiently(lambda: self._journal.events(EventQuery(limit=1)))
            mark = first = page.events[0].id - 1 if page.events else page.last_event_id
            # From now on the journal keeps for us what has not been delivered.
            await self._patiently(lambda: self._journal.advance(READER, first))
        self._saved = mark
        self._move(mark)
        return mark

    async def _read(self, after: int) -> Sequence[RecordedEvent]:
        query = EventQuery(after=after, limit=IN_FLIGHT_MAX)
        try:
            return (await self._patiently(lambda: self._journal.events(query))).events
        except HistoryGone as exc:
            gone = {"after": after, "oldest": exc.oldest, "reason": exc.reason}
        log.error("undelivered events are gone", extra=gone)
        return (await self._patiently(lambda: self._journal.events(EventQuery(limit=IN_FLIGHT_MAX)))).events

    def _move(self, mark: int) -> None:
        self._mark = mark
        if mark != self._saved:
            self._save_at = min(self._save_at, trio.current_time() + self._settings.save_s)
        self._moved.set()
        self._moved = trio.Event()

    async def _save(self) -> None:
        mark = self._mark
        assert mark is not None
        self._save_at = math.inf
        try:
            await self._journal.advance(READER, mark)
        except StorageUnavailable as exc:
            log.warning("bookmark not stored", extra={"bookmark": mark, "error": str(exc)})
            self._save_at = trio.current_time() + self._settings.retry_max_s
        else:
            self._saved = mark

    async def _idle(self) -> None:
        """Wait for the next commit, or for the time to store the bookmark."""
        with trio.move_on_after(self._settings.look_s) as scope:
            scope.deadline = min(scope.deadline, self._save_at)
            await self._woken.wait()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the journal or the bus can answer, with back-off."""
        backoff = self._backoff()
        while True:
            try:
                return await ask()
            except (StorageUnavailable, BusUnavailable) as exc:
                log.debug("relay waits", extra={"error": str(exc)})
            await trio.sleep(backoff.next_s())

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.retry_base_s, self._settings.retry_max_s)

    # --- the stream's side --------------------------------------------------------------------------------------

    async def _look_for_rollback(self) -> None:
        head, epoch = self._head_at_start, self._journal.epoch
        self._head_at_start = None
        if not head:
            return
        since = await self._patiently(lambda: self._time_of(head))

        async def newest() -> int | None:
            await self._bus.wait_ready()
            return await self._bus.newest_id(epoch, since)

        found = await self._patiently(newest)
        if found is not None and found > head:
            await self._begin_anew(epoch, found)

    async def _time_of(self, event_id: int) -> datetime | None:
        try:
            page = await self._journal.events(EventQuery(after=event_id - 1, limit=1))
        except HistoryGone:
            return None
        return page.events[0].time if page.events else None

    async def _begin_anew(self, epoch: str, found: int) -> None:
        async with self._anew:
            if self._journal.epoch == epoch:
                log.error("journal was rolled back", extra={"head": self._journal.head, "stream_has": found})
                await self._patiently(self._on_rollback)

    async def _deliver(self, events: Sequence[RecordedEvent]) -> None:
        """Return when each of the events is in the stream, or can never be."""
        chains: dict[str, deque[RecordedEvent]] = {}
        for event in events:
            chains.setdefault(event.session_id, deque()).append(event)
        left = list(chains.values())
        backoff = self._backoff()
        while left:
            await self._bus.wait_ready()
            async with trio.open_nursery() as nursery:
                for chain in left:
                    nursery.start_soon(self._push, chain)
            left = [chain for chain in left if chain]
            if left:
                log.warning("delivery held up", extra={"sessions": len(left), "pending": self.pending})
                await trio.sleep(backoff.next_s())

    async def _push(self, chain: deque[RecordedEvent]) -> None:
        """Publish a session's events one after the other; those whose fate stays unknown remain in the chain."""
        session_id = chain[0].session_id
        refusals = self._backoff()
        try:
            while chain:
                fence = self._fences.get(session_id)
                if fence is None:
                    fence = await self._catch_up(chain)
                if chain and not await self._publish(chain, fence):
                    await trio.sleep(refusals.next_s())
        except BusUnavailable as exc:
            self._fences.forget(session_id)
            self._metrics.bus_publish_failures.labels("unavailable").inc()
            log.debug("not acknowledged", extra={"session_id": session_id, "error": str(exc)})

    async def _publish(self, chain: deque[RecordedEvent], fence: int) -> bool:
        """Publish the chain's first event; False when the fence kept it out."""
        event = chain[0]
        message = BusMessage(event=event, epoch=self._journal.epoch, expected_last=fence)
        told: dict[str, object] = {"session_id": event.session_id, "event_id": event.id}
        try:
            seq = await self._bus.publish(message)
        except BusOutOfSequence as exc:
            self._fences.forget(event.session_id)
            self._metrics.bus_publish_failures.labels("out_of_sequence").inc()
            log.warning("fence refused an event", extra={**told, "error": str(exc)})
            return False
        except BusRefused as exc:
            told["error"] = str(exc)
        else:
            self._fences.set(event.session_id, seq)
            self._settle(chain)
            return True
        self._metrics.bus_messages_refused.inc()
        log.error("event passed over: NATS will never take it", extra=told)
        chain.popleft()
        return True

    async def _catch_up(self, chain: deque[RecordedEvent]) -> int:
        """Ask the stream how far this session got, drop what is there, and return the fence for the rest."""
        session_id, epoch = chain[0].session_id, self._journal.epoch
        last = await self._bus.last_of(session_id)
        if last is None:
            self._fences.set(session_id, 0)
            return 0
        seq, their_epoch, their_id = last
        if their_epoch != epoch:
            log.warning("stranger's message in a session", extra={"session_id": session_id, "stream_seq": seq})
        elif their_id > self._journal.head:
            await self._begin_anew(epoch, their_id)
        else:
            while chain and chain[0].id <= their_id:
                self._settle(chain)
        self._fences.set(session_id, seq)
        return seq

    def _settle(self, chain: deque[RecordedEvent]) -> None:
        event = chain.popleft()
        self._metrics.delivered_messages.inc()
        if event.type is EventType.SESSION_ENDED:
            self._fences.forget(event.session_id)
