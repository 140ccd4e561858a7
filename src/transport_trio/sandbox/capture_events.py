"""What Daily tells webhooks of recordings, transcriptions and live streams, in Daily's words: their JSON."""

from __future__ import annotations

from typing import Any

from transport_trio.sandbox.captures import Capture, Moment
from transport_trio.sandbox.happenings import VERSION

# Of each kind, the moments that are told, with the event's name and the beginning of its id.
TOLD: dict[tuple[str, Moment], tuple[str, str]] = {
    ("recording", "started"): ("recording.started", "rec-sta"),
    ("recording", "ready"): ("recording.ready-to-download", "rec-rtd"),
    ("recording", "error"): ("recording.error", "rec-err"),
    ("transcription", "started"): ("transcript.started", "tra-sta"),
    ("transcription", "ready"): ("transcript.ready-to-download", "tra-rtd"),
    ("transcription", "error"): ("transcript.error", "tra-err"),
    ("streaming", "started"): ("streaming.started", "str-sta"),
    ("streaming", "updated"): ("streaming.updated", "str-upd"),
    ("streaming", "ended"): ("streaming.ended", "str-end"),
    ("streaming", "error"): ("streaming.error", "str-err"),
}
TRANSCRIPT_STATUS = {"started": "t_in_progress", "ready": "t_finished", "error": "t_error"}


def capture_event(
    moment: Moment, capture: Capture, at: float, message: str | None, *, domain_id: str, now: float
) -> dict[str, Any] | None:
    """The whole event, sent at `now`; None for a moment that Daily keeps to itself."""
    if (told := TOLD.get((capture.kind, moment))) is None:
        return None
    type_, prefix = told
    match capture.kind:
        case "recording":
            payload = _recording(moment, capture, at, message)
        case "transcription":
            payload = _transcript(moment, capture, message)
        case _:
            payload = _streaming(moment, capture, at, message, domain_id)
    id_ = f"{prefix}-{capture.instance_id}-{int(at)}"
    return {"version": VERSION, "type": type_, "id": id_, "payload": payload, "event_ts": now}


def _recording(moment: Moment, capture: Capture, at: float, message: str | None) -> dict[str, Any]:
    match moment:
        case "started":  # without the room's name
            return {
                "action": "start-cloud-recording",
                "recording_id": capture.id,
                "layout": _layout(capture),
                "started_by": capture.started_by,
                "instance_id": capture.instance_id,
                "start_ts": int(capture.begun_at),
            }
        case "ready":
            return {
                "type": capture.options.get("type", "cloud"),
                "recording_id": capture.id,
                "room_name": capture.room_name,
                "start_ts": int(capture.begun_at),
                "status": "finished",
                "max_participants": capture.max_participants,
                "duration": capture.duration_s,
                "share_token": capture.share_token,
                "s3_key": capture.place["key"],
                **({"tracks": tracks} if (tracks := capture.tracks) else {}),
            }
        case _:  # without the recording's id, and misspelt
            return {
                "action": "clourd-recording-err",
                "error_msg": message,
                "instance_id": capture.instance_id,
                "room_name": capture.room_name,
                "timestamp": int(at),
            }


def _transcript(moment: Moment, capture: Capture, message: str | None) -> dict[str, Any]:
    place = capture.place
    return {
        "id": capture.id,
        "info": {"instanceId": capture.instance_id},
        "room_id": capture.room_id,
        "room_name": capture.room_name,
        "mtg_session_id": capture.meeting_id,
        "status": TRANSCRIPT_STATUS[moment],
        "duration": capture.duration_s,
        "participant_minutes": capture.duration_s * capture.max_participants // 60,
        "out_params": {"s3": {"key": place["key"], "bucket": place["bucket_name"], "region": place["bucket_region"]}},
        **({"error": message} if moment == "error" else {}),
    }


def _streaming(moment: Moment, capture: Capture, at: float, message: str | None, domain_id: str) -> dict[str, Any]:
    more = {"error_message": message} if moment == "error" else {"layout": _layout(capture)}
    return {
        "timestamp": int(at),
        "instance_id": capture.instance_id,
        "domain_id": domain_id,
        "room_name": capture.room_name,
        **more,
    }


def _layout(capture: Capture) -> dict[str, Any]:
    layout: dict[str, Any] = capture.options.get("layout", {"preset": "default"})
    return layout
