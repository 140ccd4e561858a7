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


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what SQLite raises in the body into `DiskFailed`."""
    try:
        yield
    except sqlite3.Error as exc:
        # The lower byte is the kind; the rest tells e.g. a failed read from a failed fsync.
        kind = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        raise DiskFailed(_FAULTS.get(kind, DiskFault.OTHER), str(exc)) from exc
