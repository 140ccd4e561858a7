"""What is forgotten, what is kept, and that the files stay small."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import attrs
import pytest
import trio
from journal_builders import (
    WEEK_S,
    Box,
    a_debt,
    a_session,
    an_intent,
    at,
    begins,
    ended,
    ended_event,
    sid,
    tells,
    until,
    updated_event,
)

from transport_trio.errors import HistoryGone, StorageUnavailable
from transport_trio.journal import SqliteJournal, codec
from transport_trio.journal.condition import MIB
from transport_trio.journal.files import open_files
from transport_trio.journal.housekeeping import EVENTS_STEP
from transport_trio.journal.sqlite_writer import Writer
from transport_trio.models import CheckStatus, IdempotencyRecord, Session, SessionStatus
from transport_trio.ports import Change, EventQuery, SessionQuery

DAY_S = 86400


async def kept(journal: SqliteJournal) -> list[int]:
    ids: list[int] = []
    after = None
    while True:
        page = await journal.events(EventQuery(after=after, limit=500))
        ids += [event.id for event in page.events]
        after = page.last_event_id
        if after == journal.head:
            return ids


def spell(first_s: float, *later_s: float) -> Change:
    return Change(events=tuple(updated_event(1, seconds) for seconds in (first_s, *later_s)))


async def test_events_older_than_their_time_are_forgotten(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(spell(0, 1, 2, 3))
        box.clock.time = at(WEEK_S + 2)  # the third is exactly a week old
        await journal.prune()
        assert await kept(journal) == [3, 4]
        assert box.metric("transport_journal_events_pruned_total") == 2
        for after in (0, 1):
            with pytest.raises(HistoryGone) as gone:
                await journal.events(EventQuery(after=after))
            assert (gone.value.after, gone.value.oldest, gone.value.reason) == (after, 3, "pruned")
        assert [event.id for event in (await journal.events(EventQuery(after=2))).events] == [3, 4]


async def test_ids_go_on_after_everything_was_forgotten_also_over_a_restart(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(spell(0, 1, 2))
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        assert await kept(journal) == []
        assert journal.head == 3
        with pytest.raises(HistoryGone) as gone:
            await journal.events(EventQuery(after=0))
        assert (gone.value.oldest, gone.value.reason) == (4, "pruned")
        assert (await journal.events(EventQuery(after=3))).last_event_id == 3
        assert (await journal.events(EventQuery())).last_event_id == 3
    async with box.open() as journal:
        assert journal.head == 3
        await journal.commit(spell(2 * WEEK_S))
        assert await kept(journal) == [4]


async def test_history_has_no_holes_whatever_the_clock_did(box: Box) -> None:
    """The clock stood a year ahead for one event: what follows it stays, though it is old enough to go."""
    async with box.open() as journal:
        await journal.commit(spell(0, 52 * WEEK_S, 1, 2))
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        assert await kept(journal) == [2, 3, 4]


async def test_many_events_are_forgotten_in_steps_between_which_commits_have_their_turn(box: Box) -> None:
    async with box.open() as journal:
        for _ in range(8):
            await journal.commit(spell(*[0.0] * EVENTS_STEP))
        box.clock.time = at(2 * WEEK_S)
        left_when_stored: list[int] = []

        async def write() -> None:
            await journal.commit(spell(2 * WEEK_S))
            left_when_stored.append(8 * EVENTS_STEP - int(box.metric("transport_journal_events_pruned_total")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.prune)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(write)
        assert left_when_stored[0] > 0
        assert await kept(journal) == [8 * EVENTS_STEP + 1]


async def test_what_a_reader_has_not_read_is_kept(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(spell(0, 1, 2, 3))
        box.clock.time = at(2 * WEEK_S)
        assert await journal.bookmark("nats") is None
        await journal.prune()
        assert await kept(journal) == [1, 2, 3, 4]
        await journal.advance("nats", 2)
        await journal.prune()
        assert await kept(journal) == [3, 4]
        await journal.advance("nats", 4)
        await journal.prune()
        assert await kept(journal) == []


async def test_the_slowest_reader_counts(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(spell(0, 1, 2, 3))
        await journal.advance("fast", 4)
        await journal.advance("slow", 1)
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        assert await kept(journal) == [2, 3, 4]


async def test_readers_from_before_are_waited_for_unless_somebody_knows_better(box: Box) -> None:
    """The relay may ask for its bookmark late: the bus is still away."""
    async with box.open() as journal:
        await journal.commit(spell(0, 1, 2, 3))
        await journal.advance("nats", 1)
    box.clock.time = at(2 * WEEK_S)
    for readers in (None, frozenset({"nats"})):
        box.readers = readers
        async with box.open() as journal:
            await journal.prune()
            assert await kept(journal) == [2, 3, 4]
    # Somebody ran with NATS once and now without: the journal must not grow for ever.
    box.readers = frozenset()
    async with box.open() as journal:
        await journal.prune()
        assert await kept(journal) == []


async def test_a_reader_named_at_the_opening_that_never_read_holds_everything(box: Box) -> None:
    box.readers = frozenset({"nats"})
    async with box.open() as journal:
        await journal.commit(spell(0, 1))
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        assert await kept(journal) == [1, 2]


async def test_sessions_that_ended_long_ago_are_forgotten_and_live_ones_never(box: Box) -> None:
    async with box.open() as journal:
        for number in range(1, 5):
            await journal.commit(begins(number))
        await journal.commit(Change(session=ended(a_session(1), 0), expected_version=1))
        await journal.commit(Change(session=ended(a_session(2), DAY_S), expected_version=1))
        await journal.commit(Change(session=attrs.evolve(a_session(3), status=SessionStatus.ERROR), expected_version=1))
        await journal.commit(Change(add_intent=an_intent(1), add_debt=a_debt(1)))
        box.clock.time = at(WEEK_S + 1)
        await journal.prune()
        assert await journal.get(sid(1)) is None
        page = await journal.sessions(SessionQuery())
        assert [session.id for session in page.sessions] == [sid(4), sid(3), sid(2)]
        assert page.total == 3
        box.clock.time = at(100 * WEEK_S)
        await journal.prune()
        assert [session.id for session in (await journal.snapshot()).sessions] == [sid(3), sid(4)]
        assert await journal.get(sid(2)) is None
        # Rooms are owed however long it takes.
        assert await journal.intents() == (an_intent(1),)
        assert await journal.debts() == (a_debt(1),)


async def test_more_sessions_than_one_step_takes_are_forgotten(box: Box) -> None:
    async with box.open() as journal:
        async with trio.open_nursery() as nursery:
            for number in range(250):
                nursery.start_soon(journal.commit, Change(session=ended(a_session(number))))
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        assert (await journal.sessions(SessionQuery())).total == 0


async def test_cursors_survive_the_forgetting_of_the_newest(box: Box) -> None:
    """A place in the list that were given anew would show a new session among the old ones."""
    async with box.open() as journal:
        for number in range(1, 4):
            await journal.commit(begins(number))
        page = await journal.sessions(SessionQuery(limit=1))
        for number in (2, 3):
            await journal.commit(Change(session=ended(a_session(number), 0), expected_version=1))
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        await journal.commit(begins(4))
        rest = await journal.sessions(SessionQuery(cursor=page.next_cursor))
        assert [session.id for session in rest.sessions] == [sid(1)]


async def test_keys_are_forgotten_after_a_day(box: Box) -> None:
    async with box.open() as journal:
        for seconds in (0, 60):
            record = IdempotencyRecord(
                caller="c", key=f"k{seconds}", fingerprint="f", session_id=sid(1), created_at=at(seconds)
            )
            await journal.commit(Change(remember=record))
        box.clock.time = at(DAY_S + 1)
        await journal.prune()
        assert await journal.recall("c", "k0") is None
        assert await journal.recall("c", "k60") is not None


async def test_it_forgets_by_itself(box: Box) -> None:
    box.tidy_every_s = 0.02
    async with box.open() as journal:
        await journal.commit(spell(0, 1))
        box.clock.time = at(2 * WEEK_S)
        await until(lambda: box.metric("transport_journal_events_pruned_total") == 2)
        assert await kept(journal) == []


# --- size ----------------------------------------------------------------------------------------------------


def bulky_session(number: int) -> Session:
    """Some 100 KiB."""
    return a_session(number, departed=("x" * 1000,) * 100)


def bulky(number: int) -> Change:
    return Change(session=bulky_session(number))


async def fill_up(journal: SqliteJournal, first: int = 1) -> tuple[int, str]:
    """Begin sessions until one is refused: the number of that, and why."""
    number = first
    while True:
        try:
            await journal.commit(bulky(number))
        except StorageUnavailable as exc:
            return number, str(exc)
        number += 1


async def test_past_its_largest_size_nothing_begins_and_everything_goes_on(box: Box) -> None:
    box.max_mib = 1
    async with box.open() as journal:
        refused, why = await fill_up(journal)
        words = "the journal is larger than 1 MiB (JOURNAL_MAX_MIB)"
        assert why == f"{words}: sessions go on, but none can begin"
        assert 5 < refused < 12
        health = journal.health()
        assert (health.status, health.message) == (CheckStatus.FAILED, words)
        with pytest.raises(StorageUnavailable):
            await journal.commit(Change(add_intent=an_intent()))  # else a room is made in vain
        await journal.commit(Change(session=ended(a_session(1)), expected_version=1, events=(ended_event(1),)))
        await journal.commit(Change(settle_intent=sid(1), add_debt=a_debt(1)))
        await journal.commit(tells(2))
        await journal.advance("nats", 1)


async def test_a_journal_over_its_size_opens_and_works_again_when_it_has_forgotten(box: Box) -> None:
    box.max_mib = 1
    async with box.open() as journal:
        for number in range(1, 6):
            await journal.commit(Change(session=ended(bulky_session(number))))
        await fill_up(journal, first=6)
    async with box.open() as journal:
        assert journal.health().status is CheckStatus.FAILED
        box.clock.time = at(2 * WEEK_S)
        await journal.prune()
        assert journal.health().status is CheckStatus.OK
        await journal.commit(begins(1000))


@pytest.fixture
def writer(box: Box) -> Iterator[Writer]:
    files = open_files(box.folder)
    yield files.writer
    for db in files.readers:
        db.close()
    files.close()


def test_space_inside_the_file_is_given_back_but_for_a_spare(writer: Writer, box: Box) -> None:
    writer.write([codec.prepare(Change(session=ended(bulky_session(number)))) for number in range(60)])
    writer.prune_sessions(ended_before_us=codec.micros(at(WEEK_S)), keys_before_us=0, limit=100)
    assert writer.size.used < MIB < 5 * MIB < writer.size.on_disk
    steps = 1
    while writer.give_back(keep_bytes=2 * MIB):
        steps += 1
    assert steps > 2
    assert not writer.give_back(keep_bytes=2 * MIB)
    writer.shorten_log(keep_bytes=0)
    assert MIB < box.file.stat().st_size < 3 * MIB
    assert box.log.stat().st_size == 0


def test_a_log_that_is_short_enough_is_left_alone(writer: Writer, box: Box) -> None:
    writer.write([codec.prepare(tells(1))])
    size = box.log.stat().st_size
    writer.shorten_log(keep_bytes=size)
    assert box.log.stat().st_size == size > 0


def test_the_log_starts_anew_by_itself(writer: Writer, box: Box) -> None:
    longest = 0
    for first in range(0, 200, 10):
        writer.write([codec.prepare(bulky(number)) for number in range(first, first + 10)])
        longest = max(longest, box.log.stat().st_size)
    assert 4 * MIB < longest < 8 * MIB


def test_a_long_reader_makes_the_log_grow_for_its_time_only(writer: Writer, box: Box) -> None:
    """A backup that reads for minutes must neither stop commits nor leave the log long for good."""
    backup = sqlite3.connect(box.file, isolation_level=None)
    backup.execute("BEGIN")
    backup.execute("SELECT count(*) FROM events").fetchone()
    writer.write([codec.prepare(bulky(number)) for number in range(60)])
    writer.shorten_log(keep_bytes=4 * MIB)
    assert box.log.stat().st_size > 5 * MIB
    writer.write([codec.prepare(tells(1))])
    backup.execute("ROLLBACK")
    backup.close()
    writer.shorten_log(keep_bytes=4 * MIB)
    assert box.log.stat().st_size == 0
    writer.write([codec.prepare(tells(1))])


async def test_the_log_stays_short_under_readers_that_never_stop(box: Box) -> None:
    """Each reader pins the log for its moment; together they could keep it from ever starting anew."""
    longest = 0
    async with box.open() as journal:
        await journal.commit(begins(1))
        done = trio.Event()

        async def look() -> None:
            while not done.is_set():
                await journal.snapshot(frozenset({sid(1)}))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(look)
            for number in range(2, 202):
                await journal.commit(bulky(number))
                longest = max(longest, box.log.stat().st_size)
            done.set()
    assert longest < 16 * MIB
