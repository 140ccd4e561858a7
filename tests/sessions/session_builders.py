"""Short ways to say "a session" and "somebody" in tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

from transport_trio.models import (
    Participant,
    ParticipantConfig,
    Room,
    RoomConfig,
    Session,
    SessionId,
    SessionRequest,
    SessionStatus,
    TokenGrant,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def somebody(id_: str, user_id: str | None = None, *, joined_s: float = 0.0, name: str | None = None) -> Participant:
    return Participant(id=id_, user_id=user_id, name=name, joined_at=after(joined_s))


def a_session(*, token_s: float = 3600, session_s: float = 14400) -> Session:
    return Session(
        id=SessionId("6f1c6ad4-4b36-4b5e-9d3c-0d1f3a3e6a11"),
        provider="daily",
        status=SessionStatus.CREATED,
        room=Room(name="r", url="https://sandbox.daily.co/r", provider_id="room-1", expires_at=after(session_s)),
        room_config=RoomConfig(),
        participant_config=ParticipantConfig(name="Ada", user_id="u-ada"),
        token=TokenGrant(expires_at=after(token_s)),
        created_at=NOON,
        updated_at=NOON,
        expires_at=after(session_s),
    )


def a_request(**changes: object) -> SessionRequest:
    return attrs.evolve(SessionRequest(provider="daily", session_ttl_s=14400, token_ttl_s=3600), **changes)
