"""A session's later end as JSON: what `POST /sessions/{id}/extend` takes and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from transport_trio.errors import InvalidRequest
from transport_trio.events import Ejection
from transport_trio.models import FurtherGrant, Session
from transport_trio.wire.out import participant, timestamp
from transport_trio.wire.requests import Body, Ttl, body_of
from transport_trio.wire.tokens import token_answer

NOT_A_TIME = ("$.session_expires_at", "must be like 2026-01-01T12:00:00Z: a zone, and whole seconds")


class ExtendBody(Body, frozen=True):
    session_ttl_s: Ttl | None = None
    session_expires_at: datetime | None = None
    reissue_tokens: bool = False


def extend_body(data: bytes) -> ExtendBody:
    """The body; an end is in UTC and has whole seconds, as providers keep them.

    Raises:
        InvalidRequest: with the path of the first fault.
    """
    try:
        body = body_of(data, ExtendBody)
    except InvalidRequest as exc:
        if exc.faults[0][0] == NOT_A_TIME[0]:  # the reader's own words are no help to who writes `tomorrow`
            raise InvalidRequest(NOT_A_TIME) from exc
        raise
    if (body.session_ttl_s is None) == (body.session_expires_at is None):
        raise InvalidRequest(("$", "needs one of session_ttl_s and session_expires_at, and not both"))
    end = body.session_expires_at
    if end is not None and (end.tzinfo is None or end.microsecond):
        raise InvalidRequest(NOT_A_TIME)
    return body


def end_of(body: ExtendBody) -> datetime | None:
    """Raises:
    InvalidRequest: it is out of every calendar once it is in UTC.
    """
    try:
        return body.session_expires_at.astimezone(UTC) if body.session_expires_at is not None else None
    except OverflowError:
        raise InvalidRequest(("$.session_expires_at", "is no time that could come")) from None


def extend_answer(
    session: Session, early: Sequence[Ejection], tokens: Sequence[tuple[FurtherGrant, str | None]]
) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "session_expires_at": timestamp(session.expires_at),
        "will_still_be_ejected": [
            {"participant": participant(one.participant), "at": timestamp(one.at), "source": one.source}
            for one in early
        ],
        "tokens": [token_answer(session.id, granted, token) for granted, token in tokens],
    }
