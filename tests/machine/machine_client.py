"""A listener's client: it filters, resumes, pauses, and keeps all it heard to be compared with the journal."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import trio

from fakes_hub import messages
from transport_trio.hub import Filter, Heartbeat, Hub, Listener, Subscription


@attrs.define
class Stretch:
    """What was heard under one filter: everything that it lets through after `start` is owed, up to `end`."""

    filter: Filter
    start: int
    end: int | None = None
    heard: list[dict[str, Any]] = attrs.field(factory=list)


@attrs.define
class Seen:
    """A snapshot, still to be compared."""

    filter: Filter
    last_event_id: int
    sessions: list[dict[str, Any]]


class Client:
    """Comes back with the last id that it knows, as the contract tells clients to do."""

    def __init__(self, wish: Subscription) -> None:
        self.stretches: list[Stretch] = []
        self.snapshots: list[Seen] = []
        self.gaps: list[dict[str, Any]] = []
        self.wish = wish
        self.listener: Listener | None = None
        self.reading = trio.Event()
        self.reading.set()
        self._filter = wish.filter  # as far as it was told to hold
        self._asked: deque[Filter] = deque()  # and not answered yet
        self._parts: list[dict[str, Any]] = []
        self._scope = trio.CancelScope()

    def hang_up(self) -> None:
        """Vanish, with whatever was on its way."""
        self.listener = None
        self._scope.cancel()

    def subscribe(self, filter_: Filter) -> None:
        """Ask for another filter; without a connection, of the next one."""
        if self.listener is not None:
            self.listener.subscribe(filter_)
            self._asked.append(filter_)
        self.wish = attrs.evolve(self.wish, filter=filter_)

    def toggle(self) -> None:
        """Stop reading, or read on."""
        if self.reading.is_set():
            self.reading = trio.Event()
        else:
            self.reading.set()

    async def run(self, hub: Hub) -> None:
        """Listen until hung up or closed."""
        with trio.CancelScope() as self._scope, hub.listen(self.wish) as listener:
            self.listener = listener
            listener.on_close = self._closed
            heartbeat = Heartbeat(listener, 30)
            self._filter = self.wish.filter
            self._asked.clear()
            self._parts.clear()
            while True:
                await self.reading.wait()
                now = trio.current_time()
                batch = await listener.next_batch(heartbeat.due_at(now))
                if batch is None or self.listener is not listener:
                    break
                for message in messages(b"".join(batch)):
                    self._note(message)
                heartbeat.beat(trio.current_time())
        if self.listener is listener:
            self.listener = None

    def _closed(self) -> None:
        """Whoever reads hears the rest; whoever does not is cut off, as the web does after a while."""
        if not self.reading.is_set():
            self.hang_up()

    def _note(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "welcome":
                if self.wish.after is not None:
                    self._begin(self.wish.after, message["epoch"])
                elif not self.wish.snapshot:
                    self._begin(message["last_event_id"], message["epoch"])
                else:
                    self.wish = attrs.evolve(self.wish, epoch=message["epoch"])
            case "snapshot":
                self._parts += message["sessions"]
                if not message["more"]:
                    self.snapshots.append(Seen(self._filter, message["last_event_id"], self._parts))
                    self._parts = []
                    self._begin(message["last_event_id"], self.wish.epoch)
            case "gap":
                self.gaps.append(message)
            case "subscribed":
                self._filter = self._asked.popleft()
                if self.stretches:
                    self._begin(message["last_event_id"], self.wish.epoch)
            case "ping":
                if self.stretches:
                    self._move(message["last_event_id"])
            case _:
                self.stretches[-1].heard.append(message)
                self._move(message["id"])

    def _begin(self, start: int, epoch: str | None) -> None:
        if self.stretches:
            self.stretches[-1].end = start
        self.stretches.append(Stretch(self._filter, start))
        self.wish = attrs.evolve(self.wish, after=start, epoch=epoch, snapshot=False)

    def _move(self, event_id: int) -> None:
        assert self.wish.after is not None
        assert event_id >= self.wish.after, "the resume point went back"
        self.wish = attrs.evolve(self.wish, after=event_id)
