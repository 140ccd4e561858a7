"""One listener: where it stands in the journal, what waits for it, and when it is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING
from uuid import uuid4

import trio

from transport_trio.errors import HistoryGone
from transport_trio.hub.filter import Filter, Subscription
from transport_trio.hub.group import Group
from transport_trio.hub.line import Line
from transport_trio.hub.outbox import Outbox
from transport_trio.hub.pages import FramedPage
from transport_trio.hub.snapshots import FramedSnapshot
from transport_trio.wire import socket as wire

if TYPE_CHECKING:
    from transport_trio.hub.hub import Hub


class Phase(Enum):
    SNAPSHOT = auto()  # the next thing to load is a snapshot
    REPLAY = auto()  # the next thing to load is the page after the cursor
    LIVE = auto()  # the hub hands events over as they are committed


class Listener:
    """Made by `Hub.join`. Everything is synchronous, so that no task can slip in between.

    `cursor` is the last id that this listener's filter has seen: what it lets through up to there is sent or waits for
    room. Whoever is live is in a group, and may have to be given what waits there.
    """

    __slots__ = (
        "_backlog_max_bytes",
        "_high_water",
        "_hub",
        "attended",
        "closed_for",
        "cursor",
        "epoch",
        "filter",
        "group",
        "heard_at",
        "id",
        "is_open",
        "line",
        "outbox",
        "phase",
        "send",
        "turn",
    )

    def __init__(
        self, hub: Hub, wish: Subscription, connect: Callable[[Listener], Line], *, backlog_max_bytes: int
    ) -> None:
        self.id = uuid4().hex
        self.filter = wish.filter
        self.epoch = hub.epoch
        self.cursor = hub.head
        self.phase = Phase.SNAPSHOT if wish.snapshot else Phase.LIVE
        if wish.after is not None:
            self.cursor, self.phase = wish.after, Phase.REPLAY
            self.epoch = wish.epoch or hub.epoch
        self.group: Group | None = None  # while it is live
        self.outbox: Outbox | None = None  # while something waits
        self.attended = False  # the hub has a task for it
        self.turn = 0  # of the heart
        self.is_open = True  # it is neither closed nor has its peer gone
        self.closed_for: wire.Close | None = None
        self.heard_at = trio.current_time()
        self._hub = hub
        self._backlog_max_bytes = backlog_max_bytes
        self._high_water = 0  # backlog after the latest event
        self.line: Line = connect(self)
        self.send = self.line.send

    @property
    def is_live(self) -> bool:
        return self.group is not None

    @property
    def backlog_bytes(self) -> int:
        return self.outbox.backlog_bytes if self.outbox is not None else 0

    def settle(self) -> int:
        """Get what waits in the group; where to resume after that."""
        if self.group is not None:
            self.group.give((self,))
        if self.group is not None:  # it may have turned out too slow
            self.cursor = max(self.cursor, self._hub.head)
        return self.cursor

    def greet(self, head: bytes, *, heartbeat_s: float) -> None:
        """Send `head` and the welcome."""
        hub = self._hub
        body = wire.welcome(listener_id=self.id, epoch=hub.epoch, last_event_id=hub.head, heartbeat_s=heartbeat_s)
        self._put(head + wire.text_frame(body))
        hub.count(1)

    # --- what the listener says

    def subscribe(self, filter_: Filter) -> None:
        """Replace the filter; the answer stands between the last frame of the old and the first of the new one."""
        position = self.settle()
        with self._hub.regrouping(self):
            self.filter = filter_
        self.reply(wire.subscribed(position))

    def reply(self, body: bytes) -> None:
        """Send a message to this listener alone, in order with its events."""
        self.reply_frame(wire.text_frame(body))

    def reply_frame(self, frame: bytes) -> None:
        """Likewise; a listener that has not read what it was sent is closed when it goes on asking."""
        if not self.is_open:
            return
        if self.backlog_bytes > max(self._backlog_max_bytes, self._high_water):
            self.close(wire.Close.TOO_SLOW)
        else:
            self._put(frame)
            self._hub.count(1)

    def close(self, reason: wire.Close) -> None:
        """Close the listener; the first reason counts. What is queued is still sent, unless it cannot be read."""
        hopeless = reason in (wire.Close.TOO_SLOW, wire.Close.SILENT)
        if self.is_open and not hopeless:
            self.settle()
        if not self.is_open:
            return
        self.closed_for = reason
        self._end(only_paced=not hopeless)
        self._hub.closed(self, reason)
        self._put(wire.close_frame(reason))
        self.line.close_soon()

    def part(self, goodbye: bytes) -> None:
        """The peer has said goodbye: it gets this answer and nothing else."""
        if self.is_open:
            self._end()
            self._put(goodbye)
            self.line.close_soon()

    def lose(self) -> None:
        """The peer has gone, or can be told nothing any more: its connection must not outlive that."""
        self._end()
        self.outbox = None
        self.line.cut()

    def _end(self, *, only_paced: bool = False) -> None:
        self.is_open = False
        self._hub.ungroup(self)
        if self.outbox is not None:
            self.outbox.drop(only_paced=only_paced)

    # --- what goes out

    def keep(self, run: bytes, sent: int = 0, *, paced: bool = False) -> None:
        """Keep what there was no room for."""
        if self.outbox is None:
            self.outbox = Outbox()
        self.outbox.put(run, sent=sent, paced=paced)
        self._high_water = self.outbox.backlog_bytes
        self._hub.attend(self)

    def lag(self, run: bytes) -> None:
        """Queue live events behind others that wait; a listener that lags too far behind is closed instead."""
        self.flush()
        if self.backlog_bytes > self._backlog_max_bytes:
            self.close(wire.Close.TOO_SLOW)
        elif self.is_open:
            self.keep(run)

    def flush(self) -> int:
        """Send of what waits as much as there is room for; how many bytes that was."""
        if self.outbox is None:
            return 0
        try:
            return self.outbox.flush(self.send)
        except OSError:
            self.lose()
            return 0

    def _put(self, frame: bytes) -> None:
        if self.outbox is not None:
            self.outbox.put(frame)
            return
        try:
            sent = self.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lose()
            return
        if sent < len(frame):
            self.keep(frame, sent)

    # --- what the history says

    def rewind(self) -> None:
        """The journal began a new epoch: go back to reading it, which finds that our history is gone."""
        self.settle()
        self.phase = Phase.REPLAY
        self._hub.ungroup(self)
        self._hub.attend(self)

    def take_page(self, page: FramedPage) -> None:
        self.cursor = page.last_event_id
        if page.frames:
            self._pace((page.run,), page.frames)
        if self.is_open and self.cursor >= self._hub.head:
            # No await since the page was read: the next event that the hub is told follows it.
            with self._hub.regrouping(self):
                self.phase = Phase.LIVE

    def take_snapshot(self, snapshot: FramedSnapshot) -> None:
        self.cursor, self.phase = snapshot.last_event_id, Phase.REPLAY
        self._pace(snapshot.frames, len(snapshot.frames))

    def take_gap(self, gone: HistoryGone) -> None:
        """The history asked for is gone: say so, and go on with a snapshot."""
        self.epoch, self.cursor, self.phase = self._hub.epoch, self._hub.head, Phase.SNAPSHOT
        self._hub.gap_told(gone.reason)
        gap = wire.gap(after=gone.after, oldest=gone.oldest, reason=gone.reason, epoch=self.epoch)
        self._pace((wire.text_frame(gap),), 1)

    def _pace(self, runs: Iterable[bytes], frames: int) -> None:
        if self.is_open:
            for run in runs:
                self.keep(run, paced=True)
            self.flush()
            self._hub.count(frames)
