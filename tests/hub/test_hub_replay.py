"""Listeners that begin in the past: replay, snapshot, gap, and the step from there to live."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fakes_hub import NOW, Rig, make_session, open_rig
from transport_trio.events import EventType
from transport_trio.hub import Filter, Subscription, pages
from transport_trio.models import Participant, Presence
from transport_trio.ports import EventQuery
from transport_trio.wire.socket import SNAPSHOT_MAX_BYTES

UPDATED, ENDED = EventType.SESSION_UPDATED, EventType.SESSION_ENDED


def types(heard: list[dict[str, object]]) -> list[object]:
    return [message.get("type") for message in heard]


# --- replay


async def test_after_gives_what_follows_and_goes_on_live(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen(*["a"] * 250)
    with rig.listening(Subscription(after=120)) as ear:
        assert await ear.ids() == list(range(121, 251))
        assert rig.hub.statistics().live == 1
        rig.happen("a")
        assert await ear.ids() == [251]


async def test_after_the_head_is_live_at_once(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a")
    with rig.listening(Subscription(after=1, epoch="epoch-1")) as ear:
        assert types(await ear.hear()) == ["welcome"]
        rig.happen("a")
        assert await ear.ids() == [2]


async def test_replay_is_filtered_by_the_journal(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a", "b")
    rig.happen("a", "b", type_=ENDED)
    with rig.listening(Subscription(after=0, filter=Filter(frozenset({"b"}), frozenset({ENDED})))) as ear:
        assert await ear.ids() == [4]
    assert rig.journal.reads == [
        EventQuery(after=0, epoch="epoch-1", limit=100, session_ids=frozenset({"b"}), types=frozenset({ENDED}))
    ]


async def test_replay_is_paced_by_the_listener_and_is_no_backlog(autojump_clock: MockClock) -> None:
    async with open_rig(listener_backlog_bytes=65536) as rig:
        rig.happen(*["a"] * 250, size=5000)
        with rig.listening(Subscription(after=0), room=10_000) as ear:
            heard = await ear.ids()
            assert heard == [1]
            assert len(rig.journal.reads) == 1  # the second page waits until the first has gone
            assert ear.listener.backlog_bytes == 0
            rig.happen(*["a"] * 50, size=5000)
            assert ear.listener.backlog_bytes == 0
            ear.pipe.make_room(None)
            assert heard + await ear.ids() == list(range(1, 301))
        assert rig.dropped("too_slow") == 0


async def test_live_events_wait_behind_the_rest_of_the_last_page(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen(*["a"] * 40, size=5000)
    with rig.listening(Subscription(after=0), room=60_000) as ear:
        first = await ear.ids()
        assert rig.hub.statistics().live == 1
        assert 0 < len(first) < 40
        rig.happen("a")
        await wait_all_tasks_blocked()
        ear.listener.reply(b'{"type":"pong","id":42}')
        ear.pipe.make_room(None)
        assert first + await ear.ids() == list(range(1, 43))


async def test_events_committed_while_a_page_is_read_come_once(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a", "a")
    rig.journal.gate = trio.Event()
    with rig.listening(Subscription(after=0)) as ear:
        await wait_all_tasks_blocked()
        rig.happen("a")  # the page under way will hold it
        untold = [rig.journal.commit("a")]  # committed, and the page holds it, but nobody has been told yet
        rig.journal.gate.set()
        await wait_all_tasks_blocked()
        rig.tell(untold)
        rig.happen("a")
        assert await ear.ids() == [1, 2, 3, 4, 5]


async def test_a_long_replay_that_finds_nothing_moves_the_resume_point(rig: Rig, autojump_clock: MockClock) -> None:
    """A rare type in a long journal is many empty pages."""
    rig.happen(*["a"] * 1000)
    with rig.listening(Subscription(after=0, filter=Filter(types=frozenset({ENDED})))) as ear:
        assert ear.listener.settle() == 0
        await ear.hear()
        assert ear.listener.settle() == 1000


async def test_the_resume_point_of_a_replaying_listener_is_what_was_queued_and_not_the_head(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(*["a"] * 150)
    with rig.listening(Subscription(after=0), room=1000) as ear:
        await ear.hear()
        assert ear.listener.settle() == 100


async def test_an_unreadable_journal_delays_a_replay_and_is_logged_once(
    rig: Rig, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    rig.happen("a")
    rig.journal.failures = 3
    with rig.listening(Subscription(after=0)) as ear:
        await trio.sleep(2.9)
        assert await ear.ids() == []
        await trio.sleep(0.2)
        assert await ear.ids() == [1]  # one second after each failure
    assert [record.message for record in caplog.records] == ["replay waits for the journal"]


async def test_a_listener_closed_while_a_page_is_read_gets_none_of_it(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a")
    rig.journal.gate = trio.Event()
    with rig.listening(Subscription(after=0)) as ear:
        await wait_all_tasks_blocked()
        rig.hub.close()
        rig.journal.gate.set()
        heard = await ear.hear()
    assert [message.get("type") or message["close"] for message in heard] == ["welcome", 1001]
    assert rig.metrics.registry.get_sample_value("transport_frames_sent_total") == 1
    assert rig.hub.statistics().live == 0


async def test_those_who_come_back_together_share_the_pages(rig: Rig, autojump_clock: MockClock) -> None:
    """After a restart a thousand listeners come back with the same `after`."""
    rig.happen(*["a"] * 450)
    with ExitStack() as stack:
        ears = [stack.enter_context(rig.listening(Subscription(after=0))) for _ in range(20)]
        late = stack.enter_context(rig.listening(Subscription(after=100), room=1000))
        for ear in ears:
            assert await ear.ids() == list(range(1, 451))
        late.pipe.make_room(None)
        assert await late.ids() == list(range(101, 451))
    # The last one is not held: events could have been added to it since.
    full = [query.after for query in rig.journal.reads if query.after < 400]
    assert sorted(full) == [0, 100, 200, 300]


async def test_pages_of_another_epoch_are_not_taken_for_this_one(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen(*["a"] * 300)
    with rig.listening(Subscription(after=0)) as ear:
        assert len(await ear.ids()) == 300
    rig.journal.epoch = "epoch-2"
    with rig.listening(Subscription(after=0, epoch="epoch-1")) as ear:
        assert types(await ear.hear()) == ["welcome", "gap", "snapshot"]


async def test_a_page_that_could_not_be_read_is_tried_by_the_next_one(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a")
    rig.journal.failures = 1
    with rig.listening(Subscription(after=0)) as one, rig.listening(Subscription(after=0)) as other:
        assert sorted((await one.ids(), await other.ids())) == [[], [1]]
        await trio.sleep(1.1)
        assert sorted((await one.ids(), await other.ids())) == [[], [1]]


async def test_held_pages_are_bounded(rig: Rig, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "HELD_BYTES", 300_000)
    rig.happen(*["a"] * 1000, size=1000)
    for _ in range(2):
        with rig.listening(Subscription(after=0)) as ear:
            assert len(await ear.ids()) == 1000
    assert len(rig.journal.reads) == 20  # of ten pages two are held, and never the next one


# --- gap


@pytest.mark.parametrize(
    ("wish", "gap"),
    [
        (Subscription(after=3), {"after": 3, "oldest": 11, "reason": "pruned"}),
        (Subscription(after=99), {"after": 99, "oldest": 11, "reason": "ahead"}),
        (Subscription(after=15, epoch="another"), {"after": 15, "oldest": 11, "reason": "epoch"}),
    ],
)
async def test_history_that_is_gone_is_a_gap_a_snapshot_and_then_live(
    rig: Rig, autojump_clock: MockClock, wish: Subscription, gap: dict[str, object]
) -> None:
    rig.happen(*["a"] * 20)
    rig.journal.oldest = 11
    rig.journal.sessions_now = [make_session("a")]
    with rig.listening(wish) as ear:
        heard = await ear.hear()
        assert types(heard) == ["welcome", "gap", "snapshot"]
        assert heard[1] == {"type": "gap", **gap, "epoch": "epoch-1"}
        assert heard[2]["last_event_id"] == 20
        rig.happen("a")
        assert await ear.ids() == [21]


async def test_history_pruned_under_a_slow_replay_is_a_gap_too(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen(*["a"] * 300)
    with rig.listening(Subscription(after=0), room=1000) as ear:
        await ear.hear()
        rig.journal.oldest = 250
        ear.pipe.make_room(None)
        heard = (await ear.hear())[-2:]  # behind the first page
        assert types(heard) == ["gap", "snapshot"]
        assert (heard[0]["after"], heard[0]["oldest"], heard[0]["reason"]) == (100, 250, "pruned")
        assert heard[1]["last_event_id"] == 300
        rig.happen("a")
        assert await ear.ids() == [301]


async def test_a_new_epoch_is_told_to_those_who_are_live(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a")
    rig.journal.sessions_now = [make_session("a")]
    with rig.listening() as ear:
        await ear.hear()
        rig.journal.epoch = "epoch-2"
        rig.hub.tell([])
        heard = await ear.hear()
        assert types(heard) == ["gap", "snapshot"]
        assert (heard[0]["reason"], heard[0]["epoch"]) == ("epoch", "epoch-2")
        rig.happen("a")
        assert await ear.ids() == [2]
        with rig.listening() as newcomer:
            assert (await newcomer.hear())[0]["epoch"] == "epoch-2"


async def test_a_new_epoch_noticed_at_the_next_event_is_told_before_it(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a")
    with rig.listening() as ear:
        await ear.hear()
        rig.journal.epoch = "epoch-2"
        rig.happen("a")
        heard = await ear.hear()
        assert types(heard) == ["gap", "snapshot"]
        assert heard[1]["last_event_id"] == 2  # the event is in the snapshot
        rig.happen("a")
        assert await ear.ids() == [3]


# --- snapshot


async def test_a_snapshot_holds_the_sessions_and_the_events_after_it_follow(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen("a", "b")
    rig.journal.sessions_now = [make_session("a"), make_session("b")]
    with rig.listening(Subscription(snapshot=True)) as ear:
        welcome, snapshot = await ear.hear()
        rig.happen("b")
        assert await ear.ids() == [3]
    assert welcome["last_event_id"] == 2
    assert (snapshot["last_event_id"], snapshot["more"]) == (2, False)
    assert [shown["session_id"] for shown in snapshot["sessions"]] == ["a", "b"]
    assert snapshot["sessions"][0]["participants"] == []


async def test_a_snapshot_is_filtered_by_session_and_not_by_type(rig: Rig, autojump_clock: MockClock) -> None:
    rig.journal.sessions_now = [make_session("a"), make_session("b")]
    wish = Subscription(snapshot=True, filter=Filter(frozenset({"b"}), frozenset({ENDED})))
    with rig.listening(wish) as ear:
        _, snapshot = await ear.hear()
    assert [shown["session_id"] for shown in snapshot["sessions"]] == ["b"]


async def test_without_sessions_there_is_one_empty_snapshot(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(Subscription(snapshot=True)) as ear:
        assert (await ear.hear())[1] == {"type": "snapshot", "last_event_id": 0, "sessions": [], "more": False}


async def test_after_wins_over_snapshot_where_it_can_be_honoured(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a", "a")
    with rig.listening(Subscription(after=1, snapshot=True)) as ear:
        assert types(await ear.hear()) == ["welcome", "session_updated"]
    rig.journal.oldest = 3
    with rig.listening(Subscription(after=1, snapshot=True)) as ear:
        assert types(await ear.hear()) == ["welcome", "gap", "snapshot"]


async def test_large_snapshots_come_in_several_frames_that_say_so(rig: Rig, autojump_clock: MockClock) -> None:
    everyone = tuple(
        Presence(participant=Participant(id=f"p{n}", name="ü" * 128, joined_at=NOW), last_seen_at=NOW)
        for n in range(150)
    )
    rig.journal.sessions_now = [make_session(f"s{n}", present=everyone) for n in range(20)]
    with rig.listening(Subscription(snapshot=True)) as ear:
        frames = (await ear.hear())[1:]
    assert len(frames) > 3
    assert all(len(json.dumps(frame, ensure_ascii=False).encode()) <= SNAPSHOT_MAX_BYTES * 1.1 for frame in frames)
    assert [frame["more"] for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert [shown["session_id"] for frame in frames for shown in frame["sessions"]] == [f"s{n}" for n in range(20)]


async def test_those_who_ask_for_all_sessions_at_once_share_the_reading(rig: Rig, autojump_clock: MockClock) -> None:
    """After a restart every dashboard comes back at the same moment."""
    rig.journal.sessions_now = [make_session("a")]
    rig.journal.gate = trio.Event()
    with ExitStack() as stack:
        ears = [stack.enter_context(rig.listening(Subscription(snapshot=True))) for _ in range(10)]
        await wait_all_tasks_blocked()
        ears += [stack.enter_context(rig.listening(Subscription(snapshot=True))) for _ in range(40)]
        await wait_all_tasks_blocked()
        rig.journal.gate.set()
        for ear in ears:
            assert types(await ear.hear()) == ["welcome", "snapshot"]
    # The one under way, and one for all who came meanwhile.
    assert [read for read in rig.journal.reads if read == "snapshot"] == ["snapshot", "snapshot"]


async def test_one_who_gives_up_waiting_for_a_snapshot_does_not_take_it_from_the_others(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.journal.gate = trio.Event()
    with ExitStack() as leaving, ExitStack() as staying:
        for _ in range(2):
            leaving.enter_context(rig.listening(Subscription(snapshot=True)))
            await wait_all_tasks_blocked()
        ears = [staying.enter_context(rig.listening(Subscription(snapshot=True))) for _ in range(2)]
        await wait_all_tasks_blocked()
        leaving.close()
        rig.journal.gate.set()
        for ear in ears:
            assert types(await ear.hear()) == ["welcome", "snapshot"]


# --- a new filter in mid-replay


async def test_a_new_filter_during_replay_holds_after_the_page_that_is_queued(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(*["a", "b"] * 150)
    with rig.listening(Subscription(after=0, filter=Filter(frozenset({"a"}))), room=1000) as ear:
        await wait_all_tasks_blocked()
        ear.listener.subscribe(Filter(frozenset({"b"})))
        ear.pipe.make_room(None)
        heard = await ear.hear()
    where = types(heard).index("subscribed")
    assert len(heard[1:where]) == 100
    assert {message["session_id"] for message in heard[1:where]} == {"a"}
    last = heard[where]["last_event_id"]
    assert [message["id"] for message in heard[where + 1 :]] == [id_ for id_ in range(last + 1, 301) if id_ % 2 == 0]


async def test_a_page_read_under_the_old_filter_is_thrown_away(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen("a", "b", "a", "b")
    rig.journal.gate = trio.Event()
    with rig.listening(Subscription(after=0, filter=Filter(frozenset({"a"})))) as ear:
        await wait_all_tasks_blocked()
        ear.listener.subscribe(Filter(frozenset({"b"})))
        rig.journal.gate.set()
        heard = await ear.hear()
    assert heard[1] == {"type": "subscribed", "last_event_id": 0}
    assert [message["id"] for message in heard[2:]] == [2, 4]


async def test_a_snapshot_read_under_the_old_filter_is_read_again(rig: Rig, autojump_clock: MockClock) -> None:
    rig.journal.sessions_now = [make_session("a"), make_session("b")]
    rig.journal.gate = trio.Event()
    with rig.listening(Subscription(snapshot=True, filter=Filter(frozenset({"a"})))) as ear:
        await wait_all_tasks_blocked()
        ear.listener.subscribe(Filter(frozenset({"b"})))
        rig.journal.gate.set()
        heard = await ear.hear()
    assert types(heard) == ["welcome", "subscribed", "snapshot"]
    assert [shown["session_id"] for shown in heard[2]["sessions"]] == ["b"]
