"""The pure part of a later end: how late it may be, and who is put out before it all the same (ADR 0085)."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from transport_trio.errors import InvalidRequest
from transport_trio.events import Ejection, Event, SessionExtended
from transport_trio.models import FurtherGrant, PastEnd, Presence, Room, Session
from transport_trio.sessions.grants import grants_of

# An end that is nearer may have passed when the provider reads of it.
LEFT_MIN_S = 5
# Of a room; beyond, two count as one, with the earlier end: people are told too early rather than too late.
PAST_ENDS_MAX = 32


@attrs.frozen(kw_only=True)
class ExtensionIntended:
    """The provider is about to be asked: from now on the room may have either end."""

    until: datetime


@attrs.frozen(kw_only=True)
class ExtensionDone:
    """The room, as the provider describes it now, lasts long enough; None: it did so before."""

    at: datetime
    until: datetime
    room: Room | None = None


@attrs.frozen(kw_only=True)
class ExtensionDropped:
    """The room has the end that it had."""


def check(session: Session, until: datetime, now: datetime, longest_s: int, path: str) -> None:
    """Refuse an end that the session cannot have.

    Raises:
        InvalidRequest.
    """
    latest = latest_end(session, longest_s)
    if until > latest:
        end = f"{latest:%Y-%m-%dT%H:%M:%SZ}"
        raise InvalidRequest((path, f"must not be later than {end}, the end of the session's longest duration"))
    if until < session.expires_at:
        end = f"{session.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        raise InvalidRequest((path, f"must not be earlier than the session's end, {end}; DELETE ends it at once"))
    if (until - now).total_seconds() < LEFT_MIN_S:
        raise InvalidRequest((path, f"must be {LEFT_MIN_S} s from now at least"))


def latest_end(session: Session, longest_s: int) -> datetime:
    """The latest end that the session can get. One with a duration of its own has a room that lasts so long."""
    latest = session.created_at.replace(microsecond=0) + timedelta(seconds=longest_s)
    if session.max_duration_s is None:
        return latest
    own = session.room.expires_at or session.created_at + timedelta(seconds=session.max_duration_s)
    return min(own, max(latest, session.expires_at))


def extended(
    session: Session, cause: ExtensionIntended | ExtensionDone | ExtensionDropped
) -> tuple[Session, tuple[Event, ...]]:
    match cause:
        case ExtensionIntended():
            return attrs.evolve(session, extending_to=cause.until), ()
        case ExtensionDropped():
            return attrs.evolve(session, extending_to=None), ()
        case ExtensionDone():
            return _done(session, cause)


def _done(session: Session, cause: ExtensionDone) -> tuple[Session, tuple[Event, ...]]:
    room, past = session.room, session.past_ends
    if cause.room is not None:
        if room.expires_at is not None and room.expires_at != cause.room.expires_at:
            past = _joined_up((*past, PastEnd(end=room.expires_at, until=cause.at)))
        room = cause.room
    # Should the provider have cut the end, the session has the one that it got.
    end = min(cause.until, room.expires_at or cause.until)
    before = session.expires_at
    session = attrs.evolve(session, room=room, past_ends=past, extending_to=None)
    if end <= before:
        return session, ()
    session = attrs.evolve(session, expires_at=end, updated_at=cause.at)
    event = SessionExtended(
        session_id=session.id,
        time=cause.at,
        session_expires_at=end,
        expired_before_at=before,
        ejections=ejections(session, cause.at),
    )
    return session, (event,)


def ejections(session: Session, now: datetime) -> tuple[Ejection, ...]:
    """Who of those in the room will be put out before the session's end. A provider fixes that when they come in."""
    found = (_ejection(session, one) for one in session.present)
    early = [one for one in found if one is not None and now < one.at < session.expires_at]
    return tuple(sorted(early, key=lambda one: one.at))


def grant_of(session: Session, one: Presence) -> FurtherGrant | None:
    """The meeting token that somebody came with, as far as that can be known: the newest of the same person."""
    who = one.participant
    for grant in reversed(grants_of(session)):
        person = grant.participant
        by_id = person.user_id is not None and person.user_id == who.user_id
        if by_id or (person.user_id is None and person.name is not None and person.name == who.name):
            return grant
    return None


def _ejection(session: Session, one: Presence) -> Ejection | None:
    who = one.participant
    if who.will_eject_at is not None:
        return Ejection(participant=who, at=who.will_eject_at, source="webhook")
    grant = grant_of(session, one)
    if grant is not None and (grant.options.eject_at_expiry or grant.options.eject_after_s is not None):
        # Daily passes over the room's end for whoever has such a token.
        moments = [grant.grant.expires_at] if grant.options.eject_at_expiry else []
        if grant.options.eject_after_s is not None:
            moments.append(one.entered_at + timedelta(seconds=grant.options.eject_after_s))
        return Ejection(participant=who, at=min(moments), source="token")
    room_end = next((past.end for past in session.past_ends if one.entered_at <= past.until), session.room.expires_at)
    return None if room_end is None else Ejection(participant=who, at=room_end, source="room")


def _joined_up(past: tuple[PastEnd, ...]) -> tuple[PastEnd, ...]:
    if len(past) <= PAST_ENDS_MAX:
        return past
    first, second, *others = past
    return (attrs.evolve(first, until=second.until), *others)
