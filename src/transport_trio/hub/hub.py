"""Tells every listener what it wants to hear, and never waits for one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio

from transport_trio.errors import ListenersFull, Stopping
from transport_trio.events import RecordedEvent
from transport_trio.hub.broadcast import Broadcaster
from transport_trio.hub.filter import Audience, Filter, Subscription
from transport_trio.hub.group import Group
from transport_trio.hub.heart import SILENT_HEARTBEATS, Heart
from transport_trio.hub.history import History
from transport_trio.hub.line import NO_LINE, Line
from transport_trio.hub.listener import Listener, Phase
from transport_trio.metrics import Metrics
from transport_trio.ports import Journal
from transport_trio.settings import Settings
from transport_trio.wire.socket import Close, text_frame

log = logging.getLogger(__name__)

FULL_RETRY_AFTER_S = 10.0
# Who does not take this much in three heartbeats makes no progress worth the name.
PROGRESS_BYTES = 64 * 1024


@attrs.frozen
class HubStatistics:
    listeners: int
    live: int
    sessions: int  # that somebody live listens to by name
    backlog_bytes: int


@asynccontextmanager
async def open_hub(journal: Journal, metrics: Metrics, settings: Settings) -> AsyncIterator[Hub]:
    """A hub at work. Register `Hub.tell` with the journal in the same breath: `journal.on_commit(hub.tell)`."""
    async with trio.open_nursery() as nursery:
        hub = Hub(journal, metrics, settings, nursery)
        nursery.start_soon(hub.broadcaster.run, name="broadcaster")
        nursery.start_soon(hub.heart.run, name="heart")
        try:
            yield hub
        finally:
            nursery.cancel_scope.cancel(reason="the hub is done with")


class Hub:
    """Made by `open_hub`."""

    def __init__(self, journal: Journal, metrics: Metrics, settings: Settings, nursery: trio.Nursery) -> None:
        self.head = journal.head  # the last id that we were told of
        self.epoch = journal.epoch
        self.broadcaster = Broadcaster()
        self.heart = Heart(settings.heartbeat_s)
        self._history = History(journal)
        self._journal = journal
        self._metrics = metrics
        self._settings = settings
        self._nursery = nursery
        self._listeners: dict[Listener, None] = {}
        self._groups: dict[Filter, Group] = {}
        self._audience: Audience[Group] = Audience()
        self._closing = False
        metrics.watch(metrics.listeners, lambda: len(self._listeners))
        metrics.watch(metrics.listeners_lagging, lambda: sum(one.outbox is not None for one in self._listeners))
        metrics.listeners_max.set(settings.listeners_max)

    def join(self, wish: Subscription, connect: Callable[[Listener], Line], greeting: bytes = b"") -> Listener:
        """A listener that is fed from here on, until `leave`, through what `connect` returns; `greeting` goes first.

        Raises:
            ListenersFull, Stopping: refused, and `connect` was not called.
        """
        if self._closing:
            raise Stopping
        if len(self._listeners) >= self._settings.listeners_max:
            raise ListenersFull(self._settings.listeners_max, FULL_RETRY_AFTER_S)
        self._notice_epoch()
        listener = Listener(self, wish, connect, backlog_max_bytes=self._settings.listener_backlog_bytes)
        self._listeners[listener] = None
        self._metrics.listeners_joined.inc()
        self.heart.add(listener)
        listener.greet(greeting, heartbeat_s=self._settings.heartbeat_s)
        if listener.phase is Phase.LIVE:
            self._group(listener)
        else:
            self.attend(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Its connection has ended."""
        listener.lose()
        self.heart.discard(listener)
        del self._listeners[listener]
        listener.line, listener.send = NO_LINE, NO_LINE.send

    def tell(self, events: Sequence[RecordedEvent]) -> None:
        """Have newly committed events, in id order, told to whom they concern. Without events: look at the epoch."""
        self._notice_epoch()
        for event in events:
            self.head = event.id
            frame = None
            for group in self._audience.of(event):
                if frame is None:
                    frame = text_frame(event.body)
                self.broadcaster.put(group, event.id, frame)

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
    def regrouping(self, listener: Listener) -> Iterator[None]:
        """Surrounds a change of the listener's filter or phase; what waits in its old group it must have had."""
        self.ungroup(listener)
        yield
        if listener.is_open and listener.phase is Phase.LIVE:
            self._group(listener)

    def ungroup(self, listener: Listener) -> None:
        group, listener.group = listener.group, None
        if group is None:
            return
        del group.members[listener]
        if not group.members:
            self._audience.discard(group)
            del self._groups[group.filter]

    def attend(self, listener: Listener) -> None:
        """Have a task for it as long as something waits for it: room, or the past."""
        if not listener.attended:
            listener.attended = True
            self._nursery.start_soon(self._attend, listener, name="listener that something waits for")

    def count(self, frames: int) -> None:
        self._metrics.frames_sent.inc(frames)

    def gap_told(self, reason: str) -> None:
        self._metrics.listener_gaps.labels(reason).inc()

    def closed(self, listener: Listener, reason: Close) -> None:
        self._metrics.listeners_dropped.labels(reason.label).inc()
        if reason is not Close.STOPPING:  # these are logged together
            log.info(
                "listener closed",
                extra={"listener_id": listener.id, "reason": reason.label, "code": reason.code},
            )

    def _group(self, listener: Listener) -> None:
        group = self._groups.get(listener.filter)
        if group is None:
            group = self._groups[listener.filter] = Group(listener.filter, self._metrics)
            self._audience.add(group)
        group.members[listener] = None
        listener.group = group
        listener.cursor = max(listener.cursor, self.head)

    async def _attend(self, listener: Listener) -> None:
        try:
            while True:
                if listener.outbox is not None:
                    await self._drain(listener)
                elif listener.is_open and listener.phase is not Phase.LIVE:
                    await self._history.load(listener)
                else:
                    break
        except trio.ClosedResourceError:
            pass  # its connection has ended
        except Exception:  # contained here: the other listeners have nothing to do with it
            log.exception("listener failed", extra={"listener_id": listener.id})
            listener.line.cut()
        finally:
            listener.attended = False

    async def _drain(self, listener: Listener) -> None:
        """Return when nothing waits for room any more. Who makes no progress is cut."""
        stall_s = SILENT_HEARTBEATS * self._settings.heartbeat_s
        taken = 0
        with trio.move_on_after(stall_s) as patience:
            while True:
                taken += listener.flush()
                if listener.outbox is None or listener.outbox.is_empty:
                    break
                if taken >= PROGRESS_BYTES:
                    taken, patience.deadline = 0, trio.current_time() + stall_s
                await listener.line.wait_room()
        if patience.cancelled_caught:
            listener.close(Close.TOO_SLOW)
            listener.line.cut()
            listener.outbox = None
            return
        listener.outbox = None
        if not listener.is_open:
            listener.line.sent_all()

    def _notice_epoch(self) -> None:
        if self._journal.epoch == self.epoch:
            return
        for listener in tuple(self._listeners):
            if listener.is_live:
                listener.rewind()
        self.epoch, self.head = self._journal.epoch, self._journal.head
