"""The time of day, and waits for a point in it that survive clock jumps and suspend.

Trio's deadlines run on the monotonic clock, which stands still while the machine is suspended and knows nothing
of a wall clock that is set. So a wait for a point in the world is bounded by Trio's clock and looked at anew
after each jump.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import trio

from transport_trio.errors import TransportError

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 10.0
JUMP_S = 5.0  # more than NTP slews between two looks, less than anybody's expiry
ASK_S = 10.0  # a provider that does not answer must not hold up the timers


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day, aware, UTC."""

    async def sleep_until(self, at: datetime) -> None:
        """Return at `at` or soon after; at once when it has passed. Clock jumps are taken into account."""


class SystemClock:
    """The wall clock, corrected by the provider's when the two disagree after a jump."""

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_jump: Callable[[], None] = lambda: None,
    ) -> None:
        self._wall = wall
        self._on_jump = on_jump
        self._correction = timedelta()
        self._jumped = trio.Event()

    def now(self) -> datetime:
        return self._wall() + self._correction

    async def sleep_until(self, at: datetime) -> None:
        while (left_s := (at - self.now()).total_seconds()) > 0:
            with trio.move_on_after(left_s):
                await self._jumped.wait()
        await trio.lowlevel.checkpoint()

    async def watch(self, ask: Callable[[], Awaitable[datetime | None]]) -> None:
        """Compare wall and monotonic clock for ever; after a jump ask the provider's clock and wake every sleeper."""
        while True:
            wall, monotonic = self._wall(), trio.current_time()
            await trio.sleep(WATCH_INTERVAL_S)
            jump_s = (self._wall() - wall).total_seconds() - (trio.current_time() - monotonic)
            if abs(jump_s) <= JUMP_S:
                continue
            await self._believe(ask)
            log.warning(
                "clock jumped",
                extra={"jump_s": round(jump_s, 3), "correction_s": self._correction.total_seconds()},
            )
            self._on_jump()
            self._jumped.set()
            self._jumped = trio.Event()

    async def _believe(self, ask: Callable[[], Awaitable[datetime | None]]) -> None:
        theirs = None
        with trio.move_on_after(ASK_S):
            try:
                theirs = await ask()
            except TransportError as exc:
                log.warning("provider's clock unknown", extra={"error": str(exc)})
        off = theirs - self._wall() if theirs is not None else timedelta()
        self._correction = off if abs(off.total_seconds()) > JUMP_S else timedelta()
