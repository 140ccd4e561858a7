"""The commit loop: groups, order, cancellation, and waits that end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import attrs
import pytest
import trio
from journal_builders import Box, a_session, begins, created_event, sid, tells, updated_event
from loop_rig import Loop, open_loop

from transport_trio.errors import StorageUnavailable, VersionConflict
from transport_trio.events import RecordedEvent
from transport_trio.journal import SqliteJournal
from transport_trio.journal.commits import GROUP_CHANGES, QUEUE_CHANGES
from transport_trio.models import CheckStatus
from transport_trio.ports import Change, EventQuery


@pytest.fixture
async def loop(box: Box) -> AsyncIterator[Loop]:
    async with open_loop(box) as loop:
        yield loop


async def test_what_waits_for_the_disk_goes_into_one_transaction(loop: Loop) -> None:
    async with trio.open_nursery() as nursery, loop.hanging_commit(nursery):
        for number in range(10):
            nursery.start_soon(loop.write, tells(number))
        await trio.testing.wait_all_tasks_blocked()
        assert loop.told == []
    assert loop.groups() == (2, 11)
    assert loop.told == list(range(1, 12))


async def test_a_group_has_a_limit(loop: Loop) -> None:
    async with trio.open_nursery() as nursery, loop.hanging_commit(nursery):
        for number in range(GROUP_CHANGES + 1):
            nursery.start_soon(loop.write, tells(number))
        await trio.testing.wait_all_tasks_blocked()
    assert loop.groups() == (3, 1 + GROUP_CHANGES + 1)


async def test_a_conflict_in_a_group_undoes_nothing_but_itself(loop: Loop) -> None:
    await loop.write(begins(1))
    refused: list[str] = []

    async def write(change: Change) -> None:
        try:
            await loop.write(change)
        except VersionConflict as conflict:
            refused.append(str(conflict))

    stale = Change(session=a_session(1), expected_version=7, events=(updated_event(1), updated_event(1)))
    async with trio.open_nursery() as nursery, loop.hanging_disk():
        for change in (begins(2), begins(3), stale, begins(1), begins(4), tells(1)):
            nursery.start_soon(write, change)
            await trio.testing.wait_all_tasks_blocked()
    assert len(refused) == 2
    assert loop.told == [1, 2, 3, 4, 5]
    assert loop.groups() == (3, 7)
    assert loop.box.metric("transport_journal_commit_failures_total", reason="conflict") == 2


async def test_a_cancelled_caller_ends_its_waiting_not_its_commit(loop: Loop) -> None:
    scopes = [trio.CancelScope(), trio.CancelScope()]
    gone = trio.Event()

    async def write(scope: trio.CancelScope, number: int) -> None:
        with scope:
            await loop.write(tells(number))
        assert scope.cancelled_caught
        gone.set()

    async with trio.open_nursery() as nursery, loop.hanging_disk():
        for number, scope in enumerate(scopes):
            nursery.start_soon(write, scope, number)
        await trio.testing.wait_all_tasks_blocked()
        for scope in scopes:  # one is taken already, the other still queued
            scope.cancel()
        await gone.wait()
    await loop.write(tells(3))
    assert loop.told == [1, 2, 3]


async def test_a_commit_that_the_disk_never_began_is_taken_back(box: Box) -> None:
    async with open_loop(box, patience_s=0.2) as loop:
        # The first is taken: it may be stored, so its writer waits on for the answer.
        async with trio.open_nursery() as nursery, loop.hanging_commit(nursery):
            with pytest.raises(StorageUnavailable, match="too slow"):
                await loop.write(tells(2, 2))
            assert loop.told == []
        await loop.write(tells(3))
        assert loop.told == [1, 2]
        assert loop.groups() == (2, 2)


async def test_a_full_queue_waits_and_then_gives_up(box: Box) -> None:
    async with open_loop(box, patience_s=0.5) as loop:
        refused: list[str] = []

        async def write() -> None:
            with pytest.raises(StorageUnavailable) as exc:
                await loop.write(tells(1))
            refused.append(str(exc.value))

        async with trio.open_nursery() as nursery, loop.hanging_commit(nursery), trio.open_nursery() as writers:
            for _ in range(QUEUE_CHANGES + 3):
                writers.start_soon(write)
        assert refused == ["the journal's disk is too slow: not stored within 0.5 s"] * (QUEUE_CHANGES + 3)
        await loop.write(tells(3))
        assert loop.told == [1, 2]


async def test_closing_commits_what_waits_and_takes_no_more(loop: Loop) -> None:
    async with trio.open_nursery() as nursery, loop.hanging_disk():
        for number in range(5):
            nursery.start_soon(loop.write, tells(number))
        await trio.testing.wait_all_tasks_blocked()
        loop.commits.close()
        with pytest.raises(StorageUnavailable, match="closed"):
            await loop.write(tells(9))
    assert loop.told == [1, 2, 3, 4, 5]


async def test_a_writer_before_a_full_queue_hears_of_the_closing(loop: Loop) -> None:
    refused = []

    async def write() -> None:
        try:
            await loop.write(tells(1))
        except StorageUnavailable as exc:
            refused.append(str(exc))

    async with trio.open_nursery() as nursery, loop.hanging_commit(nursery):
        for _ in range(QUEUE_CHANGES + 3):
            nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        loop.commits.close()
        await trio.testing.wait_all_tasks_blocked()
        assert refused == ["the journal is closed"] * 3
    assert loop.told == list(range(1, QUEUE_CHANGES + 2))


async def test_writers_hear_of_it_when_the_loop_is_cancelled(loop: Loop) -> None:
    answers: list[str] = []

    async def write(number: int) -> None:
        with pytest.raises(StorageUnavailable) as refused:
            await loop.write(tells(number))
        answers.append(str(refused.value))

    async with trio.open_nursery() as nursery, loop.hanging_disk():
        for number in range(4):
            nursery.start_soon(write, number)
        await trio.testing.wait_all_tasks_blocked()
        loop.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert answers == ["the journal is closed"] * 4
    assert loop.told == []
    assert loop.writer.last_id == 0


async def test_what_cannot_be_stored_fails_at_its_writer_alone(journal: SqliteJournal) -> None:
    odd = a_session(1, room=attrs.evolve(a_session().room, metadata={"x": object()}))
    with pytest.raises(TypeError):
        await journal.commit(Change(session=odd, events=(created_event(odd),)))
    torn = a_session(1, provider="\udcff")
    with pytest.raises(UnicodeEncodeError):
        await journal.commit(Change(session=torn))
    await journal.commit(begins(1))
    assert journal.head == 1


async def test_a_bug_in_who_is_told_ends_the_journal_not_silently(box: Box) -> None:
    def tell(events: object) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with box.open() as journal:
            journal.on_commit(tell)
            await journal.commit(begins(1))


async def test_a_snapshot_never_holds_what_was_not_told(journal: SqliteJournal) -> None:
    """Else who asks for what follows the snapshot would be ahead of the journal."""
    told: list[int] = []
    journal.on_commit(lambda events: told.append(events[-1].id))
    done = trio.Event()

    async def look() -> None:
        while not done.is_set():
            snapshot = await journal.snapshot()
            assert snapshot.last_event_id <= journal.head
            assert len(snapshot.sessions) == snapshot.last_event_id
            page = await journal.events(EventQuery(after=snapshot.last_event_id))
            assert page.last_event_id <= (told[-1] if told else 0)

    async def write(first: int) -> None:
        for number in range(first, first + 40):
            await journal.commit(begins(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(look)
        async with trio.open_nursery() as writers:
            for first in (0, 100, 200):
                writers.start_soon(write, first)
        done.set()
    assert journal.head == 120


async def test_a_commit_is_counted_and_timed(journal: SqliteJournal, box: Box) -> None:
    await journal.commit(begins(1))
    assert box.metric("transport_journal_commit_seconds_count") == 1
    assert box.metric("transport_journal_bytes") > 10_000


async def test_a_closed_journal_says_so(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(begins(1))
    calls = (
        partial(journal.commit, tells(1)),
        partial(journal.advance, "nats", 1),
        partial(journal.get, sid(1)),
        journal.snapshot,
        journal.intents,
    )
    for call in calls:
        with pytest.raises(StorageUnavailable, match="closed"):
            await call()
    assert journal.health().status is CheckStatus.FAILED
    assert journal.health().message == "closed"


async def test_leaving_stores_what_is_under_way(box: Box) -> None:
    told: list[RecordedEvent] = []
    async with trio.open_nursery() as nursery, box.open() as journal:
        journal.on_commit(told.extend)
        for number in range(200):
            nursery.start_soon(journal.commit, tells(number))
        await trio.testing.wait_all_tasks_blocked()
    assert len(told) == 200
    async with box.open() as journal:
        assert journal.head == 200
