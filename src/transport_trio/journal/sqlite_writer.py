"""The one connection that writes. Every method runs in a worker thread, one at a time, and may raise `DiskFailed`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import attrs

from transport_trio.errors import VersionConflict
from transport_trio.events import RecordedEvent
from transport_trio.journal.codec import Prepared, Step, micros
from transport_trio.journal.sqlite_errors import disk_errors
from transport_trio.journal.sqlite_file import BUSY_MS, connect_writer
from transport_trio.journal.witness import Witness
from transport_trio.models import Session
from transport_trio.wire.out import number

Outcome = tuple[RecordedEvent, ...] | VersionConflict

# So much must fit before we say that the disk works again: more than an ordinary commit needs.
PROBE_BYTES = 64 * 1024
VACUUM_PAGES = 256  # a mebibyte
# Our own readers take milliseconds; a backup can take minutes, and commits wait meanwhile.
CHECKPOINT_WAIT_MS = 100

_STEPS = {
    Step.ADD_INTENT: "INSERT OR REPLACE INTO intents VALUES (?, ?)",
    Step.SETTLE_INTENT: "DELETE FROM intents WHERE session_id = ?",
    Step.ADD_DEBT: "INSERT OR REPLACE INTO debts VALUES (?, ?)",
    Step.SETTLE_DEBT: "DELETE FROM debts WHERE session_id = ?",
    Step.REMEMBER: "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)",
    Step.BOOKMARK: "INSERT OR REPLACE INTO bookmarks VALUES (?, ?)",
    Step.NEW_EPOCH: "UPDATE journal SET epoch = ?",
}
_ADD_SESSION = """
INSERT INTO sessions (status, version, ended_at, body, id, provider) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
"""
_CHANGE_SESSION = "UPDATE sessions SET status = ?, version = ?, ended_at = ?, body = ? WHERE id = ? AND version = ?"
_ADD_EVENT = "INSERT INTO events (id, session_id, type, time, body) VALUES (?, ?, ?, ?, ?)"
_PRUNE_SESSIONS = """
DELETE FROM sessions WHERE row IN (SELECT row FROM sessions WHERE ended_at < ? ORDER BY ended_at LIMIT ?)
"""
_PRUNE_KEYS = """
DELETE FROM idempotency WHERE rowid IN
    (SELECT rowid FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?)
"""


@attrs.frozen(kw_only=True)
class Size:
    """`on_disk` is what the files take; `used` leaves out what pruning has freed inside them."""

    on_disk: int
    used: int


class Writer:
    """`epoch`, `last_id` and `size` are as of the last transaction that was committed."""

    def __init__(self, path: Path, witness: Witness) -> None:
        self._witness = witness
        self._log = path.with_name(f"{path.name}-wal")
        with disk_errors(), ExitStack() as undo:
            self._db = undo.enter_context(closing(connect_writer(path)))
            self._page_bytes = int(self._db.execute("PRAGMA page_size").fetchone()[0])
            (self.epoch,) = self._db.execute("SELECT epoch FROM journal").fetchone()
            self.last_id = self._stored_last_id()
            self.size = self._measure()
            undo.pop_all()

    def write(self, group: Sequence[Prepared]) -> list[Outcome]:
        """Commit the group durably; what happened to each change, in order. If this raises, nothing did."""
        epoch = _new_epoch(group)
        if epoch is not None:
            self._witness.forget()
        with self._transaction():
            last_id = self._stored_last_id()
            outcomes: list[Outcome] = []
            for change in group:
                try:
                    events = self._apply(change, last_id)
                except VersionConflict as conflict:
                    outcomes.append(conflict)
                else:
                    outcomes.append(events)
                    last_id += len(events)
        self.epoch, self.last_id = epoch or self.epoch, last_id
        self._witness.remember(self.epoch, self.last_id)
        return outcomes

    def prune_events(self, *, before_us: int, through: int, limit: int) -> int:
        """Remove up to `limit` of the oldest events, older than `before_us`, none above id `through`; how many."""
        with self._transaction():
            oldest = self._db.execute(
                "SELECT id, time FROM events WHERE id <= ? ORDER BY id LIMIT ?", (through, limit)
            ).fetchall()
            last = 0
            for event_id, time_us in oldest:
                if time_us >= before_us:
                    break  # what follows stays, however old it says it is: history has no holes
                last = event_id
            if not last:
                return 0
            removed = self._db.execute("DELETE FROM events WHERE id <= ?", (last,)).rowcount
            self._db.execute("UPDATE journal SET pruned_through = ?", (last,))
        return removed

    def prune_sessions(self, *, ended_before_us: int, keys_before_us: int, limit: int) -> int:
        """Remove up to `limit` each of sessions that ended, and of idempotency records made, before then; how many."""
        with self._transaction():
            removed = self._db.execute(_PRUNE_SESSIONS, (ended_before_us, limit)).rowcount
            removed += self._db.execute(_PRUNE_KEYS, (keys_before_us, limit)).rowcount
        return removed

    def give_back(self, *, keep_bytes: int) -> bool:
        """Give a little of what pruning freed back to the disk; whether there is more than `keep_bytes` to give."""
        keep = keep_bytes // self._page_bytes
        with disk_errors():
            before = self._free_pages()
            if before <= keep:
                return False
            # As a script: `execute` takes a single step of it, which frees a single page.
            self._db.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            free = self._free_pages()
            self.size = self._measure()
        return keep < free < before

    def shorten_log(self, *, keep_bytes: int) -> None:
        """Checkpoint with patience when readers have kept the write-ahead log from starting anew."""
        with disk_errors():
            if self._log_bytes() <= keep_bytes:
                return
            self._db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
            try:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def probe(self) -> None:
        """Write as a commit does; returning means that commits can be expected to work."""
        with self._transaction():
            self._db.execute("UPDATE journal SET probe = randomblob(?)", (PROBE_BYTES,))

    def close(self) -> None:
        """Checkpoint and close; the file alone then holds everything."""
        with suppress(sqlite3.Error):  # the log is read at the next start
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with disk_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                size = self._measure()  # before the commit: nothing that can fail may come after it
                self._db.execute("COMMIT")
                self.size = size
            finally:
                if self._db.in_transaction:  # SQLite rolls some failures back by itself
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")

    def _apply(self, change: Prepared, last_id: int) -> tuple[RecordedEvent, ...]:
        """Apply the change. A conflict shows before anything is written, so there is nothing to undo for it."""
        if change.session is not None:
            self._put_session(change.session, change.session_body)
        for step, values in change.steps:
            self._db.execute(_STEPS[step], values)
        recorded = []
        for event_id, (event, fields) in enumerate(change.events, last_id + 1):
            body = number(event, fields, event_id)
            values = (event_id, event.session_id, event.type.value, micros(event.time), body)
            self._db.execute(_ADD_EVENT, values)
            recorded.append(RecordedEvent(event_id, event.session_id, event.type, event.time, body))
        return tuple(recorded)

    def _put_session(self, session: Session, body: bytes) -> None:
        ended_at = micros(session.ended_at or session.updated_at) if session.has_ended else None
        values = (session.status.value, session.version, ended_at, body, session.id)
        expected = session.version - 1
        if expected == 0:
            done = self._db.execute(_ADD_SESSION, (*values, session.provider))
        else:
            done = self._db.execute(_CHANGE_SESSION, (*values, expected))
        if done.rowcount != 1:
            raise VersionConflict(f"session {session.id} is not at version {expected} any more")

    def _stored_last_id(self) -> int:
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return row[0] if row else 0

    def _measure(self) -> Size:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        used = (pages - self._free_pages()) * self._page_bytes
        return Size(on_disk=pages * self._page_bytes + self._log_bytes(), used=used)

    def _free_pages(self) -> int:
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int(free)

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0  # no write since the last checkpoint


def _new_epoch(group: Sequence[Prepared]) -> str | None:
    begun = [str(values[0]) for change in group for step, values in change.steps if step is Step.NEW_EPOCH]
    return begun[-1] if begun else None
