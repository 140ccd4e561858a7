"""Beats keep time, supervisors give up, clocks survive jumps: all on Trio's own test clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from transport_trio.concurrency import RestartPolicy, SystemClock, doubling_s, every, supervise
from transport_trio.errors import ProviderUnreachable, RestartLimitExceeded, StorageUnavailable

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


async def test_a_suspend_wakes_sleepers_whose_time_has_come(autojump_clock: MockClock) -> None:
    """The monotonic clock stands still in suspend: without a look at the wall an expiry would come an hour late."""
    wall, jumps = WallClock(), []
    clock = SystemClock(wall, on_jump=lambda: jumps.append(trio.current_time()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.watch, no_answer)
        async with trio.open_nursery() as sleepers:
            sleepers.start_soon(clock.sleep_until, NOON + timedelta(minutes=30))
            await trio.sleep(3)
            wall.set_by = timedelta(hours=1)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 10
    assert jumps == [10]


async def test_a_wrongly_set_wall_clock_is_corrected_by_the_provider(autojump_clock: MockClock) -> None:
    wall = WallClock()
    clock = SystemClock(wall)

    async def provider_says() -> datetime:
        return NOON + timedelta(seconds=trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.watch, provider_says)
        await trio.sleep(3)
        wall.set_by = timedelta(hours=1)
        await trio.sleep(10)
        assert abs((clock.now() - NOON).total_seconds() - trio.current_time()) < 1
        await clock.sleep_until(NOON + timedelta(minutes=30))
        assert trio.current_time() == 1800
        nursery.cancel_scope.cancel()


async def test_an_unreachable_provider_leaves_the_wall_clock_believed(autojump_clock: MockClock) -> None:
    wall = WallClock()
    clock = SystemClock(wall)

    async def unreachable() -> datetime:
        raise ProviderUnreachable("daily", "no route")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.watch, unreachable)
        await trio.sleep(3)
        wall.set_by = timedelta(hours=-1)
        await trio.sleep(10)
        assert clock.now() == wall()
        nursery.cancel_scope.cancel()


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
