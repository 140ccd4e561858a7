"""Live listeners: who hears what, in which order, and who is too slow."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints

from fakes_hub import Rig, messages
from transport_trio.errors import ListenersFull, Stopping
from transport_trio.events import EventType
from transport_trio.hub import Filter, HubStatistics, Subscription
from transport_trio.wire.socket import Close

JOINED, LEFT, UPDATED = EventType.PARTICIPANT_JOINED, EventType.PARTICIPANT_LEFT, EventType.SESSION_UPDATED


def only(*session_ids: str, types: set[EventType] | None = None) -> Subscription:
    sessions = frozenset(session_ids) if session_ids else None
    return Subscription(filter=Filter(sessions, None if types is None else frozenset(types)))


async def test_welcome_comes_first_and_names_the_head_from_which_events_follow(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen("a", "a")
    with rig.listening() as ear:
        rig.happen("b")
        welcome, event = await ear.hear()
    assert welcome == {
        "type": "welcome",
        "listener_id": ear.listener.id,
        "epoch": "epoch-1",
        "last_event_id": 2,
        "heartbeat_s": 30.0,
    }
    assert (event["id"], event["session_id"]) == (3, "b")


async def test_each_listener_hears_what_its_filter_lets_through(rig: Rig, autojump_clock: MockClock) -> None:
    wishes = {
        "everything": (only(), [1, 2, 3, 4]),
        "a": (only("a"), [1, 3]),
        "a and b": (only("a", "b"), [1, 2, 3]),
        "leaves": (only(types={LEFT}), [3, 4]),
        "leaves of a": (only("a", types={LEFT}), [3]),
        "joins and leaves of b": (only("b", types={JOINED, LEFT}), [2]),
        "no session": (Subscription(filter=Filter(frozenset())), []),
        "no type": (only(types=set()), []),
        "an unknown session": (only("z"), []),
    }
    for name, (wish, expected) in wishes.items():
        rig = Rig()
        with rig.listening(wish) as ear:
            rig.happen("a", type_=JOINED)
            rig.happen("b", type_=JOINED)
            rig.happen("a", type_=LEFT)
            rig.happen("c", type_=LEFT)
            assert await ear.ids() == expected, name


async def test_all_listeners_share_one_frame(rig: Rig, autojump_clock: MockClock) -> None:
    """A thousand listeners of an event cost one encoding and one piece of memory."""
    with rig.listening() as one, rig.listening(only("a")) as other:
        rig.happen("a")
        (_, first), (_, second) = await one.listener.next_batch(1), await other.listener.next_batch(1)
    assert first is second


async def test_telling_never_waits(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(), assert_no_checkpoints():
        rig.happen("a", "b")


async def test_a_waiting_listener_wakes_for_an_event_and_not_for_what_is_filtered(
    rig: Rig, autojump_clock: MockClock
) -> None:
    woken_at: list[float] = []
    with rig.listening(only("a")) as ear:
        await ear.listener.next_batch(1)  # the welcome

        async def wait() -> None:
            assert await ear.listener.next_batch(100)
            woken_at.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(5)
            rig.happen("b")
            await trio.sleep(5)
            rig.happen("a")
    assert woken_at == [10]


async def test_next_batch_is_empty_when_its_time_is_up(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        await ear.hear()
        assert await ear.listener.next_batch(7) == []
        assert trio.current_time() == 7


async def test_batches_are_bounded_but_a_large_frame_still_goes_out(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        await ear.hear()
        rig.happen(*["a"] * 4, size=30_000)
        rig.happen("a", size=65_000)
        sizes = [len(await ear.listener.next_batch(1) or ()) for _ in range(3)]
        assert sizes == [2, 2, 1]


async def test_a_slow_listener_is_closed_counted_and_logged_and_the_others_hear_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One stuck browser must not delay the others, and operators must see it."""
    rig = Rig(listener_backlog_bytes=100_000)
    caplog.set_level(logging.INFO)
    with rig.listening() as slow, rig.listening() as quick:
        await slow.hear()
        told = []
        for _ in range(4):
            told += rig.happen("a", size=40_000)
            assert await quick.ids() == told[-1:]
        # Three fit (the third passes the limit), the fourth finds the limit passed.
        assert await slow.hear() == [{"close": 4008}]
        assert rig.dropped("too_slow") == 1
        assert rig.hub.statistics().live == 1
        assert rig.hub.statistics().backlog_bytes == 0
    line = next(record for record in caplog.records if record.message == "listener closed")
    assert (vars(line)["reason"], vars(line)["code"]) == ("too_slow", 4008)
    assert vars(line)["listener_id"] == slow.listener.id


async def test_one_commit_larger_than_the_backlog_is_nobodys_fault(autojump_clock: MockClock) -> None:
    """While a commit is handed out nobody can read, however fast."""
    rig = Rig(listener_backlog_bytes=100_000)
    with rig.listening() as ear:
        told = rig.happen(*["a"] * 20, size=40_000)
        assert await ear.ids() == told
        assert await ear.ids() == []
        told = rig.happen(*["a"] * 20, size=40_000)
        assert await ear.ids() == told


async def test_answers_do_not_pile_up_for_a_listener_that_does_not_read(autojump_clock: MockClock) -> None:
    rig = Rig(listener_backlog_bytes=65536)
    with rig.listening() as ear:
        for _ in range(100):
            ear.listener.reply(b"x" * 1000)
        assert ear.listener.closed_for is Close.TOO_SLOW


async def test_answers_after_a_large_commit_are_no_fault_either(autojump_clock: MockClock) -> None:
    rig = Rig(listener_backlog_bytes=65536)
    with rig.listening() as ear:
        rig.happen(*["a"] * 20, size=40_000)
        ear.listener.reply(b'{"type":"pong"}')
        assert ear.listener.closed_for is None


async def test_one_listener_too_many_is_refused_until_one_leaves(autojump_clock: MockClock) -> None:
    rig = Rig(listeners_max=2)
    with rig.listening():
        with rig.listening(), pytest.raises(ListenersFull), rig.listening():
            pass
        assert rig.hub.statistics().listeners == 1
        with rig.listening():
            assert rig.hub.statistics().listeners == 2


async def test_the_gauge_follows_the_listeners(rig: Rig, autojump_clock: MockClock) -> None:
    def shown() -> float | None:
        return rig.metrics.registry.get_sample_value("transport_listeners")

    with rig.listening(), rig.listening():
        assert shown() == 2
    assert shown() == 0


async def test_closing_the_hub_closes_everyone_with_1001_after_what_is_queued(
    rig: Rig, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with rig.listening() as live, rig.listening(Subscription(after=0)) as replaying:
        await live.hear()
        rig.happen("a")
        rig.hub.close()
        rig.happen("b")
        assert [message.get("id", message.get("close")) for message in await live.hear()] == [1, 1001]
        assert (await replaying.hear())[1:] == [{"close": 1001}]  # the replay ends at once
        with pytest.raises(Stopping), rig.listening():
            pass
    assert rig.dropped("stopping") == 2
    assert [vars(record)["listeners"] for record in caplog.records if record.message == "listeners closed"] == [2]


async def test_closing_an_idle_hub_says_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig.hub.close()
    assert not caplog.records


async def test_the_first_reason_for_closing_counts(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        called = []
        ear.listener.on_close = lambda: called.append(True)
        ear.listener.close(Close.FLOODING)
        ear.listener.close(Close.STOPPING)
        ear.listener.reply(b'{"type":"pong"}')
        assert [message.get("type", message.get("close")) for message in await ear.hear()] == ["welcome", 4429]
    assert called == [True]
    assert (rig.dropped("flooding"), rig.dropped("stopping")) == (1, 0)


async def test_a_closed_listener_wakes_up(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        await ear.hear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ear.listener.next_batch, 1000)
            await trio.sleep(1)
            ear.listener.close(Close.SILENT)
        assert trio.current_time() < 2


async def test_a_listener_that_has_left_costs_nothing_more(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(only("a")) as ear:
        await ear.hear()
    rig.happen("a")
    assert ear.listener.backlog_bytes == 0


async def test_the_index_forgets_sessions_that_nobody_listens_to(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(only("a", "b")) as ear, rig.listening(only("b")):
        assert rig.hub.statistics().sessions == 2
        ear.listener.subscribe(Filter(frozenset({"c"})))
        assert rig.hub.statistics().sessions == 2
        ear.listener.close(Close.FLOODING)
        assert rig.hub.statistics().sessions == 1
    assert rig.hub.statistics() == HubStatistics(listeners=0, live=0, sessions=0, backlog_bytes=0)


async def test_a_new_filter_holds_from_the_answer_on(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(only("a")) as ear:
        rig.happen("a", "b")
        ear.listener.subscribe(Filter(frozenset({"b"})))
        rig.happen("a", "b")
        welcome, before, answer, after = await ear.hear()
    assert welcome["type"] == "welcome"
    assert before["id"] == 1
    assert answer == {"type": "subscribed", "last_event_id": 2}
    assert after["id"] == 4


def test_frames_are_read_back_by_the_test_helper() -> None:
    from transport_trio.wire.socket import text_frame

    bodies = [b'"%s"' % (b"x" * size) for size in (0, 123, 124, 65533, 65534, 70000)]
    assert [len(message) for message in messages(b"".join(map(text_frame, bodies)))] == [
        0,
        123,
        124,
        65533,
        65534,
        70000,
    ]
