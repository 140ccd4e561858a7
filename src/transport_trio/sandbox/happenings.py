"""What Daily tells webhooks of a call, in Daily's words. Pure: an event's JSON from what has happened."""

from __future__ import annotations

import uuid
from typing import Any

from transport_trio.sandbox.call import Happening, Participant

VERSION = "1.0.0"
# All that a webhook can be for; the sandbox itself sends those of meetings and participants.
EVENT_TYPES = frozenset(
    {
        *("meeting.started", "meeting.ended"),
        *("participant.joined", "participant.left"),
        *("waiting-participant.joined", "waiting-participant.left"),
        *("recording.started", "recording.ready-to-download", "recording.error"),
        *("transcript.started", "transcript.ready-to-download", "transcript.error"),
        *("streaming.started", "streaming.updated", "streaming.ended", "streaming.error"),
        *("batch-processor.job-finished", "batch-processor.error"),
        *("dialout.connected", "dialout.answered", "dialout.stopped", "dialout.warning", "dialout.error"),
        *("dialin.ready", "dialin.connected", "dialin.stopped", "dialin.warning", "dialin.error"),
        *("calltransfer.triggered", "calltransfer.initiated", "calltransfer.answered", "calltransfer.completed"),
    }
)


def event_of(happening: Happening, room_name: str, now: float) -> dict[str, Any]:
    """The whole event, sent at `now`."""
    who, at = happening.participant, happening.at
    match happening.type:
        case "meeting.started":
            id_ = f"met-sta-{who.meeting_id}-{int(at)}"
            payload = {"start_ts": at, "meeting_id": who.meeting_id, "room": room_name}
        case "meeting.ended":
            id_ = f"met-end-{who.meeting_id}-{int(at)}"
            began = int(happening.began_at)
            payload = {"start_ts": began, "end_ts": at, "meeting_id": who.meeting_id, "room": room_name}
        case "participant.joined":
            id_ = f"ptcpt-join-{_user_id(who)}-{int(at * 1000)}"
            payload = _participant(who, room_name)
        case _:
            id_ = f"ptcpt-left-{_user_id(who)}-{int(at * 1000)}"
            payload = {**_participant(who, room_name), "duration": at - who.joined_at}
    return {"version": VERSION, "type": happening.type, "id": id_, "payload": payload, "event_ts": now}


def _participant(who: Participant, room_name: str) -> dict[str, Any]:
    return {
        "room": room_name,
        "user_id": _user_id(who),
        "user_name": who.user_name,
        "session_id": who.id,
        "joined_at": who.joined_at,
        "will_eject_at": who.eject_at,
        "owner": who.is_owner,
        "permissions": who.all_permissions,
    }


def _user_id(who: Participant) -> str:
    """Daily makes one up for whoever brings none; presence does not show it."""
    return who.user_id or str(uuid.uuid5(uuid.NAMESPACE_OID, who.id))
