"""SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from transport_trio.journal.failures import DiskFailed, DiskFault

_FAULTS = {
    sqlite3.SQLITE_FULL: DiskFault.FULL,
    sqlite3.SQLITE_IOERR: DiskFault.IO,
    sqlite3.SQLITE_CANTOPEN: DiskFault.IO,
    sqlite3.SQLITE_READONLY: DiskFault.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: DiskFault.DAMAGED,
    sqlite3.SQLITE_NOTADB: DiskFault.DAMAGED,
}


def kind_of(exc: sqlite3.Error) -> int:
    """SQLite's primary code; what it adds in the higher bytes tells e.g. a failed read from a failed fsync."""
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what SQLite raises in the body into `DiskFailed`."""
    try:
        yield
    except sqlite3.Error as exc:
        raise DiskFailed(_FAULTS.get(kind_of(exc), DiskFault.OTHER), str(exc)) from exc
