"""The JSON that goes out: the contract's names, UTC with Z, and never more than 64 KiB for an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from transport_trio.events import (
    Event,
    ParticipantJoined,
    ParticipantLeft,
    SessionCreated,
    SessionEnded,
    SessionUpdated,
    Source,
    TokenExpired,
    TokenExpiring,
)
from transport_trio.models import EndReason, Participant, SessionId, SessionStatus
from transport_trio.wire import out

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEAD = {"session_id": SessionId("s1"), "time": NOON}
ADA = Participant(id="p1", user_id="u1", name="Ada", joined_at=NOON)
ADA_JSON = {"id": "p1", "user_id": "u1", "name": "Ada", "joined_at": "2026-01-01T12:00:00Z"}


def body(event: Event, event_id: int = 7) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(out.event_body(event, event_id))
    return decoded


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (
            SessionCreated(
                **HEAD,
                provider="daily",
                room_name="r",
                room_url="u",
                status=SessionStatus.CREATED,
                session_expires_at=NOON,
            ),
            {
                "provider": "daily",
                "room_name": "r",
                "room_url": "u",
                "status": "Created",
                "session_expires_at": "2026-01-01T12:00:00Z",
            },
        ),
        (
            ParticipantJoined(**HEAD, participant=ADA, occurred_at=NOON, source=Source.POLL),
            {"participant": ADA_JSON, "occurred_at": "2026-01-01T12:00:00Z", "source": "poll"},
        ),
        (
            ParticipantJoined(**HEAD, participant=ADA, occurred_at=NOON, source=Source.WEBHOOK, again=True),
            {"participant": ADA_JSON, "occurred_at": "2026-01-01T12:00:00Z", "source": "webhook", "again": True},
        ),
        (
            ParticipantLeft(**HEAD, participant=ADA, duration_s=2.5, occurred_at=NOON, source=Source.INFERRED),
            {"participant": ADA_JSON, "duration_s": 2.5, "occurred_at": "2026-01-01T12:00:00Z", "source": "inferred"},
        ),
        (
            SessionUpdated(**HEAD, status=SessionStatus.ACTIVE, participants=(ADA,)),
            {"status": "Active", "participants": [ADA_JSON], "participants_total": 1},
        ),
        (
            TokenExpiring(**HEAD, token_id="t", participant_name="Ada", user_id=None, expires_at=NOON),
            {"token_id": "t", "participant_name": "Ada", "user_id": None, "expires_at": "2026-01-01T12:00:00Z"},
        ),
        (
            TokenExpired(**HEAD, token_id="t", participant_name=None, user_id="u1", expires_at=NOON),
            {"token_id": "t", "participant_name": None, "user_id": "u1", "expires_at": "2026-01-01T12:00:00Z"},
        ),
        (SessionEnded(**HEAD, reason=EndReason.ROOM_GONE), {"reason": "room_gone"}),
    ],
    ids=lambda value: value.type.value if isinstance(value, Event) else "",
)
def test_an_event_has_the_fields_of_the_contract(event: Event, fields: dict[str, Any]) -> None:
    expected = {"type": event.type.value, "id": 7, "time": "2026-01-01T12:00:00Z", "session_id": "s1", **fields}
    assert body(event) == expected
    assert list(body(event))[:2] == ["type", "id"]


def test_only_the_first_participants_are_named_but_all_are_counted() -> None:
    crowd = tuple(Participant(id=f"p{n}", joined_at=NOON) for n in range(500))
    update = body(SessionUpdated(**HEAD, status=SessionStatus.ACTIVE, participants=crowd))
    assert len(update["participants"]) == 200
    assert update["participants_total"] == 500


def test_an_event_never_exceeds_64_kib_even_with_the_longest_names() -> None:
    crowd = tuple(
        Participant(id="i" * 36, user_id="u" * 36, name="\N{GRINNING FACE}" * 128, joined_at=NOON) for _ in range(200)
    )
    update = SessionUpdated(**HEAD, status=SessionStatus.ACTIVE, participants=crowd)
    encoded = out.event_body(update, 2**63 - 1)
    assert len(encoded) <= 64 * 1024
    told = json.loads(encoded)
    assert 50 < len(told["participants"]) < 200
    assert told["participants_total"] == 200


def test_times_are_utc_with_z_and_milliseconds_only_where_there_are_any() -> None:
    berlin = timezone(timedelta(hours=1))
    assert out.timestamp(datetime(2026, 1, 1, 13, tzinfo=berlin)) == "2026-01-01T12:00:00Z"
    assert out.timestamp(NOON + timedelta(milliseconds=250)) == "2026-01-01T12:00:00.250Z"
    assert out.timestamp(NOON + timedelta(microseconds=5)) == "2026-01-01T12:00:00Z"
