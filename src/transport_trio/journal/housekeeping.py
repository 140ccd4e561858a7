"""What the journal does beside commits: forget what is old, keep its files small, take back its ballast."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

import attrs
import trio

from transport_trio.concurrency import Clock, every
from transport_trio.journal import sqlite_reader
from transport_trio.journal.codec import micros
from transport_trio.journal.commits import CommitLoop
from transport_trio.journal.condition import Condition
from transport_trio.journal.failures import DiskFailed
from transport_trio.journal.sqlite_pool import ReaderPool
from transport_trio.journal.sqlite_writer import Writer
from transport_trio.metrics import Metrics

log = logging.getLogger(__name__)

TIDY_EVERY_S = 5.0
# Rows in one step: commits wait for no more than a step, some ten milliseconds.
EVENTS_STEP = 500
SESSIONS_STEP = 100
# What pruning leaves free inside the file for the next events; more goes back to the disk.
SPARE_BYTES = 8 * 1024 * 1024
# SQLite checkpoints by itself at 4 MiB, as far as readers let it; past this we wait for them.
LOG_BYTES = 16 * 1024 * 1024
IDEMPOTENCY_KEEP = timedelta(hours=24)


@attrs.frozen(kw_only=True)
class Retention:
    events_keep_s: float
    sessions_keep_s: float


class Housekeeping:
    def __init__(
        self,
        *,
        commits: CommitLoop,
        writer: Writer,
        pool: ReaderPool,
        condition: Condition,
        clock: Clock,
        metrics: Metrics,
        retention: Retention,
        every_s: float = TIDY_EVERY_S,
    ) -> None:
        self.readers: set[str] = set()  # what these have not read is kept, however old
        self._commits = commits
        self._writer = writer
        self._pool = pool
        self._condition = condition
        self._clock = clock
        self._metrics = metrics
        self._retention = retention
        self._every_s = every_s
        self._failing = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Tidy up on each beat until `stop`."""
        with self._scope:
            await every(self._every_s, self._tidy)

    def stop(self) -> None:
        self._scope.cancel(reason="the journal closes")

    async def _tidy(self) -> None:
        try:
            await self.prune()
            await self._keep_small()
            await self._commits.take_ballast()
        except DiskFailed as failure:
            if not self._failing:
                log.warning("journal not tidied", extra={"fault": failure.fault, "error": failure.detail})
            self._failing = True
        else:
            self._failing = False

    async def prune(self) -> None:
        """Forget what has outlived its time, in steps between which commits have their turn.

        Raises:
            DiskFailed: the rest is tried at the next beat.
        """
        now = self._clock.now()
        await self._prune_events(before=now - timedelta(seconds=self._retention.events_keep_s))
        await self._prune_sessions(
            ended_before=now - timedelta(seconds=self._retention.sessions_keep_s),
            keys_before=now - IDEMPOTENCY_KEEP,
        )

    async def _prune_events(self, before: datetime) -> None:
        step = partial(
            self._writer.prune_events, before_us=micros(before), through=await self._read_by_all(), limit=EVENTS_STEP
        )
        while (removed := await self._commits.in_turn(step)) > 0:
            self._metrics.events_pruned.inc(removed)

    async def _prune_sessions(self, ended_before: datetime, keys_before: datetime) -> None:
        step = partial(
            self._writer.prune_sessions,
            ended_before_us=micros(ended_before),
            keys_before_us=micros(keys_before),
            limit=SESSIONS_STEP,
        )
        while await self._commits.in_turn(step) > 0:
            pass

    async def _read_by_all(self) -> int:
        """The last id that every reader has behind it."""
        marks = await self._pool.ask(sqlite_reader.bookmarks)
        return min((marks.get(reader, 0) for reader in self.readers), default=self._commits.head)

    async def _keep_small(self) -> None:
        full = self._condition.ballast_freed
        give_back = partial(self._writer.give_back, keep_bytes=0 if full else SPARE_BYTES)
        while await self._commits.in_turn(give_back):
            pass
        await self._commits.in_turn(partial(self._writer.shorten_log, keep_bytes=0 if full else LOG_BYTES))
