"""What every journal promises (`ports.Journal`): the real one, and the fake that other tests use in its place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import attrs
import pytest
import trio
from journal_builders import (
    Box,
    a_debt,
    a_session,
    an_intent,
    at,
    begins,
    created_event,
    ended,
    ended_event,
    sid,
    somebody,
    tells,
    updated_event,
)

from fakes import MemoryJournal
from transport_trio.errors import HistoryGone, InvalidRequest, VersionConflict
from transport_trio.events import EventType, RecordedEvent
from transport_trio.models import CheckStatus, IdempotencyRecord, SessionStatus
from transport_trio.ports import Change, EventQuery, Journal, SessionQuery
from transport_trio.wire.out import event_body


class RenewableJournal(Journal, Protocol):
    async def begin_new_epoch(self) -> str: ...


@pytest.fixture(params=["sqlite", "memory"])
async def journal(request: pytest.FixtureRequest, box: Box) -> AsyncIterator[RenewableJournal]:
    if request.param == "memory":
        yield MemoryJournal()
    else:
        async with box.open() as journal:
            yield journal


async def test_a_new_journal_is_empty_and_healthy(journal: RenewableJournal) -> None:
    assert journal.head == 0
    assert len(journal.epoch) == 36
    page = await journal.events(EventQuery())
    assert (page.events, page.last_event_id) == ((), 0)
    assert (await journal.events(EventQuery(after=0))).events == ()
    assert (await journal.sessions(SessionQuery())).total == 0
    assert (await journal.snapshot()).last_event_id == 0
    assert journal.health().status is CheckStatus.OK
    assert journal.health().name == "journal"


async def test_a_session_is_read_as_it_was_written(journal: RenewableJournal) -> None:
    session = a_session(
        present=(somebody(),),
        departed=("s-0",),
        presence_checked_at=at(9.5),
        room_missing_since=at(10),
    )
    stored = await journal.commit(Change(session=session))
    assert stored == attrs.evolve(session, version=1)
    assert await journal.get(session.id) == stored


async def test_each_commit_raises_the_version(journal: RenewableJournal) -> None:
    first = await journal.commit(begins())
    assert first is not None
    second = await journal.commit(
        Change(session=attrs.evolve(first, status=SessionStatus.ACTIVE), expected_version=first.version)
    )
    assert second is not None
    assert (first.version, second.version) == (1, 2)
    assert await journal.get(first.id) == second


@pytest.mark.parametrize("expected", [0, 2])
async def test_a_stale_writer_is_refused_whole(journal: RenewableJournal, expected: int) -> None:
    stored = await journal.commit(begins())
    stale = Change(
        session=a_session(status=SessionStatus.ACTIVE),
        expected_version=expected,
        events=(updated_event(),),
        add_intent=an_intent(),
        add_debt=a_debt(),
        remember=IdempotencyRecord(caller="c", key="k", fingerprint="f", session_id=sid(1), created_at=at(0)),
    )
    with pytest.raises(VersionConflict):
        await journal.commit(stale)
    assert await journal.get(sid(1)) == stored
    assert journal.head == 1
    assert (await journal.events(EventQuery())).last_event_id == 1
    assert await journal.intents() == ()
    assert await journal.debts() == ()
    assert await journal.recall("c", "k") is None


async def test_a_version_of_a_session_never_written_is_refused(journal: RenewableJournal) -> None:
    with pytest.raises(VersionConflict):
        await journal.commit(Change(session=a_session(), expected_version=1))
    assert await journal.get(sid(1)) is None


async def test_a_change_without_a_session_answers_none(journal: RenewableJournal) -> None:
    assert await journal.commit(Change(add_intent=an_intent())) is None


async def test_events_are_numbered_and_read_back_byte_for_byte(journal: RenewableJournal) -> None:
    written = [created_event(a_session()), updated_event(people=3), ended_event()]
    await journal.commit(Change(events=tuple(written[:2])))
    await journal.commit(Change(events=(written[2],)))
    page = await journal.events(EventQuery())
    assert page.events == tuple(
        RecordedEvent(event_id, event.session_id, event.type, event.time, event_body(event, event_id))
        for event_id, event in enumerate(written, 1)
    )
    assert page.last_event_id == journal.head == 3
    assert [json.loads(event.body)["id"] for event in page.events] == [1, 2, 3]


async def test_what_is_told_is_what_is_read(journal: RenewableJournal) -> None:
    told: list[RecordedEvent] = []
    journal.on_commit(told.extend)
    for number in range(1, 4):
        await journal.commit(begins(number))
    assert tuple(told) == (await journal.events(EventQuery())).events


async def test_writers_go_on_only_after_everybody_was_told(journal: RenewableJournal) -> None:
    story: list[str] = []
    heads: list[int] = []

    def tell(events: Sequence[RecordedEvent]) -> None:
        story.append(f"told {[event.id for event in events]}")
        heads.append(journal.head)

    journal.on_commit(tell)
    journal.on_commit(lambda events: story.append("told another"))
    await journal.commit(begins())
    story.append("went on")
    assert story == ["told [1]", "told another", "went on"]
    assert heads == [1]


async def test_a_commit_without_events_tells_nothing(journal: RenewableJournal) -> None:
    told: list[Sequence[RecordedEvent]] = []
    journal.on_commit(told.append)
    await journal.commit(Change(session=a_session()))
    assert told == []


async def test_concurrent_writers_are_told_in_id_order_without_gap_or_double(journal: RenewableJournal) -> None:
    told: list[int] = []
    journal.on_commit(lambda events: told.extend(event.id for event in events))

    async def write(number: int) -> None:
        stored = await journal.commit(begins(number))
        for _ in range(4):
            assert stored is not None
            change = Change(session=stored, expected_version=stored.version, events=(updated_event(number),) * 2)
            stored = await journal.commit(change)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, number)
    assert told == list(range(1, 20 * 9 + 1))


async def test_one_of_two_writers_with_the_same_version_wins(journal: RenewableJournal) -> None:
    stored = await journal.commit(begins())
    assert stored is not None
    lost = []

    async def write() -> None:
        try:
            await journal.commit(Change(session=stored, expected_version=1, events=(updated_event(),)))
        except VersionConflict as conflict:
            lost.append(conflict)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(write)
    assert len(lost) == 1
    assert journal.head == 2
    after = await journal.get(sid(1))
    assert after is not None
    assert after.version == 2


async def test_get_knows_only_what_was_written(journal: RenewableJournal) -> None:
    await journal.commit(begins())
    for unknown in (sid(2), "", "no uuid", sid(1).upper() + " ", "ünïcode", "\udcff", "x" * 5000):
        assert await journal.get(unknown) is None


# --- lists ---------------------------------------------------------------------------------------------------


async def test_sessions_come_newest_first_in_pages(journal: RenewableJournal) -> None:
    for number in range(1, 8):
        await journal.commit(begins(number))
    numbers: list[str] = []
    cursor = None
    for _ in range(3):
        page = await journal.sessions(SessionQuery(limit=3, cursor=cursor))
        assert page.total == 7
        numbers += [session.id for session in page.sessions]
        cursor = page.next_cursor
    assert numbers == [sid(number) for number in (7, 6, 5, 4, 3, 2, 1)]
    assert cursor is None


async def test_a_page_that_ends_the_list_has_no_cursor(journal: RenewableJournal) -> None:
    for number in range(1, 4):
        await journal.commit(begins(number))
    assert (await journal.sessions(SessionQuery(limit=3))).next_cursor is None
    assert (await journal.sessions(SessionQuery(limit=2))).next_cursor is not None


async def test_pages_stay_whole_while_sessions_are_added_and_changed(journal: RenewableJournal) -> None:
    for number in range(1, 5):
        await journal.commit(begins(number))
    first = await journal.sessions(SessionQuery(limit=2))
    await journal.commit(begins(5))
    await journal.commit(Change(session=ended(a_session(2)), expected_version=1))
    rest = await journal.sessions(SessionQuery(limit=10, cursor=first.next_cursor))
    assert [session.id for session in (*first.sessions, *rest.sessions)] == [sid(4), sid(3), sid(2), sid(1)]
    assert rest.total == 5


async def test_lists_are_filtered_and_counted_by_status_and_provider(journal: RenewableJournal) -> None:
    for number in range(1, 7):
        await journal.commit(begins(number, provider="daily" if number % 2 else "other"))
    for number in (1, 2):
        await journal.commit(Change(session=ended(a_session(number)), expected_version=1))

    async def found(query: SessionQuery) -> tuple[list[int], int]:
        page = await journal.sessions(query)
        return [int(session.id[-3:]) for session in page.sessions], page.total

    assert await found(SessionQuery(status=SessionStatus.ENDED)) == ([2, 1], 2)
    assert await found(SessionQuery(status=SessionStatus.CREATED, limit=1)) == ([6], 4)
    assert await found(SessionQuery(status=SessionStatus.CREATED, provider="daily")) == ([5, 3], 2)
    assert await found(SessionQuery(provider="nobody")) == ([], 0)
    assert await found(SessionQuery(status=SessionStatus.ERROR)) == ([], 0)


@pytest.mark.parametrize(
    "cursor", ["", "x", "ä", "\udcff", "-1", "cm93OmFi", "cm93Og", "cm93Oi0x", "=", "cm93OjEyMzQ1Njc4OTAxMjM0NTY3ODkw"]
)
async def test_a_cursor_that_is_not_ours_is_refused(journal: RenewableJournal, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await journal.sessions(SessionQuery(cursor=cursor))
    assert refused.value.faults[0][0] == "cursor"


# --- history -------------------------------------------------------------------------------------------------


async def test_history_goes_on_after_an_id(journal: RenewableJournal) -> None:
    await journal.commit(tells(1, 2, 1, 2, 1))

    async def found(**query: object) -> tuple[list[int], int]:
        page = await journal.events(EventQuery(**query))  # type: ignore[arg-type]
        return [event.id for event in page.events], page.last_event_id

    assert await found(after=2) == ([3, 4, 5], 5)
    assert await found(after=2, limit=2) == ([3, 4], 4)
    assert await found(after=3, limit=2) == ([4, 5], 5)
    assert await found(after=5) == ([], 5)
    assert await found(after=2, epoch=journal.epoch) == ([3, 4, 5], 5)


async def test_filters_let_through_and_say_how_far_they_looked(journal: RenewableJournal) -> None:
    await journal.commit(Change(events=(*tells(1, 2, 3).events, ended_event(1), *tells(2, 2).events)))

    async def found(**query: object) -> tuple[list[int], int]:
        page = await journal.events(EventQuery(**query))  # type: ignore[arg-type]
        return [event.id for event in page.events], page.last_event_id

    assert await found(session_ids=frozenset({sid(1)})) == ([1, 4], 6)
    assert await found(session_ids=frozenset({sid(1), sid(3)}), after=1) == ([3, 4], 6)
    assert await found(session_ids=frozenset({sid(1), sid(2)}), limit=2) == ([1, 2], 2)
    assert await found(session_ids=frozenset()) == ([], 6)
    assert await found(session_ids=frozenset({"no uuid", "\udcff"})) == ([], 6)
    assert await found(types=frozenset({EventType.SESSION_ENDED})) == ([4], 6)
    assert await found(types=frozenset()) == ([], 6)
    assert await found(types=frozenset({EventType.SESSION_UPDATED}), session_ids=frozenset({sid(1)})) == ([1], 6)
    many = frozenset(sid(number) for number in range(2, 40))
    assert await found(session_ids=many, limit=3) == ([2, 3, 5], 5)


async def test_an_id_ahead_of_us_is_gone_history(journal: RenewableJournal) -> None:
    await journal.commit(tells(1))
    with pytest.raises(HistoryGone) as gone:
        await journal.events(EventQuery(after=2))
    assert (gone.value.after, gone.value.oldest, gone.value.reason) == (2, 1, "ahead")


async def test_ids_of_another_epoch_mean_nothing(journal: RenewableJournal) -> None:
    await journal.commit(tells(1))
    with pytest.raises(HistoryGone) as gone:
        await journal.events(EventQuery(after=1, epoch="another"))
    assert (gone.value.after, gone.value.oldest, gone.value.reason) == (1, 1, "epoch")


async def test_a_new_epoch_makes_the_old_one_unknown_and_numbers_on(journal: RenewableJournal) -> None:
    await journal.commit(tells(1))
    old = journal.epoch
    new = await journal.begin_new_epoch()
    assert new == journal.epoch != old
    with pytest.raises(HistoryGone):
        await journal.events(EventQuery(after=1, epoch=old))
    await journal.commit(tells(1))
    assert journal.head == 2


async def test_a_snapshot_holds_the_unfinished_sessions_and_the_last_id(journal: RenewableJournal) -> None:
    for number in range(1, 5):
        await journal.commit(begins(number))
    await journal.commit(Change(session=ended(a_session(2)), expected_version=1, events=(ended_event(2),)))
    failing = attrs.evolve(a_session(3), status=SessionStatus.ERROR)
    await journal.commit(Change(session=failing, expected_version=1, events=(updated_event(3),)))
    snapshot = await journal.snapshot()
    assert [session.id for session in snapshot.sessions] == [sid(1), sid(3), sid(4)]
    assert snapshot.sessions[1].status is SessionStatus.ERROR
    assert snapshot.last_event_id == journal.head == 6
    some = await journal.snapshot(frozenset({sid(4), sid(2), sid(9), "no uuid", "\udcff"}))
    assert [session.id for session in some.sessions] == [sid(4)]
    assert (await journal.snapshot(frozenset())).sessions == ()


# --- what is beside sessions ---------------------------------------------------------------------------------


async def test_intents_stand_until_settled(journal: RenewableJournal) -> None:
    for number in (1, 2):
        await journal.commit(Change(add_intent=an_intent(number)))
    assert await journal.intents() == (an_intent(1), an_intent(2))
    await journal.commit(Change(settle_intent=sid(1), session=a_session(1)))
    await journal.commit(Change(settle_intent=sid(9)))
    assert await journal.intents() == (an_intent(2),)


async def test_debts_stand_until_settled(journal: RenewableJournal) -> None:
    await journal.commit(Change(add_intent=an_intent(1)))
    await journal.commit(Change(settle_intent=sid(1), add_debt=a_debt(1)))
    await journal.commit(Change(add_debt=attrs.evolve(a_debt(2), provider_id="p-2")))
    assert await journal.intents() == ()
    assert await journal.debts() == (a_debt(1), attrs.evolve(a_debt(2), provider_id="p-2"))
    await journal.commit(Change(settle_debt=sid(1)))
    assert [debt.session_id for debt in await journal.debts()] == [sid(2)]


async def test_a_key_is_recalled_for_its_caller_and_replaced_by_a_newer_use(journal: RenewableJournal) -> None:
    record = IdempotencyRecord(caller="c", key="k", fingerprint="f", session_id=sid(1), created_at=at(0.25))
    await journal.commit(Change(remember=record))
    assert await journal.recall("c", "k") == record
    assert await journal.recall("other", "k") is None
    assert await journal.recall("c", "other") is None
    newer = attrs.evolve(record, session_id=sid(2), created_at=at(90000))
    await journal.commit(Change(remember=newer))
    assert await journal.recall("c", "k") == newer


async def test_bookmarks_belong_to_their_reader(journal: RenewableJournal) -> None:
    await journal.commit(tells(1, 1, 1))
    assert await journal.bookmark("nats") is None
    await journal.advance("nats", 2)
    await journal.advance("hooks", 1)
    await journal.advance("nats", 3)
    assert await journal.bookmark("nats") == 3
    assert await journal.bookmark("hooks") == 1
