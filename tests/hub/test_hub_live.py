"""Live listeners: who hears what, in which order, and who is too slow."""

from __future__ import annotations

import errno
import logging
from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from fakes_hub import Pipe, Rig, messages, open_rig
from transport_trio.errors import ListenersFull, Stopping
from transport_trio.events import EventType
from transport_trio.hub import Filter, HubStatistics, Subscription
from transport_trio.wire.socket import Close, text_frame

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


async def test_each_listener_hears_what_its_filter_lets_through(autojump_clock: MockClock) -> None:
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
        async with open_rig() as rig:
            with rig.listening(wish) as ear:
                rig.happen("a", type_=JOINED)
                rig.happen("b", type_=JOINED)
                rig.happen("a", type_=LEFT)
                rig.happen("c", type_=LEFT)
                assert await ear.ids() == expected, name


async def test_listeners_with_the_same_filter_share_what_they_are_sent(rig: Rig, autojump_clock: MockClock) -> None:
    """A thousand listeners of an event cost one encoding and one piece of memory."""
    with rig.listening(only("a")) as one, rig.listening(only("a")) as other:
        rig.happen("a", "a")
        assert await one.ids() == await other.ids() == [1, 2]
        assert one.pipe.writes[-1] is other.pipe.writes[-1]


async def test_what_waits_is_sent_in_one_write(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear, rig.listening(only("a")) as other:
        for _ in range(5):
            rig.happen("a", "b")
        assert await ear.ids() == list(range(1, 11))
        assert await other.ids() == [1, 3, 5, 7, 9]
        assert len(ear.pipe.writes) == len(other.pipe.writes) == 2  # the welcome, and all events


class Fickle(Pipe):
    """Takes nothing from some time on, though its peer has not gone."""

    fails = False

    def send(self, data: bytes | memoryview) -> int:
        if self.fails:
            raise OSError(errno.ENOBUFS, "no buffer space")
        return super().send(data)


async def test_who_can_be_told_nothing_loses_its_connection(rig: Rig, autojump_clock: MockClock) -> None:
    """Nobody else would end it: it reads on, and what it says counts for nothing any more."""
    pipe = Fickle()
    listener = rig.hub.join(Subscription(), lambda _: pipe)
    await wait_all_tasks_blocked()
    pipe.fails = True
    rig.happen("a")
    await wait_all_tasks_blocked()
    assert pipe.is_cut
    rig.hub.leave(listener)


async def test_telling_never_waits(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(), assert_no_checkpoints():
        rig.happen("a", "b")


async def test_a_broadcast_lets_others_have_their_turn(rig: Rig, autojump_clock: MockClock) -> None:
    """Ten thousand writes take a tenth of a second: a request would wait for it, if they were done in one go."""
    with ExitStack() as stack:
        ears = [stack.enter_context(rig.listening()) for _ in range(1000)]
        await wait_all_tasks_blocked()
        rig.happen("a")
        told = []
        while not told or told[-1] < len(ears):
            await trio.lowlevel.checkpoint()
            told.append(sum(len(ear.pipe.writes) == 2 for ear in ears))
        assert len(set(told) - {0}) >= 5


async def test_how_late_the_last_listener_hears_is_measured(rig: Rig, autojump_clock: MockClock) -> None:
    def count(le: str) -> float | None:
        return rig.metrics.registry.get_sample_value("transport_broadcast_seconds_bucket", {"le": le})

    with rig.listening() as ear, rig.listening(only("a")):
        rig.happen("a")
        rig.happen("b")
        assert await ear.ids() == [1, 2]
        assert count("+Inf") == count("0.005") == 2  # a round for each group


async def test_who_came_who_is_there_and_who_lags_is_counted(autojump_clock: MockClock) -> None:
    async with open_rig(listener_backlog_bytes=1_000_000, listeners_max=7) as rig:

        def counts() -> list[float | None]:
            names = ("listeners_max", "listeners_joined_total", "listeners", "listeners_lagging")
            return [rig.metrics.registry.get_sample_value(f"transport_{name}") for name in names]

        with rig.listening():
            pass
        with rig.listening(), rig.listening(room=1000) as slow:
            await wait_all_tasks_blocked()
            assert counts() == [7, 3, 2, 0]
            rig.happen("a", size=5000)
            await wait_all_tasks_blocked()
            assert counts() == [7, 3, 2, 1]
            slow.pipe.make_room(None)
            await wait_all_tasks_blocked()
            assert counts() == [7, 3, 2, 0]


async def test_an_event_in_the_middle_of_a_broadcast_comes_to_everybody_once(
    rig: Rig, autojump_clock: MockClock
) -> None:
    with ExitStack() as stack:
        ears = [stack.enter_context(rig.listening()) for _ in range(500)]
        for _ in range(30):
            rig.happen("a")
            await trio.lowlevel.checkpoint()
        for ear in ears:
            assert await ear.ids() == list(range(1, 31))
        # Who had its turn before an event came gets it with the next ones, and not in a write of its own.
        assert max(len(ear.pipe.writes) for ear in ears) < 20


async def test_who_comes_or_goes_in_the_middle_of_a_broadcast_misses_nothing_and_gets_nothing_twice(
    rig: Rig, autojump_clock: MockClock
) -> None:
    with ExitStack() as stack:
        ears = [stack.enter_context(rig.listening()) for _ in range(300)]
        leaving = [ExitStack() for _ in range(300)]
        for each in leaving:
            each.enter_context(rig.listening())
        heard: dict[int, list[int]] = {}
        for number in range(30):
            (told,) = rig.happen("a")
            await trio.lowlevel.checkpoint()
            for each in leaving[number * 10 : number * 10 + 10]:
                each.close()
            newcomer = stack.enter_context(rig.listening())
            heard[told] = []
            ears[number].listener.subscribe(Filter(types=frozenset({UPDATED})))
            ears[number + 100].listener.subscribe(Filter())
            ears.append(newcomer)
        for number, ear in enumerate(ears):
            first = 1 if number < 300 else number - 300 + 2
            assert await ear.ids() == list(range(first, 31)), number


async def test_a_slow_listener_is_closed_counted_and_logged_and_the_others_hear_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One stuck browser must not delay the others, and operators must see it."""
    caplog.set_level(logging.INFO)
    async with open_rig(listener_backlog_bytes=100_000) as rig:
        with rig.listening(room=1000) as slow, rig.listening() as quick:
            await slow.hear()
            told = []
            for _ in range(4):
                told += rig.happen("a", size=40_000)
                assert await quick.ids() == told[-1:]
            # Three fit (the third passes the limit), the fourth finds the limit passed.
            assert slow.listener.closed_for is Close.TOO_SLOW
            assert rig.dropped("too_slow") == 1
            assert rig.hub.statistics().live == 1
            slow.pipe.make_room(None)
            # What was under way arrives whole, then the reason.
            assert [message.get("id", message.get("close")) for message in await slow.hear()] == [1, 4008]
            assert rig.hub.statistics().backlog_bytes == 0
    line = next(record for record in caplog.records if record.message == "listener closed")
    assert (vars(line)["reason"], vars(line)["code"]) == ("too_slow", 4008)
    assert vars(line)["listener_id"] == slow.listener.id


async def test_a_listener_that_reads_on_in_time_gets_everything_in_order(autojump_clock: MockClock) -> None:
    async with open_rig(listener_backlog_bytes=1_000_000) as rig:
        with rig.listening(room=1000) as ear:
            told = []
            for _ in range(10):
                told += rig.happen("a", "b", size=5000)
                await wait_all_tasks_blocked()
            ear.listener.reply(b'{"type":"pong"}')
            heard = []
            while len(heard) < 22:
                ear.pipe.make_room(777)
                heard += await ear.hear()
            assert [message.get("id", message["type"]) for message in heard] == ["welcome", *told, "pong"]
            assert ear.listener.outbox is None
            rig.happen("a")
            ear.pipe.make_room(None)
            assert await ear.ids() == [told[-1] + 1]


async def test_who_has_read_meanwhile_is_not_too_slow(autojump_clock: MockClock) -> None:
    """There may be room again, and nobody had a turn yet to notice."""
    async with open_rig(listener_backlog_bytes=100_000) as rig:
        with rig.listening(room=1000) as ear:
            rig.happen("a", size=150_000)
            await wait_all_tasks_blocked()
            ear.pipe.room = 120_000  # nobody is told
            rig.happen("a")
            await wait_all_tasks_blocked()
            assert ear.listener.closed_for is None
            ear.pipe.make_room(None)
            assert await ear.ids() == [1, 2]


async def test_one_commit_larger_than_the_backlog_is_nobodys_fault(autojump_clock: MockClock) -> None:
    """While a commit is handed out nobody can read, however fast."""
    async with open_rig(listener_backlog_bytes=100_000) as rig:
        with rig.listening(room=1000) as ear:
            for _ in range(2):
                told = rig.happen(*["a"] * 20, size=40_000)
                await wait_all_tasks_blocked()
                ear.pipe.make_room(None)
                assert await ear.ids() == told
                ear.pipe.make_room(0)


async def test_answers_do_not_pile_up_for_a_listener_that_does_not_read(autojump_clock: MockClock) -> None:
    async with open_rig(listener_backlog_bytes=65536) as rig:
        with rig.listening(room=1000) as ear:
            for _ in range(100):
                ear.listener.reply(b"x" * 1000)
            assert ear.listener.closed_for is Close.TOO_SLOW


async def test_answers_after_a_large_commit_are_no_fault_either(autojump_clock: MockClock) -> None:
    async with open_rig(listener_backlog_bytes=65536) as rig:
        with rig.listening(room=1000) as ear:
            rig.happen(*["a"] * 20, size=40_000)
            await wait_all_tasks_blocked()
            ear.listener.reply(b'{"type":"pong"}')
            assert ear.listener.closed_for is None


async def test_who_takes_nothing_for_three_heartbeats_is_cut(autojump_clock: MockClock) -> None:
    async with open_rig(heartbeat_s=10) as rig:
        with rig.listening(room=1000) as ear:
            rig.happen("a", size=5000)
            for _ in range(5):
                await trio.sleep(5)
                ear.listener.heard_at = trio.current_time()
                assert not ear.pipe.is_cut
            await trio.sleep(6)
            assert ear.pipe.is_cut
            assert rig.dropped("too_slow") == 1


async def test_who_takes_a_little_now_and_then_is_not_cut(autojump_clock: MockClock) -> None:
    async with open_rig(heartbeat_s=10) as rig:
        with rig.listening(room=1000) as ear:
            rig.happen("a", size=500_000)
            for _ in range(10):
                await trio.sleep(25)
                ear.listener.heard_at = trio.current_time()
                ear.pipe.make_room(70_000)
            assert not ear.pipe.is_cut
            assert await ear.ids() == [1]


async def test_a_peer_that_has_gone_costs_nothing_more(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear, rig.listening() as other:
        ear.pipe.cut()
        rig.happen("a")
        assert await other.ids() == [1]
        assert rig.hub.statistics().live == 1
        assert not ear.listener.is_open


async def test_one_listener_too_many_is_refused_until_one_leaves(autojump_clock: MockClock) -> None:
    async with open_rig(listeners_max=2) as rig:
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


async def test_closing_the_hub_closes_everyone_with_1001_after_what_was_told(
    rig: Rig, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.journal.gate = trio.Event()
    with rig.listening() as live, rig.listening(Subscription(after=0)) as replaying:
        await live.hear()
        rig.happen("a")
        rig.hub.close()
        rig.happen("b")
        assert [message.get("id", message.get("close")) for message in await live.hear()] == [1, 1001]
        rig.journal.gate.set()
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
        ear.listener.close(Close.FLOODING)
        ear.listener.close(Close.STOPPING)
        ear.listener.reply(b'{"type":"pong"}')
        assert [message.get("type", message.get("close")) for message in await ear.hear()] == ["welcome", 4429]
        assert ear.pipe.is_closing
    assert (rig.dropped("flooding"), rig.dropped("stopping")) == (1, 0)


async def test_a_listener_that_has_left_costs_nothing_more(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(only("a")) as ear:
        await ear.hear()
    rig.happen("a")
    await wait_all_tasks_blocked()
    assert len(ear.pipe.writes) == 1
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


async def test_a_failure_of_ours_costs_one_listener_its_connection(
    rig: Rig, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    rig.journal.failures = -1  # of a kind that nobody planned
    with rig.listening(Subscription(after=0)) as ear, rig.listening() as other:
        await wait_all_tasks_blocked()
        assert ear.pipe.is_cut
        rig.happen("a")
        assert await other.ids() == [1]
    assert [record.message for record in caplog.records] == ["listener failed"]


def test_frames_are_read_back_by_the_test_helper() -> None:
    bodies = [b'"%s"' % (b"x" * size) for size in (0, 123, 124, 65533, 65534, 70000)]
    heard, rest = messages(b"".join(map(text_frame, bodies)) + b"\x81")
    assert [len(message) for message in heard] == [0, 123, 124, 65533, 65534, 70000]
    assert rest == b"\x81"
