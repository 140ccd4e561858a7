"""Gives to groups what waits for them, and lets everybody else have their turn meanwhile."""

from __future__ import annotations

from collections import deque

import trio

from transport_trio.hub.group import Group

# A slice is what is done in one go, a millisecond or so: whatever else the service does waits for that long.
SLICE_WRITES = 128
# Small writes cost as much as this one: beyond it the copying counts.
WRITE_BYTES = 8 * 1024


class Broadcaster:
    """Groups have their turn in the order in which something came for them.

    A round through a group takes a write for each member. What comes for the group meanwhile goes, in the same write,
    to those who have not had their turn in this round, and to the others in the next. So an event waits for a round at
    most, however many come, and as more come their writes become fewer and larger.
    """

    def __init__(self) -> None:
        self._turns: deque[Group] = deque()
        self._news = trio.Event()
        self._room = SLICE_WRITES

    def put(self, group: Group, event_id: int, frame: bytes) -> None:
        """An event for everybody in this group."""
        if not group.waiting:
            self._turns.append(group)
            self._news.set()
        group.put(event_id, frame)

    async def run(self) -> None:
        """Task body."""
        while True:
            while self._turns:
                await self._round(self._turns.popleft())
            self._news = trio.Event()
            await self._news.wait()

    async def _round(self, group: Group) -> None:
        due = group.waiting
        members = tuple(group.members)
        start = 0
        while start < len(members):
            cost = max(1, group.run_bytes // WRITE_BYTES)
            end = start + max(1, self._room // cost)
            group.give(members[start:end])
            self._room -= (end - start) * cost
            start = end
            if self._room <= 0:
                self._room = SLICE_WRITES
                await trio.lowlevel.checkpoint()
        group.forget(due)
        if group.waiting:
            self._turns.append(group)
