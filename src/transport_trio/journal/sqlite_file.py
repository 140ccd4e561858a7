"""Opening the journal's file: made whole or not at all, checked before it is trusted, never overwritten."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from pathlib import Path
from urllib.parse import quote

from transport_trio.errors import JournalUnusable
from transport_trio.journal.sqlite_schema import APPLICATION_ID, FILE_NAME, FORMAT, SCHEMA

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
# A gibibyte takes about this long to check on a slow disk; a start must not take minutes.
CHECK_S = 10.0
CHECK_STEPS = 10_000  # of SQLite's machine between two looks at the time
# Primary codes that speak of the content; SQLITE_ERROR is a table that is not there.
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
BUSY_S = 1.0  # nobody else writes; only a checkpoint can meet a reader


def open_file(folder: Path) -> Path:
    """The path of the folder's journal, made if there is none, and fit for use. The caller holds the folder's lock.

    Raises:
        JournalUnusable: it is damaged, not ours, or newer than we are; it has not been touched.
    """
    path = folder / FILE_NAME
    try:
        if path.exists():
            _check_header(path)
            _check_content(path)
        else:
            _create(folder, path)
    except OSError as exc:
        raise JournalUnusable(f"{path} cannot be used ({exc.strerror}); see to its disk and permissions") from exc
    return path


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; used by one thread at a time."""
    db = sqlite3.connect(_uri(path, "rw"), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(_uri(path, "ro"), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _create(folder: Path, path: Path) -> None:
    """Build the file under another name and rename it: under its own it is always whole."""
    log = path.with_name(f"{FILE_NAME}-wal")
    if log.exists():
        raise JournalUnusable(f"{path} is missing but {log.name} is there; restore the first, or move the second away")
    building = folder / f"{FILE_NAME}.new"
    for rest in folder.glob(f"{building.name}*"):
        rest.unlink()  # of a start that was killed while it was building
    try:
        _build(building)
    except sqlite3.Error as exc:
        raise JournalUnusable(f"{path} cannot be made ({exc}); see to its disk and permissions") from exc
    building.rename(path)
    _sync(folder)


def _build(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        db.execute("INSERT INTO journal VALUES (1, ?, 0, NULL)", (str(uuid.uuid4()),))
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    finally:
        db.close()
    _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_header(path: Path) -> None:
    """Look at the first bytes ourselves: SQLite would take an empty file for a new database."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        raise _damaged(path, "it does not begin as a journal does")
    format_ = int.from_bytes(header[60:64], "big")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise JournalUnusable(
            f"{path} is a database of another program; move it away, or set DATA_DIR to another folder"
        )
    if format_ != FORMAT:
        age = "a newer" if format_ > FORMAT else "another"
        raise JournalUnusable(
            f"{path} was written by {age} transport-trio (format {format_}, this one reads {FORMAT}); "
            "use that version, or set DATA_DIR to another folder"
        )


def _check_content(path: Path) -> None:
    """Have SQLite check the file, through a connection that cannot write."""
    try:
        db = connect_reader(path)
        try:
            deadline = time.monotonic() + CHECK_S
            db.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_STEPS)
            fault = _quick_check(db)
        finally:
            db.close()
    except sqlite3.Error as exc:
        if exc.sqlite_errorcode & 0xFF in DAMAGED:
            raise _damaged(path, str(exc)) from exc
        raise JournalUnusable(f"{path} cannot be opened ({exc}); see to its disk and permissions") from exc
    if fault != "ok":
        raise _damaged(path, fault)


def _quick_check(db: sqlite3.Connection) -> str:
    db.execute("SELECT epoch, pruned_through, probe FROM journal").fetchone()
    try:
        (fault,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return "ok"  # nothing found in the time there is
        raise
    return str(fault).splitlines()[-1]


def _damaged(path: Path, detail: str) -> JournalUnusable:
    return JournalUnusable(
        f"{path} is damaged ({detail}); restore it from a backup, or move it away to begin a new journal"
    )
