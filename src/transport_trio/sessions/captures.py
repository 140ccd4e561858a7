"""The pure transitions of what is made of a session's call: `(Session, cause) -> (Session', events)`.

What a provider says may come twice, in any order, or never. So a capture only ever moves on, and an event is told when
it does. None of it needs the session to live: what comes to be known of one that has ended is learnt the same way.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from transport_trio.events import CaptureEvent, Source
from transport_trio.models import Capture, CaptureKind, CaptureMoment, CaptureNews, CaptureStatus, Session
from transport_trio.sessions.capture_causes import (
    CaptureCause,
    CaptureChanged,
    CaptureDeleted,
    CaptureIntended,
    CaptureRefused,
    CapturesGivenUp,
    CapturesHeard,
    CaptureStopped,
)
from transport_trio.sessions.capture_matching import CLOCK_SLACK, admit, find, meant, replaced
from transport_trio.sessions.capture_words import ERRORS, READIES, STARTS, STOPS, UPDATES, told_of

# From the last leave until a call is over, and answers show who has come, at the longest.
CALL_ENDS_WITHIN = timedelta(seconds=45)
# Without a sign of life from a list for so long, one that should be there is not. Daily's lists are late by seconds.
# The first look and the third are a minute apart, and a bit less where the first answer took longer.
MISSING_MAX = timedelta(seconds=50)

NOT_STARTED = "it was asked for, and the provider does not know of it"
VANISHED = "the provider does not know of it any more"
NOT_READY = "nothing came of it within a day after the session's end"
NOTHING_BY_ITSELF = "it should have started by itself, and the provider does not know of any"

Told = tuple[Session, tuple[CaptureEvent, ...]]


def learnt(session: Session, cause: CaptureCause) -> Told:
    """What `cause` does to the session's captures.

    Raises:
        AlreadyRunning: one of its kind runs, or is starting.
        TooManyRecordings (or of another kind): no further one is kept.
    """
    match cause:
        case CaptureIntended():
            admit(session, cause.capture.kind, additional=cause.additional)
            return attrs.evolve(session, captures=(*session.captures, cause.capture)), ()
        case CaptureRefused():
            kept = tuple(one for one in session.captures if one.id != cause.capture_id)
            return attrs.evolve(session, captures=kept), ()
        case CapturesHeard():
            return _heard(session, cause)
        case CapturesGivenUp():
            return _given_up(session, cause.at)
        case CaptureChanged() | CaptureStopped() | CaptureDeleted():
            capture = find(session, cause.capture_id)
            return (session, ()) if capture is None else _done(session, capture, cause)
    raise AssertionError(f"no transition for {type(cause).__name__}")


def call_is_over(session: Session, at: datetime) -> Told:
    """The session ends, and with its room whatever runs in it."""
    events: list[CaptureEvent] = []
    for capture in session.captures:
        session, told = _over_with_its_call(session, capture, at, at)
        events.extend(told)
    return session, tuple(events)


def nobody_is_there(session: Session, at: datetime) -> Told:
    """By an answer of the provider's. A live stream ends with its call, which no list would tell."""
    events: list[CaptureEvent] = []
    if not session.is_empty or session.empty_since is None:
        return session, ()
    for capture in session.captures:
        # One that was started since: whoever did so is there, and the provider's answers are late.
        since = max(session.empty_since, capture.asked_at)
        if capture.kind is CaptureKind.LIVE_STREAM and at - since >= CALL_ENDS_WITHIN:
            session, told = _over_with_its_call(session, capture, at, since)
            events.extend(told)
    return session, tuple(events)


def _over_with_its_call(session: Session, capture: Capture, at: datetime, since: datetime) -> Told:
    if capture.status in {CaptureStatus.RUNNING, CaptureStatus.STOPPING}:
        return _stopped(session, capture, at, since, Source.INFERRED)
    if capture.status is CaptureStatus.STARTING and not capture.stored:
        # Nobody will ever tell whether it ran.
        return replaced(session, attrs.evolve(capture, status=CaptureStatus.ENDED, stopped_at=since)), ()
    return session, ()


def _done(session: Session, capture: Capture, cause: CaptureChanged | CaptureStopped | CaptureDeleted) -> Told:
    """The provider has done to it what we wanted."""
    match cause:
        case CaptureChanged():
            return _changed(session, capture, cause)
        case CaptureStopped():
            return _stopped_by_us(session, capture, cause)
        case CaptureDeleted():
            # Where the provider was told which one, its end is no conclusion of ours any more: nothing brings it back.
            given_up = capture.given_up and capture.provider_id is None
            return replaced(session, attrs.evolve(capture, status=CaptureStatus.DELETED, given_up=given_up)), ()


def _changed(session: Session, capture: Capture, cause: CaptureChanged) -> Told:
    if not capture.is_open:
        return session, ()
    heard_at = capture.update_heard_at
    session = replaced(session, attrs.evolve(capture, updated_at=cause.at, update_heard_at=None))
    if heard_at is not None and heard_at >= cause.asked_at - CLOCK_SLACK:
        return session, ()  # the push was faster than the answer
    return session, (told_of(UPDATES[capture.kind], session, capture, cause.at, cause.at, Source.REQUEST),)


def _updated_elsewhere(session: Session, capture: Capture, news: CaptureNews, cause: CapturesHeard) -> Told:
    """The provider tells of a change. It tells of ours as well, to the second, late, and perhaps twice."""
    known = capture.updated_at
    if not capture.is_open or (known is not None and news.occurred_at <= known + CLOCK_SLACK):
        return session, ()
    when = news.occurred_at
    session = replaced(session, attrs.evolve(capture, updated_at=when, update_heard_at=when))
    return session, (told_of(UPDATES[capture.kind], session, capture, cause.at, when, cause.source),)


def _stopped_by_us(session: Session, capture: Capture, cause: CaptureStopped) -> Told:
    if capture.status not in {CaptureStatus.STARTING, CaptureStatus.RUNNING, CaptureStatus.STOPPING}:
        return session, ()
    if cause.in_doubt:
        return replaced(session, attrs.evolve(capture, status=CaptureStatus.STOPPING)), ()
    return _stopped(session, capture, cause.at, cause.at, cause.source)


def _heard(session: Session, cause: CapturesHeard) -> Told:
    events: list[CaptureEvent] = []
    named: set[str] = set()
    # The oldest first: two of ours that no list tells apart began in the order in which they were asked for.
    for news in sorted(cause.news, key=lambda one: one.started_at or one.occurred_at):
        session, capture = meant(session, news, cause.at)
        if capture is None:
            continue
        named.add(capture.id)
        session, told = _moved_on(session, capture, news, cause)
        events.extend(told)
    if cause.listed is not None:
        session, told = _missed(session, cause.listed, named, cause.at)
        events.extend(told)
    if cause.expect and cause.listed is not None and cause.listed not in session.auto_starts_checked:
        session = attrs.evolve(session, auto_starts_checked=(*session.auto_starts_checked, cause.listed))
        if not any(one.kind is cause.listed for one in session.captures):
            events.append(_never_started(session, cause.listed, cause.at))
    return session, tuple(events)


def _moved_on(session: Session, capture: Capture, news: CaptureNews, cause: CapturesHeard) -> Told:
    if capture.missing_since is not None:
        capture = attrs.evolve(capture, missing_since=None)
        session = replaced(session, capture)
    if capture.given_up:
        capture = _revived(capture)
        session = replaced(session, capture)
    match news.moment:
        case CaptureMoment.STARTED:
            return _started(session, capture, news, cause)
        case CaptureMoment.UPDATED:
            session, begun = _begun_unheard(session, capture, news, cause)
            session, told = _updated_elsewhere(session, find(session, capture.id) or capture, news, cause)
            return session, (*begun, *told)
        case CaptureMoment.STOPPED:
            session, begun = _begun_unheard(session, capture, news, cause)
            capture = find(session, capture.id) or capture
            session, told = _stopped(session, capture, cause.at, news.occurred_at, cause.source)
            return session, (*begun, *told)
        case CaptureMoment.READY:
            return _ready(session, capture, news, cause)
        case CaptureMoment.ERROR:
            if not capture.is_open:
                return session, ()
            return _failed(session, capture, news.reason or "the provider gives no reason", news, cause)


def _begun_unheard(session: Session, capture: Capture, news: CaptureNews, cause: CapturesHeard) -> Told:
    """What goes on, or has ended, had begun. Of somebody else's nobody knows when; its start may still be told."""
    if capture.status is not CaptureStatus.STARTING:
        return session, ()
    if not capture.ours:
        return replaced(session, attrs.evolve(capture, status=CaptureStatus.RUNNING)), ()
    begun = attrs.evolve(news, moment=CaptureMoment.STARTED, started_at=capture.asked_at)
    return _started(session, capture, begun, attrs.evolve(cause, source=Source.INFERRED))


def _revived(capture: Capture) -> Capture:
    """We were wrong to give it up: it goes on from where it was."""
    status = CaptureStatus.STARTING
    if capture.stopped_at is not None:
        status = CaptureStatus.PROCESSING
    elif capture.started_at is not None:
        status = CaptureStatus.RUNNING
    return attrs.evolve(capture, status=status, error=None, given_up=False)


def _started(session: Session, capture: Capture, news: CaptureNews, cause: CapturesHeard) -> Told:
    if capture.started_at is not None or not capture.is_open:
        return session, ()
    began = news.started_at or news.occurred_at
    status = CaptureStatus.RUNNING if capture.status is CaptureStatus.STARTING else capture.status
    capture = attrs.evolve(capture, started_at=began, status=status, type=news.type or capture.type)
    session = replaced(session, capture)
    told: list[CaptureEvent] = [told_of(STARTS[capture.kind], session, capture, cause.at, began, cause.source)]
    if session.has_ended and status is CaptureStatus.RUNNING:
        # Its call ended with the session, before anybody had told us that it ran.
        session, stopped = _stopped(session, capture, cause.at, session.ended_at or cause.at, Source.INFERRED)
        told.extend(stopped)
    return session, tuple(told)


def _stopped(session: Session, capture: Capture, at: datetime, occurred_at: datetime, source: Source) -> Told:
    if capture.stopped_at is not None or not capture.is_open:
        return session, ()
    status = CaptureStatus.PROCESSING if capture.stored else CaptureStatus.ENDED
    capture = attrs.evolve(capture, status=status, stopped_at=occurred_at)
    told = told_of(STOPS[capture.kind], session, capture, at, occurred_at, source)
    return replaced(session, capture), (told,)


def _ready(session: Session, capture: Capture, news: CaptureNews, cause: CapturesHeard) -> Told:
    if capture.status in {CaptureStatus.READY, CaptureStatus.DELETED}:
        return session, ()
    session, started = _started(session, attrs.evolve(capture, status=CaptureStatus.STARTING), news, cause)
    capture = find(session, capture.id) or capture
    began = capture.started_at or news.occurred_at
    over = began + timedelta(seconds=news.duration_s or 0)
    session, stopped = _stopped(session, capture, cause.at, min(over, cause.at), Source.INFERRED)
    capture = attrs.evolve(
        find(session, capture.id) or capture,
        status=CaptureStatus.READY,
        ready_at=cause.at,
        duration_s=news.duration_s,
        error=None,
    )
    told = told_of(READIES[capture.kind], session, capture, cause.at, news.occurred_at, cause.source)
    told = attrs.evolve(told, duration_s=news.duration_s)
    return replaced(session, capture), (*started, *stopped, told)


def _failed(session: Session, capture: Capture, reason: str, news: CaptureNews | None, cause: CapturesHeard) -> Told:
    occurred_at, source = (cause.at, Source.INFERRED) if news is None else (news.occurred_at, cause.source)
    capture = attrs.evolve(capture, status=CaptureStatus.ERROR, error=reason, given_up=news is None)
    if capture.kind is CaptureKind.LIVE_STREAM:
        capture = attrs.evolve(capture, stopped_at=occurred_at)
    told = attrs.evolve(told_of(ERRORS[capture.kind], session, capture, cause.at, occurred_at, source), reason=reason)
    return replaced(session, capture), (told,)


def _given_up(session: Session, at: datetime) -> Told:
    events: list[CaptureEvent] = []
    for capture in session.captures:
        if capture.is_open:
            heard = CapturesHeard(at=at, source=Source.INFERRED, news=())
            session, told = _failed(session, capture, NOT_READY, None, heard)
            events.extend(told)
    return session, tuple(events)


def _missed(session: Session, kind: CaptureKind, named: set[str], at: datetime) -> Told:
    """What it means that a whole list does not name some: nothing at first."""
    events: list[CaptureEvent] = []
    heard = CapturesHeard(at=at, source=Source.POLL, news=())
    for capture in session.captures:
        if not capture.is_open or capture.id in named or capture.kind is not kind or not capture.stored:
            continue
        if capture.missing_since is None:
            session = replaced(session, attrs.evolve(capture, missing_since=at))
        elif at - max(capture.missing_since, capture.asked_at) >= MISSING_MAX:
            reason = NOT_STARTED if capture.started_at is None else VANISHED
            session, told = _failed(session, capture, reason, None, heard)
            events.extend(told)
    return session, tuple(events)


def _never_started(session: Session, kind: CaptureKind, at: datetime) -> CaptureEvent:
    return ERRORS[kind](
        session_id=session.id,
        time=at,
        capture_id=None,
        provider_id=None,
        occurred_at=at,
        source=Source.INFERRED,
        reason=NOTHING_BY_ITSELF,
    )
