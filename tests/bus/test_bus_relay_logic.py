"""The relay's logic on Trio's clock, with a journal and a stream in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any

import pytest
import trio
from bus_rig import births, tells
from bus_rig import event as told
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from fakes import MemoryJournal
from fakes_bus import FakeBus, Fate
from transport_trio.bus import Relay
from transport_trio.bus.delivery import IN_FLIGHT_MAX
from transport_trio.bus.fences import FENCES_MAX, Fence, Fences
from transport_trio.errors import BusDuplicate, StorageUnavailable
from transport_trio.metrics import Metrics
from transport_trio.models import SessionId, new_session_id
from transport_trio.ports import BusMessage, Change

ADA, BOB, EVE = (SessionId(f"00000000-0000-4000-8000-00000000000{n}") for n in range(3))
PEOPLE = (ADA, BOB, EVE)
A_DAY_S = 86400


class Rig:
    def __init__(self, metrics: Metrics) -> None:
        self.journal, self.bus, self.metrics = MemoryJournal(), FakeBus(), metrics
        self.rollbacks = 0

    def relay(self) -> Relay:
        return Relay(self.journal, self.bus, self.metrics, on_rollback=self._roll_back)

    async def _roll_back(self) -> None:
        self.rollbacks += 1
        await self.journal.begin_new_epoch()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        relay = self.relay()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.run)
            yield relay
            nursery.cancel_scope.cancel(reason="the test is over")

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def rig(metrics: Metrics) -> Rig:
    return Rig(metrics)


async def test_each_event_is_published_once_and_counted(autojump_clock: MockClock, rig: Rig) -> None:
    async with rig.running() as relay:
        for _ in range(50):
            await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == list(range(1, 101, 2))
    assert rig.bus.ids_of(BOB) == list(range(2, 101, 2))
    assert rig.bus.published == 100
    assert rig.metric("delivered_messages_total") == 100
    assert rig.metric("pending_messages") == 0


async def test_first_start_begins_at_the_oldest_kept_event(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.journal.commit(tells(*[ADA] * 10))
    rig.journal.forget(through=4)
    async with rig.running() as relay:
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [5, 6, 7, 8, 9, 10]


async def test_first_start_on_a_journal_without_events_delivers_what_comes(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.journal.commit(tells(*[ADA] * 10))
    rig.journal.forget(through=10)
    async with rig.running() as relay:
        await relay.drain()
        await rig.journal.commit(tells(ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [11]


async def test_a_later_start_goes_on_from_the_bookmark(autojump_clock: MockClock, rig: Rig) -> None:
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
    await rig.journal.commit(tells(ADA))
    rig.bus.purge()
    async with rig.running() as relay:
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [3]
    assert rig.bus.ids_of(BOB) == []


async def test_pending_grows_while_the_bus_is_away(autojump_clock: MockClock, rig: Rig) -> None:
    rig.bus.go_away()
    async with rig.running() as relay:
        await rig.journal.commit(tells(*[ADA] * 100))
        await trio.sleep(3600)
        assert rig.metric("pending_messages") == relay.pending == 100
        rig.bus.come_back()
        await relay.drain()
        assert rig.metric("pending_messages") == 0
    assert rig.bus.ids_of(ADA) == list(range(1, 101))


async def test_at_most_a_page_is_in_flight(autojump_clock: MockClock, rig: Rig) -> None:
    people = [SessionId(f"00000000-0000-4000-8000-{n:012d}") for n in range(500)]
    await rig.journal.commit(tells(*people))
    async with rig.running() as relay:
        await relay.drain()
    assert rig.bus.most_in_flight == IN_FLIGHT_MAX


async def test_a_session_that_began_after_the_relay_is_not_asked_about(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.journal.commit(births(ADA))
    async with rig.running() as relay:
        await rig.journal.commit(births(BOB))
        await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
    assert rig.bus.asked == 1
    assert (rig.bus.ids_of(ADA), rig.bus.ids_of(BOB)) == ([1, 3], [2, 4])


async def test_a_birth_whose_ack_is_lost_is_asked_about_all_the_same(autojump_clock: MockClock, rig: Rig) -> None:
    rig.bus.meet([Fate.ACK_LOST])
    async with rig.running() as relay:
        await rig.journal.commit(births(ADA))
        await relay.drain()
    assert (rig.bus.asked, rig.bus.published, rig.bus.ids_of(ADA)) == (1, 1, [1])


async def test_a_late_copy_finds_no_place_in_a_stream_that_began_anew(autojump_clock: MockClock, rig: Rig) -> None:
    """Its fence is of the old stream, and could be just the sequence that the session has in the new one."""
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
        rig.bus.go_away()
        rig.bus.wipe()
        rig.bus.come_back()
        await rig.journal.commit(tells(EVE))
        await relay.drain()
        rig.bus.meet([Fate.LATE])
        await rig.journal.commit(tells(BOB))
        await relay.drain()
        rig.bus.let_late_copies_land()
    assert sorted(kept.event_id for kept in rig.bus.stream) == [3, 4]


async def test_slow_session_does_not_hold_up_the_others_of_its_page(autojump_clock: MockClock, rig: Rig) -> None:
    """Sessions are pipelined: a page costs as many round trips as its longest chain, not as it has events."""
    rig.bus.latency_s = 1.0
    await rig.journal.commit(tells(*(person for person in PEOPLE for _ in range(4))))
    async with rig.running() as relay:
        began = trio.current_time()
        await relay.drain()
        # A look for a rollback, a question how far each session got, four messages.
        assert trio.current_time() - began == pytest.approx(6.0, abs=0.1)


async def test_bookmark_is_stored_in_batches_and_after_the_acks(autojump_clock: MockClock, rig: Rig) -> None:
    stored: list[tuple[int, int]] = []
    advance = rig.journal.advance

    async def watched(reader: str, event_id: int) -> None:
        stored.append((event_id, len(rig.bus.stream)))
        await advance(reader, event_id)

    rig.journal.advance = watched  # type: ignore[method-assign]
    async with rig.running():
        for _ in range(300):
            await rig.journal.commit(tells(ADA))
            await trio.sleep(0.01)
        await trio.sleep(5)
    assert stored[-1] == (300, 300)
    assert len(stored) <= 12
    assert all(acked >= bookmark for bookmark, acked in stored)


async def test_refused_event_is_passed_over_and_the_rest_goes_on(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.bus.too_large = frozenset({3})
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA, BOB, ADA, BOB, ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1, 5]
    assert rig.bus.ids_of(BOB) == [2, 4]
    assert rig.metric("transport_bus_messages_refused_total") == 1
    assert rig.metric("delivered_messages_total") == 4
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (line.session_id, line.event_id) == (ADA, 3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.ACK_LOST, Fate.LATE])
async def test_event_whose_ack_does_not_come_is_stored_once(autojump_clock: MockClock, rig: Rig, fate: Fate) -> None:
    async with rig.running() as relay:
        rig.bus.meet([Fate.ANSWERED, fate, fate])
        await rig.journal.commit(tells(ADA, ADA, ADA))
        await relay.drain()
        rig.bus.let_late_copies_land()
    assert rig.bus.ids_of(ADA) == [1, 2, 3]
    assert rig.metric("delivered_messages_total") == 3
    assert (rig.metric("transport_bus_publish_failures_total", reason="unavailable") or 0) >= 1


@pytest.mark.parametrize("remembers", [False, True])
async def test_late_copy_that_lands_before_the_repeat_is_found(
    autojump_clock: MockClock, rig: Rig, remembers: bool
) -> None:
    """It lands after the stream was asked: only the fence, or the window, can tell then."""
    rig.bus.remembers = remembers
    ask = rig.bus.last_of

    async def asked_too_early(session_id: str) -> tuple[int, str, int] | None:
        answer = await ask(session_id)
        rig.bus.let_late_copies_land()
        return answer

    rig.bus.last_of = asked_too_early  # type: ignore[method-assign]
    async with rig.running() as relay:
        rig.bus.meet([Fate.LATE])
        await rig.journal.commit(tells(ADA, ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1, 2]
    assert rig.metric("transport_bus_publish_failures_total", reason="out_of_sequence") == 1
    assert rig.metric("delivered_messages_total") == 2
    assert rig.rollbacks == 0


async def test_stranger_in_a_session_is_logged_and_followed(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        await relay.drain()
        rig.bus.stranger_writes(ADA)
        await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1, 2]
    assert rig.bus.ids_of(BOB) == [3]
    assert rig.metric("transport_bus_publish_failures_total", reason="out_of_sequence") == 1
    assert "fence refused an event" in caplog.text


async def test_stranger_who_wrote_first_is_told_apart(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.bus.stranger_writes(ADA)
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1]
    assert "others have written to a session" in caplog.text


async def test_stranger_who_keeps_writing_is_fought_with_back_off_and_not_in_silence(
    autojump_clock: MockClock, rig: Rig
) -> None:
    """Each time between our question and our message: the fence can only be won when the stranger rests."""
    ask, rounds = rig.bus.last_of, 0

    async def raced(session_id: str) -> tuple[int, str, int] | None:
        nonlocal rounds
        answer = await ask(session_id)
        rounds += 1
        if rounds <= 20:  # ten for each session
            rig.bus.stranger_writes(session_id)
        return answer

    rig.bus.last_of = raced  # type: ignore[method-assign]
    async with rig.running() as relay:
        began = trio.current_time()
        await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
        assert trio.current_time() - began > 10
    assert rig.bus.ids_of(ADA) == [1]
    assert rig.bus.ids_of(BOB) == [2]
    assert rig.metric("transport_bus_publish_failures_total", reason="out_of_sequence") == 20


async def test_purged_stream_is_gone_on_with(autojump_clock: MockClock, rig: Rig) -> None:
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA, BOB, ADA))
        await relay.drain()
        rig.bus.purge()
        await rig.journal.commit(tells(ADA, BOB))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [4]
    assert rig.bus.ids_of(BOB) == [5]


async def test_bookmark_older_than_the_journal_goes_on_from_the_oldest(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.journal.commit(tells(*[ADA] * 10))
    await rig.journal.advance("nats", 2)
    rig.journal.forget(through=6)
    async with rig.running() as relay:
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [7, 8, 9, 10]
    assert "undelivered events are gone" in caplog.text


async def test_bookmark_ahead_of_the_journal_leaves_nothing_out(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.journal.commit(tells(ADA, ADA))
    await rig.journal.advance("nats", 50)
    async with rig.running() as relay:
        await trio.sleep(1)
        await rig.journal.commit(tells(ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1, 2, 3]
    assert "undelivered events are gone" in caplog.text


async def test_journal_that_cannot_be_read_is_asked_again(autojump_clock: MockClock, rig: Rig) -> None:
    rig.journal.unavailable = "the disk is away"
    async with rig.running() as relay:
        await trio.sleep(60)
        assert relay.pending == 0
        rig.journal.unavailable = None
        await rig.journal.commit(tells(ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1]


async def test_bookmark_that_cannot_be_stored_is_tried_again(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    advance = rig.journal.advance

    async def fails(reader: str, event_id: int) -> None:
        raise StorageUnavailable("the disk is full")

    rig.journal.advance = fails  # type: ignore[method-assign]
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        await relay.drain()
        await trio.sleep(30)
        assert "bookmark not stored" in caplog.text
        rig.journal.advance = advance  # type: ignore[method-assign]
        await rig.journal.commit(tells(ADA))
        await trio.sleep(30)
    assert rig.journal.bookmarks["nats"] == 2
    assert rig.bus.ids_of(ADA) == [1, 2]


async def test_relay_finds_what_it_was_not_woken_for(autojump_clock: MockClock, rig: Rig) -> None:
    """Another process may commit to a shared journal."""
    async with rig.running() as relay:
        await trio.sleep(1)
        rig.journal._tells.clear()
        await rig.journal.commit(tells(ADA))
        await trio.sleep(60)
        assert relay.pending == 0
    assert rig.bus.ids_of(ADA) == [1]


async def test_bookmark_that_lags_by_pages_doubles_nothing(autojump_clock: MockClock, rig: Rig) -> None:
    """More is in doubt than one page: what the first page learns of a session must hold for the next ones."""
    async with rig.running() as relay:
        await rig.journal.commit(tells(*[ADA] * 200))
        await relay.drain()
    rig.journal.bookmarks["nats"] = 0
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        await relay.drain()
    assert rig.bus.ids_of(ADA) == list(range(1, 202))


async def test_ended_session_is_forgotten(autojump_clock: MockClock, rig: Rig) -> None:
    """What is known of sessions must not grow with every session there ever was."""
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        await rig.journal.commit(tells(ADA, end=True))
        await relay.drain()
        assert relay._delivery._fences.get(ADA, rig.bus.connection) is None


async def test_rolled_back_journal_begins_a_new_epoch_before_it_publishes(
    autojump_clock: MockClock, rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    old = rig.journal.epoch
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA, ADA, ADA, ADA))
        await relay.drain()
    backup = MemoryJournal()
    backup.epoch = old
    await backup.commit(tells(ADA, ADA))
    await backup.advance("nats", 2)
    rig.journal = backup
    rig.bus.go_away()
    async with rig.running() as relay:
        # Meanwhile it outgrows the ids it lost: they belong to other events now.
        await backup.commit(tells(*[BOB] * 10))
        rig.bus.come_back()
        await relay.drain()
    assert rig.rollbacks == 1
    assert backup.epoch != old
    assert {kept.epoch for kept in rig.bus.stream if kept.session_id == BOB} == {backup.epoch}
    assert rig.bus.ids_of(BOB) == list(range(3, 13))
    assert "journal was rolled back" in caplog.text


async def test_rollback_that_shows_only_in_a_session_is_noticed_too(autojump_clock: MockClock, rig: Rig) -> None:
    """The first look has a bound: others may have written more since than it looks at."""
    await rig.journal.commit(tells(ADA))
    other = MemoryJournal()
    other.epoch = rig.journal.epoch
    await other.commit(tells(*[ADA] * 9))

    async def sees_nothing(epoch: str, since: object) -> None:
        return None

    rig.bus.newest_id = sees_nothing  # type: ignore[method-assign, assignment]
    async with Rig.running(rig) as relay:
        await relay.drain()
        rig.bus.purge()
    rig.journal, mine = other, rig.journal
    async with Rig.running(rig) as relay:
        await relay.drain()
    rig.journal = mine
    await mine.commit(tells(ADA, BOB))
    old = mine.epoch
    async with Rig.running(rig) as relay:
        await relay.drain()
    assert rig.rollbacks == 1
    assert mine.epoch != old
    assert [kept.event_id for kept in rig.bus.stream if kept.epoch == mine.epoch and kept.session_id == ADA] == [2]
    assert rig.bus.ids_of(BOB) == [3]


async def put_back(rig: Rig) -> None:
    """Two events of ADA are in the stream, which the journal does not know any more; no look at the stream shows it."""
    rig.bus.remembers = True
    old, rig.journal = rig.journal, MemoryJournal()
    rig.journal.epoch = old.epoch
    for lost in (1, 2):
        await rig.bus.publish(BusMessage(event=told(lost, ADA), epoch=old.epoch))


@pytest.mark.parametrize("first", [births, tells])
async def test_id_that_another_event_had_is_no_ack(
    autojump_clock: MockClock, rig: Rig, first: Callable[[SessionId], Change]
) -> None:
    """The stream takes it for a copy of what the journal lost, and stores nothing."""
    await put_back(rig)
    old = rig.journal.epoch
    with trio.fail_after(A_DAY_S / 24):
        async with rig.running() as relay:
            await rig.journal.commit(first(BOB))
            await rig.journal.commit(first(EVE))
            await rig.journal.commit(tells(BOB, EVE))
            await relay.drain()
    assert (rig.bus.ids_of(BOB), rig.bus.ids_of(EVE)) == ([1, 3], [2, 4])
    assert {kept.epoch for kept in rig.bus.stream if kept.session_id != ADA} == {rig.journal.epoch}
    assert rig.journal.epoch != old
    assert rig.rollbacks == 1


async def test_stream_that_calls_everything_a_duplicate_is_fought_with_back_off_and_one_epoch(
    autojump_clock: MockClock, rig: Rig
) -> None:
    async def refuse(message: BusMessage) -> int:
        rig.bus.published += 1
        raise BusDuplicate("it was here before")

    publish, rig.bus.publish = rig.bus.publish, refuse  # type: ignore[method-assign]
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        await trio.sleep(60)
        assert 10 < rig.bus.published < 30
        assert rig.rollbacks == 1
        rig.bus.publish = publish  # type: ignore[method-assign]
        await relay.drain()
    assert rig.bus.ids_of(ADA) == [1]


def test_what_is_known_of_sessions_is_bounded() -> None:
    fences = Fences()
    for number in range(FENCES_MAX + 10):
        fences.set(str(number), Fence(1, number, number))
        fences.set("0", Fence(1, 0, number))
    assert fences.get("0", 1) == Fence(1, 0, FENCES_MAX + 9)
    assert [fences.get(str(number), 1) for number in range(1, 12)] == [None] * 10 + [Fence(1, 11, 11)]


async def test_drain_that_cannot_finish_is_the_callers_to_bound(autojump_clock: MockClock, rig: Rig) -> None:
    rig.bus.go_away()
    async with rig.running() as relay:
        await rig.journal.commit(tells(ADA))
        with trio.move_on_after(10) as scope:
            await relay.drain()
        assert scope.cancelled_caught


# Some commits are longer than a page.
COMMIT = st.tuples(st.just("commit"), st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=6)) | st.tuples(
    st.just("commit"), st.integers(10, 2 * IN_FLIGHT_MAX).map(lambda count: [PEOPLE[n % 3] for n in range(count)])
)
FATES = st.tuples(st.just("fates"), st.lists(st.sampled_from(Fate), max_size=8))
STEPS = ["restart", "rewind", "away", "back", "stranger", "land", "settle", "birth"]
OTHER = st.tuples(st.sampled_from(STEPS), st.just([]))
# Some are over at once, some have a message or two under way, some are caught up with.
SLEEP = st.tuples(st.just("sleep"), st.lists(st.sampled_from([0.0005, 0.002, 0.01]), min_size=1, max_size=1))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(COMMIT, SLEEP, FATES, OTHER), max_size=40), st.booleans())
def test_whatever_happens_each_event_is_stored_once_and_in_order(
    story: list[tuple[str, list[Any]]], remembers: bool
) -> None:
    trio.run(live_through, story, remembers, clock=MockClock(autojump_threshold=0))


async def live_through(story: list[tuple[str, list[Any]]], remembers: bool) -> None:
    with trio.fail_after(A_DAY_S):
        rig = await lived(story, remembers)
    assert rig.rollbacks == 0
    for person in {event.session_id for event in rig.journal.log}:
        written = [event.id for event in rig.journal.log if event.session_id == person]
        assert rig.bus.ids_of(person) == written


async def lived(story: list[tuple[str, list[Any]]], remembers: bool) -> Rig:
    rig = Rig(Metrics.create(CollectorRegistry()))
    rig.bus.remembers = remembers
    steps = iter([*story, ("end", [])])
    step = ""
    while step != "end":
        async with rig.running() as relay:
            for step, what in steps:
                if step in ("restart", "end"):
                    break
                await take(rig, step, what)
                if step == "rewind":
                    break
            if step == "end":
                rig.bus.come_back()
                rig.bus.meet(repeat(Fate.ANSWERED))
                await relay.drain()
                rig.bus.let_late_copies_land()
    return rig


async def take(rig: Rig, step: str, what: list[Any]) -> None:
    match step:
        case "commit":
            await rig.journal.commit(tells(*what))
        case "birth":
            await rig.journal.commit(births(newcomer := new_session_id()))
            await rig.journal.commit(tells(newcomer, newcomer))
        case "fates":
            rig.bus.meet(what)
        case "rewind":  # the next start finds an old bookmark
            rig.journal.bookmarks["nats"] = 0
        case "away":
            rig.bus.go_away()
        case "back":
            rig.bus.come_back()
        case "stranger":
            rig.bus.stranger_writes(ADA)
        case "land":
            rig.bus.let_late_copies_land()
        case "sleep":
            await trio.sleep(what[0])
        case "settle":
            await trio.sleep(60)
