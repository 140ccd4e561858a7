"""What goes out: sessions and events as the JSON of the contract."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from transport_trio.events import (
    CaptureEvent,
    Event,
    MessageSent,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantsEjected,
    PermissionsChanged,
    SessionCreated,
    SessionEnded,
    SessionExtended,
    SessionSummary,
    SessionUpdated,
    TokenEvent,
)
from transport_trio.models import Participant, Session, provider_kind
from transport_trio.wire.summary import summary_told
from transport_trio.wire.timeform import timestamp as timestamp

EVENT_MAX_BYTES = 64 * 1024
# Leaves room for `type` and a 19-digit `id`, which are put in front when the event is numbered.
FIELDS_MAX_BYTES = EVENT_MAX_BYTES - 128
PARTICIPANTS_MAX = 200
EJECTED_MAX = 100  # ids have up to 128 characters of up to four bytes

encode = msgspec.json.Encoder().encode


def participant(who: Participant) -> dict[str, Any]:
    """Somebody in a room; whether they own it and what they may do, where that is known."""
    shown: dict[str, Any] = {
        "id": who.id,
        "user_id": who.user_id,
        "name": who.name,
        "joined_at": timestamp(who.joined_at),
    }
    if who.is_owner is not None:
        shown["is_owner"] = who.is_owner
    if who.permissions is not None:
        shown["permissions"] = who.permissions
    if who.will_eject_at is not None:
        shown["will_eject_at"] = timestamp(who.will_eject_at)
    return shown


def session_summary(session: Session) -> dict[str, Any]:
    """A session as lists show it: everything but its participants."""
    shown: dict[str, Any] = {
        "session_id": session.id,
        "provider": session.provider,
        "status": session.status,
        "room_url": session.room.url,
        "room_name": session.room.name,
        "expires_at": timestamp(session.token.expires_at),
        "session_expires_at": timestamp(session.expires_at),
        "room_expires_at": timestamp(session.room.expires_at) if session.room.expires_at else None,
        "created_at": timestamp(session.created_at),
        "updated_at": timestamp(session.updated_at),
        "presence_checked_at": timestamp(session.presence_checked_at) if session.presence_checked_at else None,
        "provider_metadata": {f"{provider_kind(session.provider)}_room_data": session.room.metadata},
    }
    if session.ended_at is not None:
        shown["ended_at"] = timestamp(session.ended_at)
        shown["end_reason"] = session.end_reason
        shown["provider_cleanup"] = session.provider_cleanup
    return shown


def session_detail(session: Session) -> dict[str, Any]:
    empty_since = (session.empty_since or session.created_at) if session.is_empty and not session.has_ended else None
    timeout_s = session.emptiness.timeout_s
    ends_at = empty_since + timedelta(seconds=timeout_s) if empty_since and timeout_s is not None else None
    return session_summary(session) | {
        "options": {
            "empty_timeout_s": timeout_s,
            "bot_user_id_prefix": session.emptiness.bot_user_id_prefix,
            "events_after_end": session.events_after_end,
            "max_duration_s": session.max_duration_s,
        },
        "empty_since": timestamp(empty_since) if empty_since else None,
        "ends_empty_at": timestamp(ends_at) if ends_at else None,
        "participants": [participant(who) for who in session.participants],
    }


def participants_answer(session: Session) -> dict[str, Any]:
    """Everybody in a session's room, and how old that knowledge is."""
    checked_at = session.presence_checked_at
    return {
        "participants": [participant(who) for who in session.participants],
        "total": len(session.present),
        "presence_checked_at": timestamp(checked_at) if checked_at else None,
    }


def session_created_answer(session: Session, meeting_token: str | None) -> dict[str, Any]:
    """The answer to a creation: the only place where a meeting token appears."""
    return session_detail(session) | {"meeting_token": meeting_token}


def event_body(event: Event, event_id: int) -> bytes:
    """The event's JSON, at most `EVENT_MAX_BYTES`: the same for every reader."""
    return number(event, event_fields(event), event_id)


def event_fields(event: Event) -> bytes:
    """All of an event's JSON but its type and id, at most `FIELDS_MAX_BYTES`; what `number` completes."""
    fields = {"time": timestamp(event.time), "session_id": event.session_id, **_own_fields(event)}
    if event.after_end:
        fields["after_end"] = True
    body = encode(fields)
    while len(body) > FIELDS_MAX_BYTES and fields.get("participants"):
        # `participants_total` keeps telling the truth; names of 128 characters can take 512 bytes each.
        fields["participants"] = fields["participants"][: len(fields["participants"]) * 3 // 4]
        body = encode(fields)
    return body


def number(event: Event, fields: bytes, event_id: int) -> bytes:
    return b'{"type":"%s","id":%d,%s' % (event.type.encode(), event_id, fields[1:])


def _own_fields(event: Event) -> dict[str, Any]:
    match event:
        case SessionCreated():
            return {
                "provider": event.provider,
                "room_name": event.room_name,
                "room_url": event.room_url,
                "status": event.status,
                "session_expires_at": timestamp(event.session_expires_at),
            }
        case ParticipantJoined():
            joined: dict[str, Any] = {"participant": participant(event.participant), **_origin(event)}
            return joined | {"again": True} if event.again else joined
        case ParticipantLeft():
            return {
                "participant": participant(event.participant),
                "duration_s": event.duration_s,
                **_origin(event),
            }
        case SessionUpdated():
            return {
                "status": event.status,
                "participants": [participant(who) for who in event.participants[:PARTICIPANTS_MAX]],
                "participants_total": len(event.participants),
            }
        case ParticipantsEjected():
            return {
                "participant_ids": event.participant_ids[:EJECTED_MAX],
                "participants_total": len(event.participant_ids),
                "ban": event.ban,
            }
        case PermissionsChanged():
            return {"participant_id": event.participant_id, "permissions": event.permissions.given}
        case MessageSent():
            return {"recipient": event.recipient, "data_bytes": event.data_bytes}
        case TokenEvent():
            return {
                "token_id": event.token_id,
                "participant_name": event.participant_name,
                "user_id": event.user_id,
                "expires_at": timestamp(event.expires_at),
            }
        case CaptureEvent():
            told = _of_capture(event) | _origin(event)
            more = {"reason": event.reason, "duration_s": event.duration_s}
            return told | {name: value for name, value in more.items() if value is not None}
        case SessionExtended() | SessionEnded() | SessionSummary():
            return _of_the_end(event)
        case _:
            raise AssertionError(f"no wire form for {type(event).__name__}")


def _of_capture(event: CaptureEvent) -> dict[str, Any]:
    if event.type.startswith("live_stream"):
        return {"stream_id": event.capture_id}  # nothing is left of one that the provider would have an id for
    noun = "recording" if event.type.startswith("recording") else "transcript"
    return {f"{noun}_id": event.capture_id, f"provider_{noun}_id": event.provider_id}


def _origin(event: ParticipantJoined | ParticipantLeft | CaptureEvent) -> dict[str, Any]:
    return {"occurred_at": timestamp(event.occurred_at), "source": event.source}


def _of_the_end(event: SessionExtended | SessionEnded | SessionSummary) -> dict[str, Any]:
    if isinstance(event, SessionEnded):
        return {"reason": event.reason}
    if isinstance(event, SessionSummary):
        return summary_told(event.summary)
    return {
        "session_expires_at": timestamp(event.session_expires_at),
        "expired_before_at": timestamp(event.expired_before_at),
        "will_still_be_ejected": [
            {"participant_id": one.participant.id, "at": timestamp(one.at)} for one in event.ejections[:EJECTED_MAX]
        ],
        "participants_total": len(event.ejections),
    }
