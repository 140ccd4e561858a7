"""Opening the journal's file: made whole or not at all, checked before it is trusted, never overwritten."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

from transport_trio.errors import JournalUnusable
from transport_trio.journal.sqlite_errors import kind_of
from transport_trio.journal.sqlite_schema import APPLICATION_ID, FILE_NAME, FORMAT, SCHEMA

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
CHECK_S = 10.0
CHECK_STEPS = 1000  # of SQLite's machine between two looks at the time
# Primary codes that speak of the content; SQLITE_ERROR is a table that is not there.
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
BUSY_MS = 1000  # nobody else writes; only a checkpoint can meet a reader


def open_file(folder: Path, *, check_s: float = CHECK_S) -> Path:
    """The path of the folder's journal, made if there is none, and fit for use. The caller holds the folder's lock.

    The check ends after `check_s`: a start must not take minutes.

    Raises:
        JournalUnusable: it is damaged, not ours, or newer than we are; it has not been touched.
    """
    path = folder / FILE_NAME
    try:
        if path.exists():
            _check_header(path)
            _check_content(path, check_s)
        else:
            _create(folder, path)
    except OSError as exc:
        raise JournalUnusable(f"{path} cannot be used ({exc.strerror}); see to its disk and permissions") from exc
    return path


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; used by one thread at a time."""
    with ExitStack() as undo:
        db = undo.enter_context(closing(_connect(path, "rw")))
        db.execute("PRAGMA journal_mode = WAL")  # some ways to restore a backup lose it
        db.execute("PRAGMA synchronous = FULL")
        undo.pop_all()
        return db


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; used by one thread at a time."""
    return _connect(path, "ro")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)


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
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")  # one fsync at the end does for a file that nobody knows yet
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        db.execute("INSERT INTO journal VALUES (1, ?, 0, NULL)", (str(uuid.uuid4()),))
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        path.chmod(0o600)  # it names people; what SQLite puts beside it gets the same mode
    _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_header(path: Path) -> None:
    """Look at the first bytes ourselves: SQLite would take an empty file for a new database."""
    # For writing: SQLite would open a file that we may only read all the same, and fail at the first commit.
    with path.open("r+b") as file:
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


def _check_content(path: Path, check_s: float) -> None:
    """Have SQLite check as much of the file as the time allows, through a connection that cannot write."""
    deadline = time.monotonic() + check_s
    try:
        with closing(connect_reader(path)) as db:
            if db.execute("SELECT epoch, pruned_through, probe FROM journal").fetchone() is None:
                raise _damaged(path, "its own record is missing")
            db.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_STEPS)
            (fault,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as exc:
        if kind_of(exc) == sqlite3.SQLITE_INTERRUPT:
            return  # nothing found in the time there is
        if kind_of(exc) in DAMAGED:
            raise _damaged(path, str(exc)) from exc
        raise JournalUnusable(f"{path} cannot be opened ({exc}); see to its disk and permissions") from exc
    if fault != "ok":
        raise _damaged(path, str(fault).splitlines()[-1])


def _damaged(path: Path, detail: str) -> JournalUnusable:
    return JournalUnusable(
        f"{path} is damaged ({detail}); restore it from a backup, or move it away to begin a new journal"
    )
