"""Generated stories, told to the journal and to a model in memory: both always give the same answers."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_builders import Box, a_session, at, created_event, ended, ended_event, sid, tells, updated_event

from fakes import MemoryJournal
from transport_trio.errors import HistoryGone, VersionConflict
from transport_trio.events import EventType
from transport_trio.journal import SqliteJournal
from transport_trio.models import SessionStatus
from transport_trio.ports import Change, EventQuery, Journal, SessionPage, SessionQuery

KEEP_S = 100.0
NUMBERS = st.integers(1, 5)


@attrs.frozen
class Write:
    """A commit that is stale by so many versions; several of them wait at the same time."""

    number: int
    stale: int = 0
    ends: bool = False
    events: int = 1


@attrs.frozen
class Tell:
    numbers: tuple[int, ...]


@attrs.frozen
class Pass:
    """Time passes, and what is old is forgotten."""

    seconds: float


@attrs.frozen
class Advance:
    share: float  # of the way to the head


@attrs.frozen
class Restart:
    new_epoch: bool = False


Step = list[Write] | Tell | Pass | Advance | Restart
WRITES = st.builds(
    Write,
    NUMBERS,
    stale=st.sampled_from([0, 0, 0, 0, 1]),
    ends=st.booleans(),
    events=st.integers(0, 3),
)
STEPS = st.one_of(
    st.lists(WRITES, min_size=1, max_size=4),
    st.builds(Tell, st.lists(NUMBERS, max_size=4).map(tuple)),
    st.builds(Pass, st.floats(0, KEEP_S)),
    st.builds(Advance, st.floats(0, 1)),
    st.builds(Restart, st.booleans()),
)
QUERIES = st.builds(
    dict[str, Any],
    st.fixed_dictionaries(
        {
            "after": st.one_of(st.none(), st.integers(0, 30)),
            "limit": st.integers(1, 5),
            "session_ids": st.one_of(st.none(), st.frozensets(NUMBERS.map(sid))),
            "types": st.one_of(st.none(), st.frozensets(st.sampled_from(EventType))),
        }
    ),
)


class Story:
    """The journal, its model, and what a story needs to go on in both."""

    def __init__(self, folder: Path) -> None:
        self.box = Box(folder, events_keep_s=KEEP_S, sessions_keep_s=KEEP_S)
        self.model = MemoryJournal()
        self.now_s = 0.0
        self._stack = AsyncExitStack()
        self.journal: SqliteJournal

    async def open(self, *, new_epoch: bool = False) -> None:
        self.journal = await self._stack.enter_async_context(self.box.open(new_epoch=new_epoch))
        told = self.model.epoch
        if new_epoch:
            assert self.journal.epoch != told
        self.model.epoch = self.journal.epoch

    async def close(self) -> None:
        await self._stack.aclose()

    async def step(self, step: Step) -> None:
        match step:
            case list():
                await self._write(step)
            case Tell():
                change = tells(*step.numbers, seconds=self.now_s)
                for journal in (self.journal, self.model):
                    await journal.commit(change)
            case Pass():
                await self._pass(step.seconds)
            case Advance():
                event_id = int(step.share * self.model.head)
                for reader_of in (self.journal, self.model):
                    await reader_of.advance("nats", event_id)
            case Restart():
                await self.close()
                await self.open(new_epoch=step.new_epoch)

    async def _write(self, writes: list[Write]) -> None:
        """Those of one session follow each other; those of several may go into one group."""
        changes = [self._change(write) for write in writes]
        answers: dict[int, object] = {}

        async def commit(place: int, change: Change) -> None:
            answers[place] = await answer(self.journal, change)

        async with trio.open_nursery() as nursery:
            for place, change in enumerate(changes):
                nursery.start_soon(commit, place, change)
                await trio.testing.wait_all_tasks_blocked()  # queued, in this order
        for place, change in enumerate(changes):
            assert answers[place] == await answer(self.model, change)

    def _change(self, write: Write) -> Change:
        known = self.model.stored.get(sid(write.number))
        session = known or a_session(write.number)
        if write.ends:
            session = ended(session, self.now_s)
        events = tuple(updated_event(write.number, self.now_s) for _ in range(write.events))
        if write.ends:
            events += (attrs.evolve(ended_event(write.number), time=at(self.now_s)),)
        elif known is None:
            events = (created_event(session, self.now_s), *events)
        version = known.version if known else 0
        return Change(session=session, expected_version=version - write.stale, events=events)

    async def _pass(self, seconds: float) -> None:
        self.now_s += seconds
        self.box.clock.time = at(self.now_s)
        await self.journal.prune()
        since = at(self.now_s - KEEP_S)
        through = 0
        for event in self.model.log:
            if event.time >= since or event.id > self.model.bookmarks.get("nats", event.id):
                break
            through = event.id
        if through:
            self.model.forget(through=through)
        self.model.forget_sessions(lambda session: session.ended_at is not None and session.ended_at < since)

    async def compare(self, query: dict[str, Any]) -> None:
        assert self.journal.head == self.model.head
        assert await find(self.journal, query) == await find(self.model, query)
        assert await self.journal.snapshot() == await self.model.snapshot()
        assert (
            await self.journal.bookmark("nats") == await self.model.bookmark("nats") if self.model.bookmarks else True
        )
        for status in (None, SessionStatus.ENDED):
            assert await whole_list(self.journal, status) == await whole_list(self.model, status)


async def answer(journal: Journal, change: Change) -> object:
    try:
        return await journal.commit(change)
    except VersionConflict:
        return "conflict"


async def find(journal: Journal, query: dict[str, Any]) -> object:
    try:
        return await journal.events(EventQuery(**query))
    except HistoryGone as gone:
        return gone.after, gone.oldest, gone.reason


async def whole_list(journal: Journal, status: SessionStatus | None) -> list[SessionPage]:
    pages: list[SessionPage] = []
    cursor = None
    while True:
        page = await journal.sessions(SessionQuery(status=status, limit=2, cursor=cursor))
        pages.append(attrs.evolve(page, next_cursor="more" if page.next_cursor else None))
        cursor = page.next_cursor
        if cursor is None:
            return pages


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(story=st.lists(st.tuples(STEPS, QUERIES), min_size=1, max_size=12))
async def test_the_journal_answers_as_its_model_does(story: list[tuple[Step, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder, trio.fail_after(60):
        told = Story(Path(folder) / "data")
        await told.open()
        try:
            for step, query in story:
                await told.step(step)
                await told.compare(query)
        finally:
            await told.close()
