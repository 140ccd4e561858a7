"""A listener's client: it filters, resumes, pauses, and keeps all it heard to be compared with the journal."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import trio

from fakes_hub import Ear, Pipe
from transport_trio.hub import Filter, Hub, Listener, Subscription


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
        self.reading = True
        self._pipe = Pipe()
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
        self.reading = not self.reading
        self._pipe.make_room(None if self.reading else 0)

    async def run(self, hub: Hub) -> None:
        """Listen until hung up or closed."""
        self._pipe = Pipe(None if self.reading else 0)
        with trio.CancelScope() as self._scope:
            ear = Ear(hub.join(self.wish, lambda _: self._pipe), self._pipe)
            self.listener = ear.listener
            self._filter = self.wish.filter
            self._asked.clear()
            self._parts.clear()
            try:
                await self._hear(ear)
            finally:
                ear.pipe.cut()
                hub.leave(ear.listener)
        if self.listener is ear.listener:
            self.listener = None

    async def _hear(self, ear: Ear) -> None:
        """Note what comes, until all of it has come; who reads nothing is cut off, as the web does after a while."""
        while True:
            await ear.pipe.wait_news()
            for message in ear.take():
                self._note(message)
            ear.listener.heard_at = trio.current_time()
            if ear.pipe.is_closing and (not self.reading or ear.listener.outbox is None):
                break

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case None:
                pass  # a close frame
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
