"""Doing something again and again without drifting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def every(interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` now and on each beat until cancelled; long work delays the next beat, never doubles it."""
    tick = trio.current_time()
    while True:
        await work()
        tick = max(tick + interval_s, trio.current_time())
        await trio.sleep_until(tick)
