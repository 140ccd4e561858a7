"""The pure transitions of a session: `(Session, cause) -> (Session', events)`. No I/O, no clock, no surprises."""

from __future__ import annotations

from datetime import datetime

import attrs

from transport_trio.events import (
    Event,
    MessageSent,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantsEjected,
    PermissionsChanged,
    SessionCreated,
    SessionEnded,
    SessionUpdated,
    Source,
)
from transport_trio.models import (
    EndReason,
    IdempotencyRecord,
    News,
    Participant,
    ProviderCleanup,
    Reconciled,
    Session,
    SessionStatus,
)
from transport_trio.sessions import captures, extension, grants, presence, visits
from transport_trio.sessions.capture_causes import CaptureCause
from transport_trio.sessions.capture_matching import CLOCK_SLACK
from transport_trio.sessions.extension import ExtensionDone, ExtensionDropped, ExtensionIntended
from transport_trio.sessions.grants import TokenExtended, TokenGranted


@attrs.frozen(kw_only=True)
class Policy:
    """The numbers that transitions depend on, in seconds."""

    confirm_s: float
    token_warning_s: float
    grace_s: float = 0.0  # how late the provider's answers may be


@attrs.frozen(kw_only=True)
class Observed:
    """The provider named who is in the room."""

    at: datetime
    seen: tuple[Participant, ...]
    source: Source = Source.POLL


@attrs.frozen(kw_only=True)
class Pushed:
    """The provider told us by itself."""

    at: datetime
    news: News


@attrs.frozen(kw_only=True)
class RoomMissing:
    """The provider says that there is no such room; once is no proof."""

    at: datetime


@attrs.frozen(kw_only=True)
class ProviderRefused:
    """The provider keeps refusing us: somebody has to look at the key or the account."""

    at: datetime


@attrs.frozen(kw_only=True)
class TimeReached:
    """A deadline of this session has come: all that is due by `at` happens."""

    at: datetime


@attrs.frozen(kw_only=True)
class EndWanted:
    at: datetime
    reason: EndReason


@attrs.frozen(kw_only=True)
class Acted:
    """The provider has done something to the people in the room that a caller wanted; the event tells what."""

    event: ParticipantsEjected | PermissionsChanged | MessageSent


Extension = ExtensionIntended | ExtensionDone | ExtensionDropped
Told = Observed | Pushed | RoomMissing | ProviderRefused | TimeReached
Cause = Told | EndWanted | Acted | TokenGranted | TokenExtended | Extension | CaptureCause


@attrs.frozen(kw_only=True)
class Outcome:
    session: Session
    events: tuple[Event, ...] = ()
    remember: IdempotencyRecord | None = None


def created(session: Session) -> SessionCreated:
    return SessionCreated(
        session_id=session.id,
        time=session.created_at,
        provider=session.provider,
        room_name=session.room.name,
        room_url=session.room.url,
        status=session.status,
        session_expires_at=session.expires_at,
    )


def decide(session: Session, cause: Cause, policy: Policy) -> Outcome:
    """What `cause` does to `session`. An ended session does not change here: see `afterwards`.

    Raises:
        TooManyTokens, TokenNotFound: only for causes that concern a token.
        TooManyRecordings: only for a start.
    """
    if session.has_ended:
        return Outcome(session=session)
    if isinstance(cause, CaptureCause):
        session, of_capture = captures.learnt(session, cause)
        return Outcome(session=session, events=of_capture)
    match cause:
        case Observed():
            return _observed(session, cause, policy)
        case Pushed():
            return _pushed(session, cause, policy)
        case RoomMissing():
            since = session.room_missing_since or cause.at
            return Outcome(session=attrs.evolve(session, room_missing_since=since))
        case ProviderRefused():
            return _refused(session, cause.at)
        case TimeReached():
            return _time_reached(session, cause.at, policy)
        case EndWanted():
            return _ended(session, cause.at, cause.reason)
        case Acted():
            return _acted(session, cause)
        case TokenGranted():
            session, event = grants.granted(session, cause)
            return Outcome(session=session, events=(event,), remember=cause.remember)
        case TokenExtended():
            session, event = grants.extended(session, cause)
            return Outcome(session=session, events=(event,))
        case _:
            session, told = extension.extended(session, cause)
            return Outcome(session=session, events=told)


def _refused(session: Session, at: datetime) -> Outcome:
    if session.status is SessionStatus.ERROR:
        return Outcome(session=session)
    return _updated(attrs.evolve(session, status=SessionStatus.ERROR), at)


def next_due(session: Session, policy: Policy) -> datetime:
    """When `TimeReached` has something to do next."""
    return min(grants.next_due(session, policy.token_warning_s), session.expires_at)


def room_is_gone(session: Session, at: datetime, policy: Policy) -> bool:
    """Whether the room has been missing long enough to ask the provider a last time."""
    since = session.room_missing_since
    return since is not None and (at - since).total_seconds() >= policy.confirm_s


def _observed(session: Session, cause: Observed, policy: Policy) -> Outcome:
    seen = presence.observe(
        session.present,
        session.departed,
        cause.seen,
        cause.at,
        policy.confirm_s,
        pushed_leaves=session.pushed_leaves,
        grace_s=policy.grace_s,
    )
    session = attrs.evolve(session, presence_checked_at=cause.at, room_missing_since=None)
    outcome = _learnt(session, seen, cause.at, joins_by=cause.source, leaves_by=Source.INFERRED)
    session, told = captures.nobody_is_there(outcome.session, cause.at)
    outcome = attrs.evolve(outcome, session=session, events=(*outcome.events, *told))
    if _is_empty_for_long(outcome.session, cause.at):
        ended = _ended(outcome.session, cause.at, EndReason.EMPTY)
        return attrs.evolve(ended, events=(*outcome.events, *ended.events))
    return outcome


def _is_empty_for_long(session: Session, at: datetime) -> bool:
    """Asked behind a good answer only: while the provider is away nobody knows whether a room is empty."""
    timeout_s = session.emptiness.timeout_s
    if timeout_s is None or not session.is_empty:
        return False
    since = session.empty_since or session.created_at
    return (at - since).total_seconds() >= timeout_s


def _pushed(session: Session, cause: Pushed, policy: Policy) -> Outcome:
    if (cause.at - cause.news.occurred_at).total_seconds() >= policy.grace_s:
        return Outcome(session=session)  # it comes so late that an answer knows better
    if cause.news.occurred_at < session.created_at - CLOCK_SLACK:
        return Outcome(session=session)  # it is of an earlier room of that name
    learnt = presence.believe(session.present, session.departed, session.pushed_leaves, cause.news, cause.at)
    return _learnt(session, learnt, cause.at, joins_by=Source.WEBHOOK, leaves_by=Source.WEBHOOK)


def _learnt(
    session: Session, learnt: presence.Observation, at: datetime, *, joins_by: Source, leaves_by: Source
) -> Outcome:
    events: list[Event] = [
        ParticipantJoined(
            session_id=session.id,
            time=at,
            participant=join.participant,
            occurred_at=join.participant.joined_at,
            source=joins_by,
            again=join.again,
        )
        for join in learnt.joined
    ]
    events.extend(_left(session, learnt.left, at, leaves_by))
    # That the provider refuses us is not over because it tells us something.
    refused = session.status is SessionStatus.ERROR and joins_by is Source.WEBHOOK
    status = session.status if refused else _status_after(session, learnt)
    session = visits.note(session, learnt.present, learnt.joined, learnt.left, exact=leaves_by is Source.WEBHOOK)
    was_there = not session.is_empty
    news = learnt.changed or status is not session.status
    session = attrs.evolve(
        session,
        status=status,
        present=learnt.present,
        departed=learnt.departed,
        pushed_leaves=learnt.pushed_leaves,
    )
    if not session.is_empty:
        session = attrs.evolve(session, empty_since=None)
    elif was_there:
        session = attrs.evolve(session, empty_since=at)
    return _updated(session, at, events) if news else Outcome(session=session)


def _status_after(session: Session, seen: presence.Observation) -> SessionStatus:
    """`Active` once somebody has been there, and ever after; `Error` passes as soon as the provider answers again."""
    been_there = seen.present or seen.departed or session.present or session.departed
    return SessionStatus.ACTIVE if been_there else SessionStatus.CREATED


def _acted(session: Session, cause: Acted) -> Outcome:
    if isinstance(cause.event, ParticipantsEjected):
        marked = presence.mark_ejected(session.present, cause.event.participant_ids)
        session = attrs.evolve(session, present=marked)
    elif isinstance(cause.event, PermissionsChanged):
        before = session.participants
        permitted = presence.permit(session.present, cause.event.participant_id, cause.event.permissions)
        session = attrs.evolve(session, present=permitted)
        if session.participants != before:
            return _updated(session, cause.event.time, [cause.event])
    return Outcome(session=session, events=(cause.event,))


def _time_reached(session: Session, at: datetime, policy: Policy) -> Outcome:
    session, events = grants.time_reached(session, at, policy.token_warning_s)
    if at >= session.expires_at:
        return _ended(session, at, EndReason.EXPIRED, events)
    return Outcome(session=session, events=tuple(events))


def _ended(session: Session, at: datetime, reason: EndReason, events: list[Event] | None = None) -> Outcome:
    events = list(events or ())
    leaves = presence.everyone_leaves(session.present)
    events.extend(_left(session, leaves, at))
    session, stopped = captures.call_is_over(session, at)
    events.extend(stopped)
    session = attrs.evolve(
        visits.note(session, (), (), leaves, exact=False),
        status=SessionStatus.ENDED,
        present=(),
        ended_at=at,
        end_reason=reason,
        provider_cleanup=ProviderCleanup.PENDING,
        reconciled=Reconciled.PENDING,
    )
    outcome = _updated(session, at, events)
    ended = SessionEnded(session_id=session.id, time=at, reason=reason)
    return attrs.evolve(outcome, events=(*outcome.events, ended))


def _left(
    session: Session, leaves: tuple[presence.Left, ...], at: datetime, source: Source = Source.INFERRED
) -> list[Event]:
    return [
        ParticipantLeft(
            session_id=session.id,
            time=at,
            participant=leave.participant,
            duration_s=leave.duration_s,
            occurred_at=leave.last_seen_at,
            source=source,
        )
        for leave in leaves
    ]


def _updated(session: Session, at: datetime, events: list[Event] | None = None) -> Outcome:
    session = attrs.evolve(session, updated_at=at)
    told = SessionUpdated(session_id=session.id, time=at, status=session.status, participants=session.participants)
    return Outcome(session=session, events=(*(events or ()), told))
