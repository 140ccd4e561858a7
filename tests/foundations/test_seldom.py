"""What would be said at the pace of its cause is said now and then."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from transport_trio.concurrency import Seldom


async def test_the_first_time_at_once_and_then_now_and_then(autojump_clock: MockClock) -> None:
    seldom = Seldom(every_s=10)
    said = []
    for _ in range(25):
        if seldom.is_due():
            said.append(trio.current_time())
        await trio.sleep(1)
    assert said == [0, 10, 20]
