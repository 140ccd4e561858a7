"""A commit loop on a real file, whose disk can be made to hang."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio
from journal_builders import Box, tells

from transport_trio.journal import codec
from transport_trio.journal.commits import CommitLoop
from transport_trio.journal.condition import MIB, Condition
from transport_trio.journal.files import open_files
from transport_trio.journal.sqlite_writer import Writer
from transport_trio.ports import Change


@attrs.frozen
class Loop:
    commits: CommitLoop
    condition: Condition
    writer: Writer
    box: Box
    told: list[int] = attrs.field(factory=list)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)  # of the loop's task

    async def run(self) -> None:
        with self.scope:
            await self.commits.run()

    async def write(self, change: Change) -> None:
        await self.commits.commit(codec.prepare(change))

    @asynccontextmanager
    async def hanging_disk(self) -> AsyncIterator[None]:
        go, hangs = threading.Event(), trio.Event()

        def hang() -> None:
            trio.from_thread.run_sync(hangs.set)
            go.wait(20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.commits.in_turn, hang)
            await hangs.wait()
            try:
                yield
            finally:
                go.set()

    @asynccontextmanager
    async def hanging_commit(self, nursery: trio.Nursery) -> AsyncIterator[None]:
        """One commit is taken and hangs: whatever comes now waits in the queue."""
        async with self.hanging_disk():
            nursery.start_soon(self.write, tells(0))
            await trio.testing.wait_all_tasks_blocked()
            yield

    def groups(self) -> tuple[float, float]:
        """(commits, changes in them)."""
        name = "transport_journal_commit_changes"
        return self.box.metric(f"{name}_count"), self.box.metric(f"{name}_sum")


@asynccontextmanager
async def open_loop(box: Box, patience_s: float = 10.0) -> AsyncIterator[Loop]:
    files = open_files(box.folder)
    condition = Condition(max_bytes=64 * MIB, used_bytes=0)
    commits = CommitLoop(files.writer, files.ballast, condition, box.metrics, patience_s=patience_s)
    loop = Loop(commits, condition, files.writer, box)
    commits.on_commit(lambda events: loop.told.extend(event.id for event in events))
    with trio.fail_after(30):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(loop.run)
                yield loop
                commits.close()
        finally:
            for db in files.readers:
                db.close()
            files.close()
