"""A few connections that read, so that a long answer does not hold up a short one, nor a commit."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import trio

from transport_trio.errors import StorageUnavailable
from transport_trio.journal.failures import DiskFailed
from transport_trio.journal.sqlite_errors import disk_errors
from transport_trio.journal.sqlite_file import connect_reader

log = logging.getLogger(__name__)
T = TypeVar("T")
Reader = sqlite3.Connection

READERS = 4  # every question is bounded to some ten milliseconds, and they share the interpreter anyway


def connect_readers(path: Path) -> list[Reader]:
    """The connections of one pool.

    Raises:
        DiskFailed: the file cannot be opened.
    """
    with disk_errors(), ExitStack() as undo:
        connections = [undo.enter_context(closing(connect_reader(path))) for _ in range(READERS)]
        undo.pop_all()
        return connections


class ReaderPool:
    """Owns the connections that it is given."""

    def __init__(self, connections: Sequence[Reader]) -> None:
        self._size = len(connections)
        self._back, self._idle = trio.open_memory_channel[Reader](self._size)
        self._threads = trio.CapacityLimiter(self._size)
        for db in connections:
            self._back.send_nowait(db)

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """The answer, read in a worker thread; waits for its turn.

        Raises:
            StorageUnavailable: it cannot be read, or the pool is closed.
        """
        try:
            db = await self._idle.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StorageUnavailable("the journal is closed") from None
        try:
            return await trio.to_thread.run_sync(question, db, limiter=self._threads)
        except DiskFailed as failure:
            log.warning("journal not readable", extra={"fault": failure.fault, "error": failure.detail})
            raise
        finally:
            self._back.send_nowait(db)

    async def close(self) -> None:
        """Close the connections, each when its question is answered."""
        for _ in range(self._size):
            db = await self._idle.receive()
            db.close()
        self._back.close()
        self._idle.close()
