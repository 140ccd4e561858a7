"""Keeping under a provider's rate limits: callers stand in line instead of being refused by the provider.

Time is Trio's clock, there is no I/O: tests run it on `autojump_clock`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio
from attrs.validators import ge, gt


@attrs.frozen(kw_only=True)
class Limit:
    """At most `count` requests in any `period_s` seconds."""

    count: int = attrs.field(validator=ge(1))
    period_s: float = attrs.field(validator=gt(0))


class LineTooLong(Exception):
    """A turn would come too late; with nobody else in line it would come in `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"no turn within {wait_s:.1f} s")
        self.wait_s = wait_s


class SlotsTaken(Exception):
    """The rate would have allowed it, but too many requests were still under way."""


class Lane:
    """One line of callers: first come, first served, no faster than the limit, at most `slots` under way.

    A cancelled caller leaves the line, and whoever is behind moves up. The line is as long as the callers'
    patience: who would wait for too long is refused at once.
    """

    def __init__(self, limit: Limit, slots: int) -> None:
        self._limit = limit
        self._line = trio.Lock()
        self._under_way = trio.Semaphore(slots)
        self._granted: deque[float] = deque(maxlen=limit.count)
        self._paused_until = 0.0

    @asynccontextmanager
    async def turn(self, latest: float) -> AsyncIterator[None]:
        """Wait for the caller's turn, and hold a slot until the end of the block.

        Raises:
            LineTooLong: the turn would not come before `latest` (Trio's clock).
            SlotsTaken: no request under way ended until `latest`.
        """
        if (wait_s := self.expected_wait_s()) >= latest - trio.current_time():
            raise LineTooLong(wait_s)
        with trio.move_on_at(latest) as patience:
            await self._wait_for_turn()
        if patience.cancelled_caught:
            # The pause may have been extended meanwhile, by a 429 of somebody before us.
            if (wait_s := self._next_free() - trio.current_time()) > 0:
                raise LineTooLong(wait_s)
            raise SlotsTaken
        try:
            yield
        finally:
            self._under_way.release()

    def pause(self, wait_s: float) -> None:
        """Let nobody go for `wait_s`: the provider counts otherwise than we do, or somebody shares our key."""
        self._paused_until = max(self._paused_until, trio.current_time() + wait_s)

    def expected_wait_s(self) -> float:
        """How long somebody who joined the line now would wait for the rate alone."""
        line = self._line.statistics()
        ahead = line.tasks_waiting + line.locked
        now = trio.current_time()
        start = max(now, self._paused_until)
        granted = list(self._granted)
        free = self._limit.count - len(granted)
        rounds, place = divmod(ahead - free, self._limit.count)
        if rounds < 0:
            return start - now
        # A turn becomes free one period after it was taken; turns not taken yet will be taken at `start`.
        taken = granted[place] if place < len(granted) else start
        return max(taken + self._limit.period_s, start) + rounds * self._limit.period_s - now

    async def _wait_for_turn(self) -> None:
        async with self._line:
            await self._under_way.acquire()
            try:
                # Looked at again after each sleep: a pause may have been extended meanwhile.
                while (free_at := self._next_free()) > trio.current_time():  # noqa: ASYNC110
                    await trio.sleep_until(free_at)
            except BaseException:
                self._under_way.release()
                raise
            self._granted.append(trio.current_time())

    def _next_free(self) -> float:
        if len(self._granted) < self._limit.count:
            return self._paused_until
        return max(self._granted[0] + self._limit.period_s, self._paused_until)
