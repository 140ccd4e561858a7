"""The line in front of a provider's rate limit, on Trio's test clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from transport_trio.connectors import NO_LIMITS
from transport_trio.connectors.ratelimit import Lane, Limit, LineTooLong, SlotsTaken

PATIENT = 1e6


def a_lane(count: int = 2, period_s: float = 10.0, slots: int = 100) -> Lane:
    return Lane(Limit(count=count, period_s=period_s), slots)


async def take(lane: Lane, went: list[tuple[int, float]], number: int, hold_s: float = 0.0) -> None:
    async with lane.turn(trio.current_time() + PATIENT):
        went.append((number, trio.current_time()))
        await trio.sleep(hold_s)


async def test_a_burst_passes_up_to_the_limit_and_the_rest_waits_its_turn(autojump_clock: MockClock) -> None:
    lane, went = a_lane(), list[tuple[int, float]]()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(take, lane, went, number)
            await wait_all_tasks_blocked()
    assert went == [(0, 0), (1, 0), (2, 10), (3, 10), (4, 20)]


async def test_a_cancelled_caller_leaves_the_line_and_those_behind_move_up(autojump_clock: MockClock) -> None:
    lane, went = a_lane(count=1), list[tuple[int, float]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, lane, went, 0)
        await wait_all_tasks_blocked()
        with trio.move_on_after(5):
            async with trio.open_nursery() as impatient:
                for number in (1, 2):
                    impatient.start_soon(take, lane, went, number)
                    await wait_all_tasks_blocked()
                nursery.start_soon(take, lane, went, 3)
    assert went == [(0, 0), (3, 10)]


async def test_who_would_wait_too_long_is_refused_at_once_and_told_how_long(autojump_clock: MockClock) -> None:
    lane, went = a_lane(), list[tuple[int, float]]()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(take, lane, went, number)
        await wait_all_tasks_blocked()
        await trio.sleep(4)
        with pytest.raises(LineTooLong) as caught:
            async with lane.turn(trio.current_time() + 6):
                pytest.fail("nobody's turn yet")
        assert trio.current_time() == 4
        assert caught.value.wait_s == 6
        async with lane.turn(trio.current_time() + 6.1):
            assert trio.current_time() == 10


async def test_a_pause_holds_everybody_back_those_in_line_too(autojump_clock: MockClock) -> None:
    lane, went = a_lane(count=1), list[tuple[int, float]]()
    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(take, lane, went, number)
            await wait_all_tasks_blocked()
        await trio.sleep(9)
        lane.pause(16)
        lane.pause(3)  # never shortens
    assert went == [(0, 0), (1, 25)]
    assert lane.expected_wait_s() == 10


async def test_a_pause_that_outlasts_somebodys_patience_is_told_as_one(autojump_clock: MockClock) -> None:
    lane, went = a_lane(count=1), list[tuple[int, float]]()
    await take(lane, went, 0)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def impatient() -> None:
            with pytest.raises(LineTooLong) as caught:
                async with lane.turn(12):
                    pytest.fail("nobody's turn yet")
            assert (trio.current_time(), caught.value.wait_s) == (12, 38)

        await trio.sleep(5)
        lane.pause(45)


async def test_no_more_than_the_slots_are_under_way(autojump_clock: MockClock) -> None:
    lane, went = a_lane(count=100, slots=2), list[tuple[int, float]]()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(take, lane, went, number, 3.0)
            await wait_all_tasks_blocked()
    assert went == [(0, 0), (1, 0), (2, 3), (3, 3), (4, 6)]


async def test_slots_that_stay_taken_are_told_apart_from_the_rate(autojump_clock: MockClock) -> None:
    lane, went = a_lane(count=100, slots=1), list[tuple[int, float]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, lane, went, 0, 60.0)
        await wait_all_tasks_blocked()
        with pytest.raises(SlotsTaken):
            async with lane.turn(20):
                pytest.fail("the slot is taken")
        assert trio.current_time() == 20
    async with lane.turn(trio.current_time() + 0.1):
        pass


async def test_a_failing_block_gives_its_slot_back(autojump_clock: MockClock) -> None:
    lane = a_lane(count=100, slots=1)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with lane.turn(1):
                raise KeyError


# (pause before the arrival, how long the request takes, when it is cancelled)
ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0]),
        st.sampled_from([0.0, 0.3, 4.0]),
        st.sampled_from([None, None, None, 0.2, 3.0]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(arrivals=ARRIVALS, count=st.integers(1, 4), slots=st.integers(1, 4))
def test_whatever_comes_the_limit_holds_and_the_order_stays(
    arrivals: Sequence[tuple[float, float, float | None]], count: int, slots: int
) -> None:
    lane, went = a_lane(count=count, period_s=5.0, slots=slots), list[tuple[int, float]]()
    under_way = most_under_way = 0

    async def caller(number: int, hold_s: float, cancel_after_s: float | None) -> None:
        nonlocal under_way, most_under_way
        with trio.move_on_after(cancel_after_s if cancel_after_s is not None else PATIENT):
            async with lane.turn(trio.current_time() + PATIENT):
                went.append((number, trio.current_time()))
                under_way += 1
                most_under_way = max(most_under_way, under_way)
                try:
                    await trio.sleep(hold_s)
                finally:
                    under_way -= 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number, (pause_s, hold_s, cancel_after_s) in enumerate(arrivals):
                await trio.sleep(pause_s)
                nursery.start_soon(caller, number, hold_s, cancel_after_s)
                await wait_all_tasks_blocked()
        # Nobody has taken a slot or the line's head along.
        async with lane.turn(trio.current_time() + PATIENT):
            pass

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [number for number, _ in went] == sorted(number for number, _ in went)
    times = [time for _, time in went]
    assert all(later - earlier >= 5.0 for earlier, later in zip(times, times[count:], strict=False))
    assert most_under_way <= slots
    patient = {number for number, (_, _, cancel_after_s) in enumerate(arrivals) if cancel_after_s is None}
    assert patient <= {number for number, _ in went}


@settings(deadline=None, max_examples=60)
@given(before=st.lists(st.sampled_from([0.0, 0.5, 6.0]), max_size=12), count=st.integers(1, 4), pause_s=st.floats(0, 9))
def test_the_expected_wait_is_the_wait(before: Sequence[float], count: int, pause_s: float) -> None:
    async def main() -> tuple[float, float]:
        lane = a_lane(count=count, period_s=5.0)
        async with trio.open_nursery() as nursery:
            for gap_s in before:
                await trio.sleep(gap_s)
                nursery.start_soon(take, lane, [], 0)
                await wait_all_tasks_blocked()
            lane.pause(pause_s)
            expected_s, since = lane.expected_wait_s(), trio.current_time()
            async with lane.turn(since + PATIENT):
                return expected_s, trio.current_time() - since
        raise AssertionError

    expected_s, waited_s = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert waited_s == pytest.approx(expected_s)


async def test_lifted_limits_hold_nobody_up(autojump_clock: MockClock) -> None:
    lane = Lane(NO_LIMITS.default, slots=1)
    for _ in range(5000):
        async with lane.turn(latest=10.0):
            pass
    assert trio.current_time() < 0.1
