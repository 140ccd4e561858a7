"""The journal's rows as bytes and numbers, and back. Knows JSON and time, no SQL."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, TypeVar

import attrs
import msgspec

from transport_trio.errors import InvalidRequest, StorageUnavailable
from transport_trio.events import Event
from transport_trio.models import IdempotencyRecord, RoomDebt, RoomIntent, Session
from transport_trio.ports import Change
from transport_trio.wire.out import event_fields

T = TypeVar("T")
Value = str | bytes | int | None

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
CURSOR_PREFIX = b"row:"
ROW_DIGITS = 18  # fits SQLite's integers

encode = msgspec.json.Encoder().encode


def micros(at: datetime) -> int:
    """Whole microseconds since 1970: exact, and comparable in the database."""
    return (at - UNIX_EPOCH) // MICROSECOND


def moment(us: int) -> datetime:
    return UNIX_EPOCH + us * MICROSECOND


class Step(Enum):
    """One thing that a commit can write beside the session and its events."""

    ADD_INTENT = auto()
    SETTLE_INTENT = auto()
    ADD_DEBT = auto()
    SETTLE_DEBT = auto()
    REMEMBER = auto()
    BOOKMARK = auto()
    NEW_EPOCH = auto()


@attrs.frozen(kw_only=True)
class Prepared:
    """A change as the database takes it. Made in the caller's own task, so that what cannot be stored fails there."""

    session: Session | None = None  # as it will be stored, with its new version
    session_body: bytes = b""
    events: tuple[tuple[Event, bytes], ...] = ()  # each with its JSON but for the id
    steps: tuple[tuple[Step, tuple[Value, ...]], ...] = ()
    begins_session: bool = False


def prepare(change: Change) -> Prepared:
    """Encode the change.

    Raises:
        TypeError, UnicodeEncodeError: it holds something that is no JSON; a bug of the caller's.
    """
    session = change.session
    if session is not None:
        session = attrs.evolve(session, version=change.expected_version + 1)
    return Prepared(
        session=session,
        session_body=encode(session) if session is not None else b"",
        events=tuple((event, event_fields(event)) for event in change.events),
        steps=tuple(_steps(change)),
        begins_session=change.add_intent is not None or (session is not None and change.expected_version == 0),
    )


def epoch_change(epoch: str) -> Prepared:
    return Prepared(steps=((Step.NEW_EPOCH, (epoch,)),))


def bookmark_change(reader: str, event_id: int) -> Prepared:
    return Prepared(steps=((Step.BOOKMARK, (reader, event_id)),))


def _steps(change: Change) -> list[tuple[Step, tuple[Value, ...]]]:
    steps: list[tuple[Step, tuple[Value, ...]]] = []
    if (intent := change.add_intent) is not None:
        steps.append((Step.ADD_INTENT, (intent.session_id, encode(intent))))
    if change.settle_intent is not None:
        steps.append((Step.SETTLE_INTENT, (change.settle_intent,)))
    if (debt := change.add_debt) is not None:
        steps.append((Step.ADD_DEBT, (debt.session_id, encode(debt))))
    if change.settle_debt is not None:
        steps.append((Step.SETTLE_DEBT, (change.settle_debt,)))
    if (record := change.remember) is not None:
        steps.append((Step.REMEMBER, (record.caller, record.key, micros(record.created_at), encode(record))))
    return steps


_session_decoder = msgspec.json.Decoder(Session)
_intent_decoder = msgspec.json.Decoder(RoomIntent)
_debt_decoder = msgspec.json.Decoder(RoomDebt)
_record_decoder = msgspec.json.Decoder(IdempotencyRecord)


def session_from(body: bytes) -> Session:
    return _decode(_session_decoder, body)


def intent_from(body: bytes) -> RoomIntent:
    return _decode(_intent_decoder, body)


def debt_from(body: bytes) -> RoomDebt:
    return _decode(_debt_decoder, body)


def record_from(body: bytes) -> IdempotencyRecord:
    return _decode(_record_decoder, body)


def _decode(decoder: msgspec.json.Decoder[T], body: Any) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, TypeError) as exc:
        raise StorageUnavailable(f"a record of the journal is damaged: {exc}") from exc


def cursor_after(row: int) -> str:
    """An opaque cursor for the page that follows the session with this row number."""
    return base64.urlsafe_b64encode(b"%s%d" % (CURSOR_PREFIX, row)).decode().rstrip("=")


def row_of(cursor: str) -> int:
    """The row number in a cursor.

    Raises:
        InvalidRequest: the cursor is not one of ours.
    """
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(padded, altchars=b"-_", validate=True)
    except ValueError:
        text = b""
    digits = text.removeprefix(CURSOR_PREFIX)
    if text == digits or not digits.isdigit() or len(digits) > ROW_DIGITS:
        raise InvalidRequest(("cursor", "is not a cursor of ours; use a next_cursor as it was answered"))
    return int(digits)
