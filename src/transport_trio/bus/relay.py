"""The relay: reads the journal from its bookmark on and delivers; first come the acks, then the bookmark moves."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import attrs
import trio

from transport_trio.bus.backoff import Backoff
from transport_trio.bus.delivery import IN_FLIGHT_MAX, Delivery
from transport_trio.errors import BusUnavailable, HistoryGone, StorageUnavailable
from transport_trio.events import RecordedEvent
from transport_trio.metrics import Metrics
from transport_trio.ports import Bus, EventPage, EventQuery, Journal

log = logging.getLogger(__name__)

T = TypeVar("T")

READER = "nats"


@attrs.frozen(kw_only=True)
class RelaySettings:
    """How patient the relay is. Only tests change the numbers."""

    retry_base_s: float = 0.2
    retry_max_s: float = 5.0
    save_s: float = 1.0  # the stored bookmark may lag so long: after a crash the stream tells what is there
    look_s: float = 30.0  # a net under `on_commit`, which wakes us


class Relay:
    """Feeds the bus from the journal: run it once, with `run`."""

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        metrics: Metrics,
        *,
        on_rollback: Callable[[], Awaitable[object]],
        settings: RelaySettings | None = None,
    ) -> None:
        """`on_rollback` must begin a new epoch: the stream has shown that the journal lost events it had announced."""
        self._journal, self._bus = journal, bus
        self._rollbacks = metrics.journal_rollbacks.labels("stream")
        self._on_rollback = on_rollback
        self._settings = settings or RelaySettings()
        self._delivery = Delivery(journal, bus, metrics, backoff=self._backoff, on_rollback=self._begin_anew)
        # Before NATS can be asked, a journal that was rolled back may have outgrown the ids it lost.
        self._head_at_start = journal.head
        self._renewing = trio.Lock()
        self._mark: int | None = None  # every event up to here is settled; None: not known yet
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
        """Deliver until cancelled. What was cut off is found out by the next service that runs on this journal."""
        mark = await self._begin()
        await self._look_for_rollback()
        while True:
            self._woken = trio.Event()
            page = await self._read(mark)
            if page.events:
                await self._delivery.deliver(page.events)
                mark = page.events[-1].id
            else:
                mark = page.last_event_id
            self._move(mark)
            if mark - self._saved >= IN_FLIGHT_MAX or trio.current_time() >= self._save_at:
                await self._save()
            if mark >= self._journal.head:
                await self._idle()

    async def drain(self) -> None:
        """Return when everything in the journal is delivered and the bookmark stored; the caller sets the scope."""
        while self._mark is None or self.pending:
            await self._moved.wait()
        await self._save()

    # --- the journal --------------------------------------------------------------------------------------------

    def _on_commit(self, events: Sequence[RecordedEvent]) -> None:
        self._woken.set()

    async def _begin(self) -> int:
        mark = await self._patiently(lambda: self._journal.bookmark(READER))
        if mark is None:
            page = await self._patiently(lambda: self._journal.events(EventQuery(limit=1)))
            mark = page.events[0].id - 1 if page.events else page.last_event_id
        self._saved = mark
        self._move(mark)
        return mark

    async def _read(self, after: int) -> EventPage:
        query = EventQuery(after=after, limit=IN_FLIGHT_MAX)
        try:
            return await self._patiently(lambda: self._journal.events(query))
        except HistoryGone as exc:
            gone = {"after": after, "oldest": exc.oldest, "reason": exc.reason}
        log.error("undelivered events are gone", extra=gone)
        return await self._patiently(lambda: self._journal.events(EventQuery(limit=IN_FLIGHT_MAX)))

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
        with trio.move_on_at(min(self._save_at, trio.current_time() + self._settings.look_s)):
            await self._woken.wait()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer, with back-off."""
        backoff = self._backoff()
        while True:
            try:
                return await ask()
            except (StorageUnavailable, BusUnavailable) as exc:
                log.debug("relay waits", extra={"error": str(exc)})
            await trio.sleep(backoff.next_s())

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.retry_base_s, self._settings.retry_max_s)

    # --- a journal that was rolled back -------------------------------------------------------------------------

    async def _look_for_rollback(self) -> None:
        head, epoch = self._head_at_start, self._journal.epoch
        self._head_at_start = 0
        if head == 0:
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
        """Have a new epoch begun, once: ids above our head belong to events that this journal has lost."""
        async with self._renewing:
            if self._journal.epoch == epoch:
                log.error("journal was rolled back", extra={"head": self._journal.head, "stream_has": found})
                await self._patiently(self._on_rollback)
                self._rollbacks.inc()
