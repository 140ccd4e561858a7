"""Tells every listener what it wants to hear, and never waits for one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs

from transport_trio.errors import ListenersFull, Stopping
from transport_trio.events import RecordedEvent
from transport_trio.hub.filter import Audience, Subscription
from transport_trio.hub.history import History
from transport_trio.hub.listener import Listener
from transport_trio.metrics import Metrics
from transport_trio.ports import Journal
from transport_trio.settings import Settings
from transport_trio.wire.socket import Close, text_frame

log = logging.getLogger(__name__)

FULL_RETRY_AFTER_S = 10.0


@attrs.frozen
class HubStatistics:
    listeners: int
    live: int
    sessions: int  # that somebody live listens to by name
    backlog_bytes: int


class Hub:
    """Register `tell` with the journal in the same breath: `journal.on_commit(hub.tell)`."""

    def __init__(self, journal: Journal, metrics: Metrics, settings: Settings) -> None:
        self.head = journal.head  # the last id that listeners were told of
        self.epoch = journal.epoch
        self.history = History(journal)
        self._journal = journal
        self._metrics = metrics
        self._settings = settings
        self._listeners: dict[Listener, None] = {}
        self._audience: Audience[Listener] = Audience()
        self._round = 0
        self._closing = False
        metrics.watch(metrics.listeners, lambda: len(self._listeners))

    @contextmanager
    def listen(self, wish: Subscription) -> Iterator[Listener]:
        """A listener that is fed from here on, until the block ends.

        Raises:
            ListenersFull, Stopping: refused.
        """
        if self._closing:
            raise Stopping
        if len(self._listeners) >= self._settings.listeners_max:
            raise ListenersFull(self._settings.listeners_max, FULL_RETRY_AFTER_S)
        self._notice_epoch()
        listener = Listener(
            self,
            wish,
            backlog_bytes=self._settings.listener_backlog_bytes,
            heartbeat_s=self._settings.heartbeat_s,
        )
        self._listeners[listener] = None
        if listener.is_live:
            self._audience.add(listener)
        try:
            yield listener
        finally:
            self._audience.discard(listener)
            del self._listeners[listener]

    def tell(self, events: Sequence[RecordedEvent]) -> None:
        """Hand newly committed events, in id order, to whom they concern. Without events: look at the epoch."""
        self._notice_epoch()
        self._round += 1
        for event in events:
            self.head = event.id
            frame = None
            # A copy: a listener that turns out too slow leaves while we go through them.
            for listener in tuple(self._audience.of(event)):
                if frame is None:
                    frame = text_frame(event.body)
                listener.offer(frame, event.id, self._round)

    def close(self) -> None:
        """Take no more listeners and close those who are there (1001)."""
        self._closing = True
        if self._listeners:
            log.info("listeners closed", extra={"reason": Close.STOPPING.label, "listeners": len(self._listeners)})
        for listener in tuple(self._listeners):
            listener.close(Close.STOPPING)

    def statistics(self) -> HubStatistics:
        return HubStatistics(
            listeners=len(self._listeners),
            live=sum(listener.is_live for listener in self._listeners),
            sessions=self._audience.sessions,
            backlog_bytes=sum(listener.backlog_bytes for listener in self._listeners),
        )

    # --- for listeners

    @contextmanager
    def reindexing(self, listener: Listener) -> Iterator[None]:
        """Surrounds a change of the listener's filter or phase."""
        self._audience.discard(listener)
        yield
        if listener.is_live:
            self._audience.add(listener)

    def gap_told(self, reason: str) -> None:
        self._metrics.listener_gaps.labels(reason).inc()

    def closed(self, listener: Listener, reason: Close) -> None:
        self._audience.discard(listener)
        self._metrics.listeners_dropped.labels(reason.label).inc()
        if reason is not Close.STOPPING:  # these are logged together
            log.info(
                "listener closed",
                extra={"listener_id": listener.id, "reason": reason.label, "code": reason.code},
            )

    def _notice_epoch(self) -> None:
        if self._journal.epoch == self.epoch:
            return
        for listener in tuple(self._listeners):
            if listener.is_live:
                with self.reindexing(listener):
                    listener.rewind()
        self.epoch, self.head = self._journal.epoch, self._journal.head
