"""The time of day, and waits for a point in it that survive clock jumps and suspend.

Trio's deadlines run on the monotonic clock, which stands still while the machine is suspended and knows nothing
of a wall clock that is set. So a wait for a point in the world is bounded by Trio's clock and looked at anew
after each jump. ADR 0022 tells whose time counts, and why.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import trio

from transport_trio.errors import TransportError
from transport_trio.models import Check, CheckStatus

log = logging.getLogger(__name__)

# Bounds how late something due after a suspend can be; a look costs microseconds.
WATCH_INTERVAL_S = 1.0
JUMP_S = 5.0  # more than NTP slews between two looks, less than anybody's expiry
ASK_S = 10.0  # one question to the provider
ASK_AGAIN_S = 5.0
NONE = timedelta()

Ask = Callable[[], Awaitable[datetime | None]]


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day, aware, UTC."""

    async def sleep_until(self, at: datetime) -> None:
        """Return at `at` or soon after; at once when it has passed. Clock jumps are taken into account."""


class SystemClock:
    """The wall clock while it goes evenly. From a jump on, time runs on by the monotonic clock, until `settle`."""

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_jump: Callable[[], None] = lambda: None,
    ) -> None:
        self._wall = wall
        self._on_jump = on_jump
        self._correction = NONE
        self._looked: tuple[datetime, float] | None = None
        self._in_doubt = True  # a wall clock that was wrong before our start is wrong all the same
        self._jumps = 0
        self._jumped = trio.Event()
        self._stepped = trio.Event()

    def now(self) -> datetime:
        """The time of day. A jump is noticed here, so nobody is ever told a time from its other side."""
        wall, monotonic = self._wall(), trio.current_time()
        before, self._looked = self._looked or (wall, monotonic), (wall, monotonic)
        jump = wall - before[0] - timedelta(seconds=monotonic - before[1])
        if abs(jump.total_seconds()) > JUMP_S:
            self._notice(jump)
        return wall + self._correction

    async def sleep_until(self, at: datetime) -> None:
        while (left_s := (at - self.now()).total_seconds()) > 0:
            with trio.move_on_after(left_s):
                await self._stepped.wait()
        await trio.lowlevel.checkpoint()

    @property
    def correction_s(self) -> float:
        """How far our time is ahead of the wall clock."""
        return self._correction.total_seconds()

    def check(self) -> Check:
        """For `/ready`: whether the wall clock can be believed."""
        self.now()
        message = ""
        if self._in_doubt and self._jumps:
            message = "the system clock jumped, and the provider has not told yet whether it is right"
        elif self._correction:
            message = f"the system clock is {-self.correction_s:+.0f} s off the provider's, which is believed"
        return Check("clock", CheckStatus.DEGRADED if message else CheckStatus.OK, message)

    async def watch(self, ask: Ask) -> None:
        """Notice jumps for ever; `ask` tells the provider's time, or None where it has none to tell."""
        while True:
            await self.settle(ask)
            with trio.move_on_after(WATCH_INTERVAL_S):
                await self._jumped.wait()
            self.now()

    async def settle(self, ask: Ask) -> None:
        """Return when it is known whose time is right: ask the provider until it has answered after the last jump."""
        while self._in_doubt:
            self.now()
            self._jumped = trio.Event()
            jumps, asked_at = self._jumps, trio.current_time()
            try:
                with trio.fail_after(ASK_S):
                    theirs = await ask()
            except (TransportError, trio.TooSlowError) as exc:
                log.debug("provider's clock unknown", extra={"error": str(exc)})
                await trio.sleep(ASK_AGAIN_S)
                continue
            self.now()
            if jumps == self._jumps:
                self._believe(theirs, trio.current_time() - asked_at)

    def _notice(self, jump: timedelta) -> None:
        # A clock set wrong and a suspend look the same from here. Until we know, late is better than early: an end
        # that is told too soon cannot be taken back.
        self._correction -= jump
        self._jumps += 1
        self._in_doubt = True
        self._jumped.set()
        self._on_jump()
        log.warning("system clock jumped", extra={"jump_s": round(jump.total_seconds(), 3)})

    def _believe(self, theirs: datetime | None, asked_for_s: float) -> None:
        """Take the wall clock's time, or our own, where the provider agrees: both are finer. Else take its own."""

        def agrees(time: datetime) -> bool:
            assert theirs is not None
            return -JUMP_S <= (time - theirs).total_seconds() <= JUMP_S + asked_for_s

        before, wall = self._correction, self._wall()
        if theirs is None or agrees(wall):
            self._correction = NONE
        elif not agrees(wall + before):
            self._correction = theirs - wall
        self._in_doubt = False
        if self._correction or before:
            log.warning("time settled", extra={"correction_s": round(self.correction_s, 3)})
        self._stepped.set()
        self._stepped = trio.Event()
