"""The commit loop: groups what waits into one transaction, tells it in id order, and only then lets the writers go on.

Tasks that told of their own commits would do it out of order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
import trio

from transport_trio.errors import StorageUnavailable, VersionConflict
from transport_trio.events import RecordedEvent
from transport_trio.journal.ballast import Ballast
from transport_trio.journal.codec import Prepared
from transport_trio.journal.condition import Condition
from transport_trio.journal.failures import DiskFailed
from transport_trio.journal.sqlite_writer import Outcome, Writer
from transport_trio.metrics import Metrics
from transport_trio.ports import OnCommit

log = logging.getLogger(__name__)
T = TypeVar("T")

# Ten groups: more would only be told later that it takes too long.
QUEUE_CHANGES = 1280
# One transaction of this size takes about as long as the fsync that it saves.
GROUP_CHANGES = 128
# A change that the disk has not begun to write after this long is taken back.
PATIENCE_S = 10.0
# Between two tries of a disk that failed.
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0
CLOSED = "the journal is closed"


@attrs.define(eq=False)
class _Waiting:
    change: Prepared
    done: trio.Event = attrs.field(factory=trio.Event)
    taken: bool = False  # from here on it may be stored: whoever waits has to hear
    given_up: bool = False
    failure: Exception | None = None

    def release(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.done.set()


class CommitLoop:
    def __init__(
        self,
        writer: Writer,
        ballast: Ballast,
        condition: Condition,
        metrics: Metrics,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.head = writer.last_id
        self._writer = writer
        self._ballast = ballast
        self._condition = condition
        self._metrics = metrics
        self._patience_s = patience_s
        self._send, self._receive = trio.open_memory_channel[_Waiting](QUEUE_CHANGES)
        self._tells: list[OnCommit] = []
        self._closing = trio.Event()
        self._told = trio.lowlevel.ParkingLot()
        # The commit loop and housekeeping take turns, in order of arrival.
        self._turn = trio.Lock()
        self._thread = trio.CapacityLimiter(1)
        self._pause_s = 0.0  # grows while the disk keeps failing, also across short recoveries

    def on_commit(self, tell: OnCommit) -> None:
        self._tells.append(tell)

    async def commit(self, change: Prepared) -> None:
        """Return when the change is durable and told.

        Raises:
            VersionConflict, StorageUnavailable: it is not stored.

        Cancellation: ends the waiting only; once queued the change is stored or not, as if the answer were lost.
        """
        self._condition.admit(begins_session=change.begins_session)
        waiting = _Waiting(change)
        with trio.move_on_after(self._patience_s):
            try:
                await self._send.send(waiting)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                raise StorageUnavailable(CLOSED) from None
            await waiting.done.wait()
        if not waiting.taken and not waiting.done.is_set():
            waiting.given_up = True
            raise StorageUnavailable(f"the journal's disk is too slow: not stored within {self._patience_s:g} s")
        await waiting.done.wait()
        if waiting.failure is not None:
            raise waiting.failure

    async def wait_told(self, event_id: int) -> None:
        """Return when everything up to this id has been told."""
        while self.head < event_id:
            await self._told.park()

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Run `work` with the writer in its thread, between two commits.

        Raises:
            DiskFailed: from `work`.
        """
        async with self._turn:
            done = await trio.to_thread.run_sync(work, limiter=self._thread)
            self._condition.used_bytes = self._writer.size.used
            self._metrics.journal_bytes.set(self._writer.size.on_disk)
            return done

    def close(self) -> None:
        """Take no more; `run` returns when what waits is committed."""
        self._condition.closed = True
        self._closing.set()
        self._send.close()

    async def run(self) -> None:
        try:
            async for first in self._receive:
                group = self._group(first)
                if group:
                    await self._commit(group)
        finally:
            self.close()
            self._refuse_waiting(CLOSED)
            self._receive.close()

    def _group(self, first: _Waiting) -> list[_Waiting]:
        """The change and those behind it, as far as somebody still wants them."""
        group = [first]
        while len(group) < GROUP_CHANGES:
            try:
                group.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return [waiting for waiting in group if not waiting.given_up]

    async def _commit(self, group: list[_Waiting]) -> None:
        for waiting in group:
            waiting.taken = True
        began = self._condition.writing_since = trio.current_time()
        try:
            outcomes = await self.in_turn(partial(self._writer.write, [waiting.change for waiting in group]))
        except DiskFailed as failure:
            self._release_all(group, str(failure))
            await self._recover(failure)
        else:
            self._metrics.commit_seconds.observe(trio.current_time() - began)
            self._metrics.commit_group.observe(len(group))
            self._pause_s = 0.0
            self._tell(outcomes)
            for waiting, outcome in zip(group, outcomes, strict=True):
                waiting.release(outcome if isinstance(outcome, VersionConflict) else None)
        finally:
            self._condition.writing_since = None
            self._release_all(group, CLOSED)

    def _tell(self, outcomes: list[Outcome]) -> None:
        events: list[RecordedEvent] = []
        for outcome in outcomes:
            if isinstance(outcome, VersionConflict):
                self._metrics.commit_failures.labels(reason="conflict").inc()
            else:
                events.extend(outcome)
        if not events:
            return
        self.head = events[-1].id
        for tell in self._tells:
            tell(events)
        self._told.unpark_all()

    async def _recover(self, failure: DiskFailed) -> None:
        """Give way to what is urgent, and return when commits can be expected to work again."""
        self._condition.failure = str(failure)
        self._metrics.commit_failures.labels(reason=failure.fault).inc()
        log.error("journal not writable", extra={"fault": failure.fault, "error": failure.detail})
        failed_at = trio.current_time()
        self._condition.ballast_freed = True
        await self.in_turn(self._ballast.free)
        while self._condition.failure is not None and not self._closing.is_set():
            self._refuse_waiting(self._condition.failure)
            with trio.move_on_after(self._pause_s):
                await self._closing.wait()
            self._pause_s = min(max(PAUSE_MIN_S, 2 * self._pause_s), PAUSE_MAX_S)
            try:
                await self.in_turn(self._writer.probe)
                self._condition.failure = None
            except DiskFailed as again:
                self._condition.failure = str(again)
        if self._condition.failure is None:
            log.info("journal writable again", extra={"after_s": round(trio.current_time() - failed_at, 3)})
            await self.take_ballast()

    async def take_ballast(self) -> None:
        """Take up the ballast again where it was freed and there is space for it."""
        if self._condition.ballast_freed and await self.in_turn(self._ballast.take):
            self._condition.ballast_freed = False
            log.info("journal's disk has space again")

    def _refuse_waiting(self, why: str) -> None:
        """Answer those who wait in the queue; those who come while this runs wait for the next time."""
        for _ in range(QUEUE_CHANGES):
            try:
                self._receive.receive_nowait().release(StorageUnavailable(why))
            except (trio.WouldBlock, trio.EndOfChannel):
                return

    @staticmethod
    def _release_all(group: list[_Waiting], why: str) -> None:
        for waiting in group:
            if not waiting.done.is_set():
                waiting.release(StorageUnavailable(why))
