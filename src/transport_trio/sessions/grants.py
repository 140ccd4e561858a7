"""The pure part of meeting tokens: which a session has handed out, and what time does to them (ADR 0074)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import attrs

from transport_trio.errors import TokenNotFound, TooManyTokens
from transport_trio.events import Event, TokenCreated, TokenEvent, TokenExpired, TokenExpiring, TokenRenewed
from transport_trio.models import (
    FurtherGrant,
    IdempotencyRecord,
    Session,
    TokenGrant,
    TokenOptions,
    TokenPlan,
    TokenStage,
)

# Each change of a session stores all of it: with usual names and options, these are some 40 KiB of it.
TOKENS_MAX = 100
# How long an expired token can still be renewed by its id.
FORGET_S = 3600.0


@attrs.frozen(kw_only=True)
class TokenGranted:
    """A further token was minted and is about to be handed out."""

    at: datetime
    granted: FurtherGrant
    remember: IdempotencyRecord | None = None


@attrs.frozen(kw_only=True)
class TokenExtended:
    """A token was minted once more, with another end."""

    at: datetime
    token_id: str
    expires_at: datetime


def grants_of(session: Session) -> tuple[FurtherGrant, ...]:
    """All tokens of a session in one form. The first has the session's own id: old journals name none."""
    first = FurtherGrant(
        id=session.id,
        participant=session.participant_config,
        options=TokenOptions(),
        grant=session.token,
        ttl_s=None,
        created_at=session.created_at,
    )
    return (first, *session.further_tokens)


def plan_of(session: Session, one: FurtherGrant) -> TokenPlan:
    """What the provider is asked for: the same claims and the same end each time."""
    return TokenPlan(
        room_name=session.room.name,
        room_config=session.room_config,
        participant=one.participant,
        expires_at=one.grant.expires_at,
        options=one.options,
    )


def find(session: Session, token_id: str) -> FurtherGrant:
    """The token of that id.

    Raises:
        TokenNotFound.
    """
    for one in grants_of(session):
        if one.id == token_id:
            return one
    raise TokenNotFound(token_id)


def check_room(session: Session) -> None:
    """Refuse a token too many.

    Raises:
        TooManyTokens.
    """
    if len(session.further_tokens) + 1 >= TOKENS_MAX:
        raise TooManyTokens(TOKENS_MAX)


def granted(session: Session, cause: TokenGranted) -> tuple[Session, Event]:
    """The session with one more token.

    Raises:
        TooManyTokens.
    """
    check_room(session)
    session = attrs.evolve(session, further_tokens=(*session.further_tokens, cause.granted))
    return session, _event(TokenCreated, session, cause.granted, cause.at)


def extended(session: Session, cause: TokenExtended) -> tuple[Session, Event]:
    """The session with the token's new end, of which will be warned again.

    Raises:
        TokenNotFound: it was forgotten meanwhile.
    """
    found = find(session, cause.token_id)
    # Two renewals may overtake each other; the later end is the one to tell of.
    end = max(found.grant.expires_at, cause.expires_at)
    stage = TokenStage.VALID if end > found.grant.expires_at else found.grant.stage
    renewed = attrs.evolve(found, grant=TokenGrant(expires_at=end, stage=stage))
    return _with(session, renewed), _event(TokenRenewed, session, renewed, cause.at)


def next_due(session: Session, warning_s: float) -> datetime:
    """When `time_reached` has something to do next; the session's end where that is earlier than anything."""
    return min((at for one in grants_of(session) for at in _due(session, one, warning_s)), default=session.expires_at)


def time_reached(session: Session, at: datetime, warning_s: float) -> tuple[Session, list[Event]]:
    """What is due by `at`: warnings, ends, and the forgetting of what ended long ago."""
    events: list[Event] = []
    for one in grants_of(session):
        if one.grant.stage is not TokenStage.EXPIRED and at >= one.grant.expires_at:
            kind: type[TokenEvent] = TokenExpired
            stage = TokenStage.EXPIRED
        elif one.grant.stage is TokenStage.VALID and at >= one.grant.expires_at - timedelta(seconds=warning_s):
            kind, stage = TokenExpiring, TokenStage.EXPIRING
        else:
            continue
        events.append(_event(kind, session, one, at))
        session = _with(session, attrs.evolve(one, grant=attrs.evolve(one.grant, stage=stage)))
    kept = tuple(
        one
        for one in session.further_tokens
        if one.grant.stage is not TokenStage.EXPIRED or at < one.grant.expires_at + timedelta(seconds=FORGET_S)
    )
    return attrs.evolve(session, further_tokens=kept), events


def _due(session: Session, one: FurtherGrant, warning_s: float) -> Iterator[datetime]:
    match one.grant.stage:
        case TokenStage.VALID:
            yield one.grant.expires_at - timedelta(seconds=warning_s)
        case TokenStage.EXPIRING:
            yield one.grant.expires_at
        case TokenStage.EXPIRED if one.id != session.id:
            yield one.grant.expires_at + timedelta(seconds=FORGET_S)


def _with(session: Session, changed: FurtherGrant) -> Session:
    if changed.id == session.id:
        return attrs.evolve(session, token=changed.grant)
    tokens = tuple(changed if one.id == changed.id else one for one in session.further_tokens)
    return attrs.evolve(session, further_tokens=tokens)


def _event(kind: type[TokenEvent], session: Session, one: FurtherGrant, at: datetime) -> Event:
    return kind(
        session_id=session.id,
        time=at,
        token_id=one.id,
        participant_name=one.participant.name,
        user_id=one.participant.user_id,
        expires_at=one.grant.expires_at,
    )
