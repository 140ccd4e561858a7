"""The journal that the rest of the service sees: the port over one SQLite file, and how it opens and closes."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from transport_trio.concurrency import Clock
from transport_trio.journal import codec, sqlite_reader
from transport_trio.journal.commits import CommitLoop
from transport_trio.journal.condition import MIB, Condition
from transport_trio.journal.files import Files, open_files
from transport_trio.journal.housekeeping import TIDY_EVERY_S, Housekeeping, Retention
from transport_trio.journal.sqlite_pool import ReaderPool
from transport_trio.metrics import Metrics
from transport_trio.models import Check, CheckStatus, IdempotencyRecord, RoomDebt, RoomIntent, Session
from transport_trio.ports import Change, EventPage, EventQuery, OnCommit, SessionPage, SessionQuery, Snapshot

log = logging.getLogger(__name__)

# For what is still queued when the journal closes; a disk that has failed must not hold up a stop.
CLOSE_S = 5.0


class SqliteJournal:
    """The `Journal` port over one SQLite file. Made by `open_journal`, which owns its tasks."""

    def __init__(
        self,
        epoch: str,
        commits: CommitLoop,
        pool: ReaderPool,
        condition: Condition,
        housekeeping: Housekeeping,
    ) -> None:
        self._epoch = epoch
        self._commits = commits
        self._pool = pool
        self._condition = condition
        self._housekeeping = housekeeping

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return self._commits.head

    def on_commit(self, tell: OnCommit) -> None:
        self._commits.on_commit(tell)

    async def commit(self, change: Change) -> Session | None:
        prepared = codec.prepare(change)
        await self._commits.commit(prepared)
        return prepared.session

    async def begin_new_epoch(self) -> str:
        """Begin a new epoch and return it: ids known from before mean nothing any more, though they go on rising.

        For a journal that was rolled back (restored from a backup): events beyond it were told under the old epoch.
        """
        epoch = str(uuid.uuid4())
        await self._commits.commit(codec.epoch_change(epoch))
        self._epoch = epoch
        return epoch

    async def get(self, session_id: str) -> Session | None:
        return await self._pool.ask(partial(sqlite_reader.get, session_id=session_id))

    async def sessions(self, query: SessionQuery) -> SessionPage:
        before_row = codec.row_of(query.cursor) if query.cursor is not None else None
        return await self._pool.ask(partial(sqlite_reader.sessions, query=query, before_row=before_row))

    async def events(self, query: EventQuery) -> EventPage:
        """As the port says. A page is also cut at 4 MiB, and a filter looks at some thousand events a call."""
        return await self._pool.ask(partial(sqlite_reader.events, query=query, epoch=self._epoch, head=self.head))

    async def snapshot(self, session_ids: frozenset[str] | None = None) -> Snapshot:
        snapshot = await self._pool.ask(partial(sqlite_reader.snapshot, session_ids=session_ids))
        # What is committed but not yet told would be "ahead" of us to whoever asks for what follows.
        await self._commits.wait_told(snapshot.last_event_id)
        return snapshot

    async def intents(self) -> tuple[RoomIntent, ...]:
        return await self._pool.ask(sqlite_reader.intents)

    async def debts(self) -> tuple[RoomDebt, ...]:
        return await self._pool.ask(sqlite_reader.debts)

    async def recall(self, caller: str, key: str) -> IdempotencyRecord | None:
        return await self._pool.ask(partial(sqlite_reader.recall, caller=caller, key=key))

    async def bookmark(self, reader: str) -> int | None:
        """As the port says; from now on what this reader has not read is kept, however old."""
        self._housekeeping.readers.add(reader)
        return await self._pool.ask(partial(sqlite_reader.bookmark, reader=reader))

    async def advance(self, reader: str, event_id: int) -> None:
        self._housekeeping.readers.add(reader)
        await self._commits.commit(codec.bookmark_change(reader, event_id))

    async def prune(self) -> None:
        """Forget at once what has outlived its time, instead of within seconds.

        Raises:
            StorageUnavailable: not all of it could be removed.
        """
        await self._housekeeping.prune()

    def health(self) -> Check:
        return self._condition.check()


@asynccontextmanager
async def open_journal(
    folder: Path,
    *,
    metrics: Metrics,
    clock: Clock,
    max_mib: int,
    events_keep_s: float,
    sessions_keep_s: float,
    new_epoch: bool = False,
    readers: frozenset[str] | None = None,
    tidy_every_s: float = TIDY_EVERY_S,
) -> AsyncIterator[SqliteJournal]:
    """The journal of this folder, made if there is none. Leaving commits what waits, then closes the file.

    What `readers` have not read is kept, however old; None stands for whoever has a bookmark. Who asks for one later
    is waited for from then on.

    Raises:
        JournalUnusable: one line that says what is wrong and what to do; nothing has been overwritten.
    """
    async with _open_disk(folder, new_epoch) as (files, pool):
        rollbacks = metrics.journal_rollbacks.labels("witness")
        if files.lost is not None:
            rollbacks.inc()
            told = {"head": files.writer.last_id, "known_epoch": files.lost[0], "known_id": files.lost[1]}
            log.error("journal was rolled back", extra=told)
        condition = Condition(
            max_bytes=max_mib * MIB, used_bytes=files.writer.size.used, ballast_freed=not files.ballast.is_held
        )
        metrics.watch(metrics.journal_writable, lambda: condition.check().status is CheckStatus.OK)
        commits = CommitLoop(files.writer, files.ballast, condition, metrics)
        housekeeping = Housekeeping(
            commits=commits,
            writer=files.writer,
            pool=pool,
            condition=condition,
            clock=clock,
            metrics=metrics,
            retention=Retention(events_keep_s=events_keep_s, sessions_keep_s=sessions_keep_s),
            every_s=tidy_every_s,
        )
        housekeeping.readers |= (await pool.ask(sqlite_reader.bookmarks)).keys() if readers is None else readers
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commits.run, name="journal commits")
            nursery.start_soon(housekeeping.run, name="journal housekeeping")
            try:
                yield SqliteJournal(files.writer.epoch, commits, pool, condition, housekeeping)
            finally:
                housekeeping.stop()
                commits.close()
                nursery.cancel_scope.deadline = trio.current_time() + CLOSE_S


@asynccontextmanager
async def _open_disk(folder: Path, new_epoch: bool) -> AsyncIterator[tuple[Files, ReaderPool]]:
    files = await trio.to_thread.run_sync(partial(open_files, folder, new_epoch=new_epoch))
    pool = ReaderPool(files.readers)
    try:
        yield files, pool
    finally:
        with trio.CancelScope(shield=True):  # bounded: what the threads do cannot be cancelled anyway
            await pool.close()
            await trio.to_thread.run_sync(files.close)
