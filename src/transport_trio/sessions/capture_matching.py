"""Which of a session's captures a piece of news is of. Pure."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import attrs

from transport_trio.errors import AlreadyRunning
from transport_trio.models import (
    CLOCK_SLACK_S,
    Capture,
    CaptureKind,
    CaptureMoment,
    CaptureNews,
    CaptureStatus,
    Session,
)
from transport_trio.sessions.capture_words import not_found, too_many

CAPTURES_MAX = 20
# How far the provider's clock and ours may differ; Daily's has a granularity of one second.
CLOCK_SLACK = timedelta(seconds=CLOCK_SLACK_S)
# From our request until it began, at the longest, when a list is read that does not know our id.
BEGIN_WITHIN = timedelta(seconds=120)


def find(session: Session, capture_id: str) -> Capture | None:
    return next((one for one in session.captures if one.id == capture_id), None)


def capture_of(session: Session, kind: CaptureKind, capture_id: str) -> Capture:
    """The session's capture of that kind and id.

    Raises:
        RecordingNotFound: or that of another kind; there is none.
    """
    capture = find(session, capture_id)
    if capture is None or capture.kind is not kind:
        raise not_found(kind, capture_id)
    return capture


def is_full(session: Session, kind: CaptureKind) -> bool:
    return sum(one.kind is kind for one in session.captures) >= CAPTURES_MAX


def admit(session: Session, kind: CaptureKind, *, additional: bool) -> None:
    """Let a further one of this kind be started.

    Raises:
        AlreadyRunning: one runs, or is starting, and this is not to be `additional`. A repeated request must not make
            another: each is paid for.
        TooManyRecordings (or of another kind): no further one is kept.
    """
    for one in session.captures:
        if not additional and one.kind is kind and one.status in {CaptureStatus.STARTING, CaptureStatus.RUNNING}:
            raise AlreadyRunning(kind, one.id, one.status)
    if is_full(session, kind):
        raise too_many(kind, CAPTURES_MAX)


def meant(session: Session, news: CaptureNews, at: datetime) -> tuple[Session, Capture | None]:
    """Which of the session's captures the news is of; one of somebody else's is taken on."""
    of_kind = [one for one in session.captures if one.kind is news.kind]
    by_instance = next((one for one in of_kind if one.id == news.instance_id), None)
    if by_instance is not None:
        # The provider's word counts more than what was guessed from a list.
        return _identified(session, by_instance, news)
    if news.kind is CaptureKind.LIVE_STREAM:
        return _stream_of_others(session, news, at)
    if news.provider_id is None:
        # An error of the instance that nobody has named: whatever runs in the room and is not ours.
        others = [one for one in of_kind if not one.ours and one.is_open]
        return session, others[-1] if others else None
    for capture in of_kind:
        if capture.provider_id == news.provider_id:
            return session, capture
    began = news.started_at
    if news.instance_id is None and began is not None:
        for capture in of_kind:
            if capture.ours and capture.provider_id is None and _could_be(capture, began):
                return _identified(session, capture, news)
    return _taken_on(session, news, at)


def _could_be(capture: Capture, began: datetime) -> bool:
    return capture.asked_at - CLOCK_SLACK <= began <= capture.asked_at + BEGIN_WITHIN


def _identified(session: Session, capture: Capture, news: CaptureNews) -> tuple[Session, Capture]:
    if news.provider_id is None or news.provider_id == capture.provider_id:
        return session, capture
    known = attrs.evolve(capture, provider_id=news.provider_id)
    # Should the list have been read before, the same one may have been taken for somebody else's.
    others = tuple(one for one in session.captures if one.provider_id != news.provider_id or one.id == capture.id)
    return replaced(attrs.evolve(session, captures=others), known), known


def _taken_on(session: Session, news: CaptureNews, at: datetime) -> tuple[Session, Capture | None]:
    began = news.started_at or news.occurred_at
    ended_at = session.ended_at or at
    if not session.created_at - CLOCK_SLACK <= began <= ended_at + CLOCK_SLACK or news.provider_id is None:
        return session, None  # of an earlier or a later room of that name
    if is_full(session, news.kind):
        return session, None
    capture = Capture(
        id=news.provider_id, kind=news.kind, asked_at=began, ours=False, type=news.type, provider_id=news.provider_id
    )
    return attrs.evolve(session, captures=(*session.captures, capture)), capture


def _stream_of_others(session: Session, news: CaptureNews, at: datetime) -> tuple[Session, Capture | None]:
    """A live stream that somebody in the call has started goes by its instance, which the next one may have as well.

    When things happened tells them apart, whatever comes first and however often.
    """
    when = news.occurred_at
    theirs = (one for one in reversed(session.captures) if one.kind is news.kind and not one.ours)
    for one in theirs:
        if one.provider_id == news.instance_id and _could_be_about(one, news):
            return session, one
    ended_at = session.ended_at or at
    in_time = session.created_at - CLOCK_SLACK <= when <= ended_at + CLOCK_SLACK
    if not in_time or news.instance_id is None or is_full(session, news.kind):
        return session, None
    id_ = uuid.uuid5(uuid.NAMESPACE_OID, f"{session.id}/{news.instance_id}/{when.isoformat()}")
    capture = Capture(
        id=str(id_), kind=news.kind, asked_at=when, ours=False, stored=False, provider_id=news.instance_id
    )
    return attrs.evolve(session, captures=(*session.captures, capture)), capture


def _could_be_about(stream: Capture, news: CaptureNews) -> bool:
    began, when = stream.started_at, news.occurred_at
    if began is not None and news.moment is CaptureMoment.STARTED:
        return began == when  # else it is another start, of which the end before it has been lost
    return (began is None or began <= when) and (stream.stopped_at is None or when <= stream.stopped_at)


def replaced(session: Session, capture: Capture) -> Session:
    changed = tuple(capture if one.id == capture.id else one for one in session.captures)
    return attrs.evolve(session, captures=changed)
