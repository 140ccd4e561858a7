"""The journal's questions as SQL. Each runs on a read connection in a worker thread and may raise `DiskFailed`."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from transport_trio.errors import HistoryGone
from transport_trio.events import EventType, RecordedEvent
from transport_trio.journal import codec
from transport_trio.journal.sqlite_errors import disk_errors
from transport_trio.models import IdempotencyRecord, RoomDebt, RoomIntent, Session, SessionId
from transport_trio.ports import EventPage, EventQuery, SessionPage, SessionQuery, Snapshot

# How many events one call looks at when a filter lets few through: some ten milliseconds.
SCAN_EVENTS = 5000
PAGE_BYTES = 4 * 1024 * 1024
# Up to so many sessions are looked up by index; past that a scan with a filter is cheaper.
FEW_SESSIONS = 16

EventRow = tuple[int, str, str, int, bytes]
_EVENT = "SELECT id, session_id, type, time, body FROM events"


def _storable(session_ids: Iterable[str]) -> list[str]:
    """Those that can be in the database: lone surrogates are no SQL text, and ours are UUIDs."""
    return [session_id for session_id in session_ids if session_id.isascii()]


def get(db: sqlite3.Connection, session_id: str) -> Session | None:
    if not _storable([session_id]):
        return None
    with disk_errors():
        row = db.execute("SELECT body FROM sessions WHERE id = ?", (session_id,)).fetchone()
    return codec.session_from(row[0]) if row else None


def sessions(db: sqlite3.Connection, query: SessionQuery, before_row: int | None) -> SessionPage:
    wanted = {"provider": query.provider, "status": query.status.value if query.status else None}
    conditions = [f"{column} = :{column}" for column, value in wanted.items() if value is not None]
    values = {**wanted, "before": before_row, "limit": query.limit + 1}
    matching = f"FROM sessions WHERE {' AND '.join(conditions) or 'true'}"  # column names and nothing from outside
    turned = "AND row < :before" if before_row is not None else ""
    with _reading(db):
        (total,) = db.execute(f"SELECT count(*) {matching}", values).fetchone()
        rows = db.execute(f"SELECT row, body {matching} {turned} ORDER BY row DESC LIMIT :limit", values).fetchall()
    shown = rows[: query.limit]
    cursor = codec.cursor_after(shown[-1][0]) if len(rows) > len(shown) else None
    return SessionPage(sessions=tuple(codec.session_from(body) for _, body in shown), total=total, next_cursor=cursor)


def events(db: sqlite3.Connection, query: EventQuery, *, epoch: str, head: int) -> EventPage:
    """A page of what has been announced (`head`): what is committed beyond it, its readers hear soon."""
    with _reading(db):
        (pruned_through,) = db.execute("SELECT pruned_through FROM journal").fetchone()
        after = pruned_through if query.after is None else query.after
        reason = _gone(query, after, epoch=epoch, head=head, pruned_through=pruned_through)
        if reason is not None:
            raise HistoryGone(after=after, oldest=_oldest(db, pruned_through), reason=reason)
        return _page(db, query, after, head)


def _gone(query: EventQuery, after: int, *, epoch: str, head: int, pruned_through: int) -> str | None:
    if query.epoch is not None and query.epoch != epoch:
        return "epoch"
    if after > head:
        return "ahead"
    return "pruned" if after < pruned_through else None


def _oldest(db: sqlite3.Connection, pruned_through: int) -> int:
    (oldest,) = db.execute("SELECT min(id) FROM events").fetchone()
    return oldest or pruned_through + 1


def _page(db: sqlite3.Connection, query: EventQuery, after: int, head: int) -> EventPage:
    until, rows = _candidates(db, query.session_ids, after, head)
    found: list[RecordedEvent] = []
    size = 0
    for event_id, session_id, type_, time_us, body in rows:
        if query.types is not None and type_ not in query.types:
            continue
        if len(found) >= query.limit or size >= PAGE_BYTES:
            return EventPage(events=tuple(found), last_event_id=found[-1].id)
        found.append(RecordedEvent(event_id, SessionId(session_id), EventType(type_), codec.moment(time_us), body))
        size += len(body)
    return EventPage(events=tuple(found), last_event_id=until)


def _candidates(
    db: sqlite3.Connection, session_ids: frozenset[str] | None, after: int, head: int
) -> tuple[int, Iterable[EventRow]]:
    """The events to look at, in id order, and the id up to which these are all."""
    if session_ids is not None and len(session_ids) <= FEW_SESSIONS:
        of_one = f"{_EVENT} WHERE session_id = ? AND id > ? AND id <= ? ORDER BY id"
        return head, heapq.merge(*(db.execute(of_one, (wanted, after, head)) for wanted in _storable(session_ids)))
    until = min(after + SCAN_EVENTS, head)
    rows: Iterator[EventRow] = db.execute(f"{_EVENT} WHERE id > ? AND id <= ? ORDER BY id", (after, until))
    if session_ids is not None:
        rows = (row for row in rows if row[1] in session_ids)
    return until, rows


def snapshot(db: sqlite3.Connection, session_ids: frozenset[str] | None) -> Snapshot:
    with _reading(db):
        seq = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        live = "SELECT row, body FROM sessions WHERE ended_at IS NULL"
        if session_ids is None:
            rows = db.execute(live).fetchall()
        else:
            one = f"{live} AND id = ?"
            rows = [row for wanted in _storable(session_ids) for row in db.execute(one, (wanted,))]
    rows.sort()
    return Snapshot(sessions=tuple(codec.session_from(body) for _, body in rows), last_event_id=seq[0] if seq else 0)


def intents(db: sqlite3.Connection) -> tuple[RoomIntent, ...]:
    with disk_errors():
        return tuple(codec.intent_from(body) for (body,) in db.execute("SELECT body FROM intents ORDER BY rowid"))


def debts(db: sqlite3.Connection) -> tuple[RoomDebt, ...]:
    with disk_errors():
        return tuple(codec.debt_from(body) for (body,) in db.execute("SELECT body FROM debts ORDER BY rowid"))


def recall(db: sqlite3.Connection, caller: str, key: str) -> IdempotencyRecord | None:
    with disk_errors():
        row = db.execute("SELECT body FROM idempotency WHERE caller = ? AND key = ?", (caller, key)).fetchone()
    return codec.record_from(row[0]) if row else None


def bookmark(db: sqlite3.Connection, reader: str) -> int | None:
    with disk_errors():
        row = db.execute("SELECT event_id FROM bookmarks WHERE reader = ?", (reader,)).fetchone()
    return row[0] if row else None


def bookmarks(db: sqlite3.Connection) -> dict[str, int]:
    with disk_errors():
        return dict(db.execute("SELECT reader, event_id FROM bookmarks").fetchall())


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[None]:
    """Several questions, one state."""
    with disk_errors():
        db.execute("BEGIN")
        try:
            yield
        finally:
            db.execute("ROLLBACK")
