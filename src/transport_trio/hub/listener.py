"""One listener: where it stands in the journal, what waits for it, and when it is closed."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING
from uuid import uuid4

import trio

from transport_trio.errors import HistoryGone
from transport_trio.hub.filter import Filter, Subscription
from transport_trio.hub.inbox import Inbox
from transport_trio.hub.snapshots import FramedSnapshot
from transport_trio.ports import EventPage
from transport_trio.wire import socket as wire

if TYPE_CHECKING:
    from transport_trio.hub.hub import Hub

BATCH_BYTES = 64 * 1024  # one write: large enough that system calls do not count, small enough to stay interruptible


class Phase(Enum):
    SNAPSHOT = auto()  # the next thing to load is a snapshot
    REPLAY = auto()  # the next thing to load is the page after the cursor
    LIVE = auto()  # the hub hands events over as they are committed


class Listener:
    """Made by `Hub.listen`. Everything but `next_batch` is synchronous, so that no task can slip in between.

    `cursor` is the last id that this listener's filter has seen: what it lets through up to there is sent or queued.
    """

    def __init__(self, hub: Hub, wish: Subscription, *, backlog_bytes: int, heartbeat_s: float) -> None:
        self.id = uuid4().hex
        self.filter = wish.filter
        self.epoch = hub.epoch
        self.cursor = hub.head
        self.phase = Phase.SNAPSHOT if wish.snapshot else Phase.LIVE
        if wish.after is not None:
            self.cursor, self.phase = wish.after, Phase.REPLAY
            self.epoch = wish.epoch or hub.epoch
        self.closed_for: wire.Close | None = None
        self.on_close: Callable[[], None] = lambda: None
        self._hub = hub
        self._inbox = Inbox(backlog_bytes)
        self.reply(wire.welcome(listener_id=self.id, epoch=hub.epoch, last_event_id=hub.head, heartbeat_s=heartbeat_s))

    @property
    def is_live(self) -> bool:
        return self.phase is Phase.LIVE and self.closed_for is None

    @property
    def position(self) -> int:
        """Where to resume after all that is queued now."""
        return max(self.cursor, self._hub.head) if self.phase is Phase.LIVE else self.cursor

    @property
    def backlog_bytes(self) -> int:
        return self._inbox.backlog_bytes

    # --- what the listener says

    def subscribe(self, filter_: Filter) -> None:
        """Replace the filter; the answer stands between the last frame of the old and the first of the new one."""
        with self._hub.reindexing(self):
            self.filter = filter_
        self.reply(wire.subscribed(self.position))

    def reply(self, body: bytes) -> None:
        """Queue a message for this listener alone, in order with its events."""
        self.reply_frame(wire.text_frame(body))

    def reply_frame(self, frame: bytes) -> None:
        if self.closed_for is None and not self._inbox.put_reply(frame):
            self.close(wire.Close.TOO_SLOW)

    def close(self, reason: wire.Close) -> None:
        """Close the listener; the first reason counts. What is queued is still sent, unless it cannot be read."""
        if self.closed_for is not None:
            return
        self.closed_for = reason
        self._inbox.drop_paced()
        if reason in (wire.Close.TOO_SLOW, wire.Close.SILENT):
            self._inbox.drop_all()
        self._hub.closed(self, reason)
        self._inbox.wake()
        self.on_close()

    # --- what the hub says

    def offer(self, frame: bytes, event_id: int, round_: int) -> None:
        """Queue a live event without waiting; a listener that lags too far behind is closed instead."""
        # A page may end after the hub's head: what was committed but not yet told.
        if event_id > self.cursor and not self._inbox.put_event(frame, round_):
            self.close(wire.Close.TOO_SLOW)

    def rewind(self) -> None:
        """The journal began a new epoch: go back to reading it, which finds that our history is gone."""
        self.cursor = self.position
        self.phase = Phase.REPLAY
        self._inbox.wake()

    # --- what the history says

    def take_page(self, page: EventPage) -> None:
        self.cursor = page.last_event_id
        self._pace([wire.text_frame(event.body) for event in page.events])
        if self.cursor >= self._hub.head:
            # No await since the page was read: the next event that the hub is told follows it.
            with self._hub.reindexing(self):
                self.phase = Phase.LIVE

    def take_snapshot(self, snapshot: FramedSnapshot) -> None:
        self.cursor, self.phase = snapshot.last_event_id, Phase.REPLAY
        self._pace(snapshot.frames)

    def take_gap(self, gone: HistoryGone) -> None:
        """The history asked for is gone: say so, and go on with a snapshot."""
        self.epoch, self.cursor, self.phase = self._hub.epoch, self._hub.head, Phase.SNAPSHOT
        self._hub.gap_told(gone.reason)
        gap = wire.gap(after=gone.after, oldest=gone.oldest, reason=gone.reason, epoch=self.epoch)
        self._pace([wire.text_frame(gap)])

    def _pace(self, frames: list[bytes] | tuple[bytes, ...]) -> None:
        if self.closed_for is None:
            self._inbox.pace(frames)

    # --- what the writer asks

    async def next_batch(self, until: float) -> list[bytes] | None:
        """The frames to send next, at most `BATCH_BYTES` of them unless a single one is larger.

        An empty batch at `until`, or soon after; None when the listener is closed and has had all that it gets.
        Cancellation: nothing is lost, unless the batch is.
        """
        while True:
            if batch := self._inbox.take(BATCH_BYTES):
                return batch
            if self.closed_for is not None:
                return None
            if trio.current_time() >= until:
                return []
            if self.phase is Phase.LIVE:
                await self._inbox.wait(until)
            else:
                await self._hub.history.load(self, until)

    async def rest(self, until: float) -> None:
        """Wait until `until`, or for news."""
        await self._inbox.wait(until)
