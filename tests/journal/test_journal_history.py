"""Pages of history: bounded in what one call looks at and in what it returns."""

from __future__ import annotations

import trio
from journal_builders import Box, begins, ended_event, sid, somebody, tells

from transport_trio.events import EventType, RecordedEvent, SessionUpdated
from transport_trio.journal import SqliteJournal
from transport_trio.journal.sqlite_reader import FEW_SESSIONS, PAGE_BYTES, SCAN_EVENTS
from transport_trio.models import SessionStatus
from transport_trio.ports import Change, EventPage, EventQuery


async def pages(journal: SqliteJournal, **query: object) -> list[EventPage]:
    found: list[EventPage] = []
    after = 0
    while after < journal.head:
        page = await journal.events(EventQuery(after=after, **query))  # type: ignore[arg-type]
        assert page.last_event_id > after
        found.append(page)
        after = page.last_event_id
    return found


async def test_a_filter_that_lets_little_through_looks_a_bounded_way(journal: SqliteJournal) -> None:
    await journal.commit(tells(*[1] * SCAN_EVENTS))
    await journal.commit(tells(*[2] * SCAN_EVENTS))
    await journal.commit(Change(events=(ended_event(1),)))
    found = await pages(journal, types=frozenset({EventType.SESSION_ENDED}))
    assert [page.last_event_id for page in found] == [SCAN_EVENTS, 2 * SCAN_EVENTS, 2 * SCAN_EVENTS + 1]
    assert [len(page.events) for page in found] == [0, 0, 1]


async def test_few_sessions_are_found_at_once_however_far_apart(journal: SqliteJournal) -> None:
    await journal.commit(tells(1))
    await journal.commit(tells(*[2] * (SCAN_EVENTS + 1)))
    await journal.commit(tells(1))
    (page,) = await pages(journal, session_ids=frozenset({sid(1), sid(3)}))
    assert [event.id for event in page.events] == [1, SCAN_EVENTS + 3]


async def test_few_and_many_sessions_are_found_the_same(journal: SqliteJournal) -> None:
    await journal.commit(tells(*[number % 40 for number in range(400)]))
    few = frozenset(sid(number) for number in range(FEW_SESSIONS))
    many = few | {sid(number) for number in range(1000, 1010)}

    async def ids(session_ids: frozenset[str]) -> list[int]:
        found = await pages(journal, session_ids=session_ids, limit=7)
        return [event.id for page in found for event in page.events]

    assert await ids(few) == await ids(many)
    assert len(await ids(few)) == 10 * FEW_SESSIONS


async def test_a_page_of_large_events_is_cut_by_its_size(journal: SqliteJournal) -> None:
    crowd = tuple(somebody(f"{place:0200}").participant for place in range(200))
    large = SessionUpdated(
        session_id=sid(1), time=somebody().last_seen_at, status=SessionStatus.ACTIVE, participants=crowd
    )
    await journal.commit(Change(events=(large,) * 100))
    found = await pages(journal, limit=500)
    assert len(found) > 1
    for page in found:
        assert sum(len(event.body) for event in page.events) < PAGE_BYTES + 64 * 1024
    assert [event.id for page in found for event in page.events] == list(range(1, 101))


async def test_a_reader_that_follows_misses_and_doubles_nothing_while_commits_go_on(journal: SqliteJournal) -> None:
    told: list[RecordedEvent] = []
    journal.on_commit(told.extend)
    read: list[RecordedEvent] = []
    done = trio.Event()

    async def follow() -> None:
        after = 0
        while not (done.is_set() and after == journal.head):
            page = await journal.events(EventQuery(after=after, limit=7))
            read.extend(page.events)
            after = page.last_event_id

    async def write(first: int) -> None:
        for number in range(first, first + 30):
            await journal.commit(begins(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        async with trio.open_nursery() as writers:
            for first in (0, 100, 200, 300):
                writers.start_soon(write, first)
        done.set()
    assert read == told
    assert len(read) == 120


async def test_a_page_holds_nothing_that_was_not_told(box: Box) -> None:
    """What is committed but not yet told would reach a listener twice: by the page, then live."""
    async with box.open() as journal:
        seen: list[int] = []
        done = trio.Event()

        async def look() -> None:
            while not done.is_set():
                page = await journal.events(EventQuery())
                assert page.last_event_id <= journal.head
                seen.append(page.last_event_id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            for number in range(100):
                await journal.commit(begins(number))
            done.set()
        assert seen == sorted(seen)
