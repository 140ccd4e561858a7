"""When rooms are many, and when they are few again."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from transport_trio.connectors.daily.crowd import Crowd


async def test_rooms_are_many_from_the_threshold_on(autojump_clock: MockClock) -> None:
    crowd = Crowd(interval_s=15, many=3)
    assert [crowd.note(name) for name in ("a", "b", "a", "b", "c")] == [False, False, False, False, True]


async def test_rooms_that_nobody_asks_for_any_more_do_not_count(autojump_clock: MockClock) -> None:
    crowd = Crowd(interval_s=15, many=3)
    for name in ("a", "b"):
        crowd.note(name)
    await trio.sleep(23)
    assert not crowd.note("c")


async def test_one_room_that_comes_and_goes_changes_nothing(autojump_clock: MockClock) -> None:
    crowd = Crowd(interval_s=15, many=4)
    for name in ("a", "b", "c", "d"):
        crowd.note(name)
    for names, is_many in (("abc", True), ("abcd", True), ("ab", False), ("abc", False), ("abcd", True)):
        await trio.sleep(12)
        for name in names:
            crowd.note(name)
        await trio.sleep(12)
        assert [crowd.note(name) for name in names][-1] is is_many, names
