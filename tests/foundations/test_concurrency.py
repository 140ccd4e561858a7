"""Beats keep time, supervisors give up, clocks survive jumps: all on Trio's own test clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from transport_trio.concurrency import RestartPolicy, SystemClock, doubling_s, every, supervise
from transport_trio.errors import ProviderUnreachable, RestartLimitExceeded, StorageUnavailable
from transport_trio.models import CheckStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class WallClock:
    """A wall clock that goes with Trio's and can be set."""

    def __init__(self) -> None:
        self.set_by = timedelta()

    def __call__(self) -> datetime:
        return NOON + timedelta(seconds=trio.current_time()) + self.set_by


async def test_a_beat_does_not_drift_and_never_doubles(autojump_clock: MockClock) -> None:
    started: list[float] = []
    work_s = iter([1.0, 25.0, 0.0, 0.0])

    async def work() -> None:
        started.append(trio.current_time())
        await trio.sleep(next(work_s, 0.0))

    with trio.move_on_after(60):
        await every(10, work)
    assert started == [0, 10, 35, 45, 55]


async def test_supervise_restarts_with_growing_waits_then_gives_up(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    restarts: list[int] = []

    async def flaky() -> None:
        starts.append(trio.current_time())
        raise StorageUnavailable("full")

    with pytest.raises(RestartLimitExceeded) as caught:
        await supervise(
            "bus", flaky, RestartPolicy(max_restarts=3, base_delay_s=1), on_restart=lambda: restarts.append(1)
        )
    assert starts == [0, 1, 3, 7]
    assert len(restarts) == 3
    assert caught.value.crashes == 4
    assert caught.value.__cause__ is not None


def test_waits_double_up_to_their_bound_and_never_overflow() -> None:
    waits_s = [doubling_s(attempt, base_s=0.5, max_s=3.0) for attempt in (1, 2, 3, 4, 5, 10**9)]
    assert waits_s == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


async def test_supervise_forgets_old_crashes(autojump_clock: MockClock) -> None:
    lives = iter([0.0] + [70.0] * 20)

    async def long_lived() -> None:
        life_s = next(lives, None)
        if life_s is None:
            return
        await trio.sleep(life_s)
        raise StorageUnavailable("again")

    await supervise("relay", long_lived, RestartPolicy(max_restarts=1, period_s=60))


async def test_supervise_restarts_what_fails_inside_a_nursery(autojump_clock: MockClock) -> None:
    runs = 0

    async def grouped() -> None:
        nonlocal runs
        runs += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            if runs == 1:
                raise ProviderUnreachable("daily", "gone")

    await supervise("poller", grouped, RestartPolicy())
    assert runs == 2


async def test_supervise_lets_bugs_through(autojump_clock: MockClock) -> None:
    async def buggy() -> None:
        raise TypeError("a bug")

    with pytest.RaisesGroup(TypeError, allow_unwrapped=True):
        await supervise("x", buggy, RestartPolicy())


async def test_sleep_until_a_point_in_the_world(autojump_clock: MockClock) -> None:
    clock = SystemClock(WallClock())
    await clock.sleep_until(NOON + timedelta(seconds=90))
    assert trio.current_time() == 90
    await clock.sleep_until(NOON)
    assert trio.current_time() == 90


async def no_answer() -> datetime | None:
    return None


async def true_time() -> datetime | None:
    return NOON + timedelta(seconds=trio.current_time())


async def unreachable() -> datetime | None:
    raise ProviderUnreachable("daily", "no route")


@asynccontextmanager
async def watched(clock: SystemClock, ask: Callable[[], Awaitable[datetime | None]]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.watch, ask)
        yield
        nursery.cancel_scope.cancel()


async def test_a_suspend_wakes_sleepers_whose_time_has_come(autojump_clock: MockClock) -> None:
    """The monotonic clock stands still in suspend: without a look at the wall an expiry would come an hour late."""
    wall, jumps = WallClock(), []
    clock = SystemClock(wall, on_jump=lambda: jumps.append(trio.current_time()))
    async with watched(clock, no_answer), trio.open_nursery() as sleepers:
        sleepers.start_soon(clock.sleep_until, NOON + timedelta(minutes=30))
        await trio.sleep(3.5)
        wall.set_by = timedelta(hours=1)
    assert trio.current_time() == 4
    assert jumps == [4]


@pytest.mark.parametrize("set_by", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)])
async def test_a_wrongly_set_wall_clock_shows_in_no_time_of_ours(set_by: timedelta, autojump_clock: MockClock) -> None:
    """Not even in the moments before it is noticed: a session made then would get a wrong end for good."""
    wall = WallClock()
    clock = SystemClock(wall)
    async with watched(clock, true_time):
        await trio.sleep(3.5)
        wall.set_by = set_by
        assert clock.now() == NOON + timedelta(seconds=3.5)
        assert clock.check().status is CheckStatus.DEGRADED
        await clock.sleep_until(NOON + timedelta(minutes=30))
        assert trio.current_time() == 1800
        assert clock.now() == NOON + timedelta(minutes=30)
        assert clock.correction_s == -set_by.total_seconds()
        assert clock.check().status is CheckStatus.DEGRADED
        wall.set_by = timedelta()
        await trio.sleep(2)
        assert clock.check().status is CheckStatus.OK
    assert clock.now() == wall()


async def test_while_the_provider_is_unreachable_time_runs_on_and_it_is_asked_again(autojump_clock: MockClock) -> None:
    """A clock set wrong in an outage must not end sessions early, neither during it nor after."""
    wall = WallClock()
    clock = SystemClock(wall)

    async def back_after_a_minute() -> datetime | None:
        return await (true_time() if trio.current_time() > 60 else unreachable())

    async with watched(clock, back_after_a_minute):
        await trio.sleep(3)
        wall.set_by = timedelta(hours=1)
        await trio.sleep(50)
        assert clock.now() == NOON + timedelta(seconds=53)
        assert "not told yet" in clock.check().message
        await trio.sleep(20)
        assert clock.now() == NOON + timedelta(seconds=73)
        assert "+3600 s off" in clock.check().message


async def test_after_a_suspend_in_an_outage_the_wall_clock_is_right_in_the_end(autojump_clock: MockClock) -> None:
    wall = WallClock()
    clock = SystemClock(wall)

    async def back_after_a_minute() -> datetime | None:
        return wall() if trio.current_time() > 60 else await unreachable()

    async with watched(clock, back_after_a_minute):
        await trio.sleep(3)
        wall.set_by = timedelta(hours=1)
        await clock.sleep_until(NOON + timedelta(minutes=30))
        assert 60 < trio.current_time() <= 66
        assert clock.now() == wall()
        assert clock.check().status is CheckStatus.OK


async def test_a_wall_clock_that_was_wrong_before_the_start_is_found_out(autojump_clock: MockClock) -> None:
    wall = WallClock()
    wall.set_by = timedelta(hours=1)
    clock = SystemClock(wall)
    await clock.settle(true_time)
    assert clock.now() == NOON + timedelta(seconds=trio.current_time())


async def test_a_slow_answer_is_no_disagreement(autojump_clock: MockClock) -> None:
    """The provider's time is that of its answer, which may have been under way for a while."""
    wall = WallClock()
    clock = SystemClock(wall)

    async def after_nine_seconds() -> datetime | None:
        told = await true_time()
        await trio.sleep(9)
        return told

    await clock.settle(after_nine_seconds)
    assert clock.now() == wall()


async def test_a_jump_while_the_provider_is_asked_has_it_asked_again(autojump_clock: MockClock) -> None:
    wall = WallClock()
    clock = SystemClock(wall)
    asked = 0

    async def suspended_in_the_first_question() -> datetime | None:
        nonlocal asked
        asked += 1
        told = wall()
        if asked == 1:
            wall.set_by = timedelta(hours=1)
        return told

    await clock.settle(suspended_in_the_first_question)
    assert asked == 2
    assert clock.now() == wall()


async def test_small_differences_are_no_jump(autojump_clock: MockClock) -> None:
    wall, jumps = WallClock(), []
    clock = SystemClock(wall, on_jump=lambda: jumps.append(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.watch, no_answer)
        await trio.sleep(3)
        wall.set_by = timedelta(seconds=4)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert jumps == []
