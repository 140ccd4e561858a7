"""What waits to be sent to one listener."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import trio


class Inbox:
    """Frames in the order in which they go out. Paced frames (a page of the journal, a snapshot) go first: they are
    loaded only when all before them has gone, and are no backlog. The others are, and may lag by `max_bytes`.

    Events come in rounds, one for each commit. A single round may be larger than `max_bytes`, and nobody can read
    while it is handed out, so whoever is over the limit is too slow only when the next round finds them there.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._paced: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._round = 0
        self._high_water = 0  # backlog after the latest event
        self._news: trio.Event | None = None
        self.backlog_bytes = 0

    def pace(self, frames: Iterable[bytes]) -> None:
        self._paced.extend(frames)

    def put_event(self, frame: bytes, round_: int) -> bool:
        """Queue a live event; False when the listener is too slow."""
        if self.backlog_bytes > self._max_bytes and round_ != self._round:
            return False
        self._put(frame)
        self._round, self._high_water = round_, self.backlog_bytes
        return True

    def put_reply(self, frame: bytes) -> bool:
        """Queue what is for this listener alone; False when it talks without listening."""
        if self.backlog_bytes > max(self._max_bytes, self._high_water):
            return False
        self._put(frame)
        return True

    def _put(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self.backlog_bytes += len(frame)
        self.wake()

    def take(self, max_bytes: int) -> list[bytes]:
        """The next frames, together at most `max_bytes`, but one at least if there is any."""
        taken: list[bytes] = []
        size = 0
        for queue in (self._paced, self._waiting):
            while queue and (not taken or size + len(queue[0]) <= max_bytes):
                frame = queue.popleft()
                taken.append(frame)
                size += len(frame)
                if queue is self._waiting:
                    self.backlog_bytes -= len(frame)
            if queue:
                break
        return taken

    def drop_paced(self) -> None:
        self._paced.clear()

    def drop_all(self) -> None:
        self._paced.clear()
        self._waiting.clear()
        self.backlog_bytes = 0

    def wake(self) -> None:
        if self._news is not None:
            self._news.set()

    async def wait(self, until: float) -> None:
        """Return when something was put or `wake` was called, at `until` at the latest."""
        self._news = trio.Event()
        with trio.move_on_at(until):
            await self._news.wait()
        self._news = None
