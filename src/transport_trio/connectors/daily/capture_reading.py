"""What Daily says of recordings and the like, in lists and in pushes, as news in our words. Read tolerantly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from transport_trio.connectors.daily.reading import (
    DETAIL_MAX,
    BrokenAnswer,
    clean,
    iso_time,
    object_of,
    short,
    unix_time,
)
from transport_trio.connectors.daily.stream_keys import without_addresses
from transport_trio.models import CaptureKind, CaptureLink, CaptureMoment, CaptureNews

RECORDINGS = {"in-progress": CaptureMoment.STARTED, "finished": CaptureMoment.READY}
# Its pages and its webhooks have different words.
TRANSCRIPTS = {
    "t_in_progress": CaptureMoment.STARTED,
    "t_finished": CaptureMoment.READY,
    "t_completed": CaptureMoment.READY,
    "t_error": CaptureMoment.ERROR,
    "t_failed": CaptureMoment.ERROR,
}


def parse_recordings(body: Any, room_name: str, now: datetime) -> tuple[CaptureNews, ...]:
    """The recordings in a list; entries that make no sense are skipped, and those of another room.

    Raises:
        BrokenAnswer: there is no list.
    """
    found = (parse_recording(entry, now) for entry in _entries(body, "recordings"))
    return tuple(news for news in found if news is not None and news.room_name in {None, room_name})


def parse_recording(entry: Any, now: datetime) -> CaptureNews | None:
    """What Daily says of one; None: it has no id, or is in no state that we know."""
    if not isinstance(entry, dict):
        return None
    id_, moment = short(entry.get("id")), RECORDINGS.get(str(entry.get("status")))
    if id_ is None or moment is None:
        return None
    started_at = unix_time(entry.get("start_ts"))
    return CaptureNews(
        kind=CaptureKind.RECORDING,
        moment=moment,
        occurred_at=started_at or now if moment is CaptureMoment.STARTED else now,
        provider_id=id_,
        room_name=short(entry.get("room_name")),
        type=short(entry.get("type")),
        started_at=started_at,
        duration_s=seconds(entry.get("duration")),
    )


def parse_transcripts(body: Any, now: datetime) -> tuple[CaptureNews, ...]:
    """The transcripts in a list; entries that make no sense are skipped.

    Raises:
        BrokenAnswer: there is no list.
    """
    found = (parse_transcript(entry, now) for entry in _entries(body, "transcripts"))
    return tuple(news for news in found if news is not None)


def parse_transcript(entry: Any, now: datetime) -> CaptureNews | None:
    """What Daily says of one; None: it has no id, or is in no state that we know."""
    if not isinstance(entry, dict):
        return None
    id_, moment = short(entry.get("transcriptId")), TRANSCRIPTS.get(str(entry.get("status")))
    if id_ is None or moment is None:
        return None
    started_at = iso_time(entry.get("created_at"))
    return CaptureNews(
        kind=CaptureKind.TRANSCRIPTION,
        moment=moment,
        occurred_at=started_at or now if moment is CaptureMoment.STARTED else now,
        provider_id=id_,
        started_at=started_at,
        duration_s=seconds(entry.get("duration")),
    )


def _entries(body: Any, what: str) -> list[Any]:
    entries = object_of(body).get("data")
    if not isinstance(entries, list):
        raise BrokenAnswer(f"it holds no list of {what}")
    return entries


def parse_link(body: Any) -> CaptureLink:
    """Raises:
    BrokenAnswer: it holds no link.
    """
    answer = object_of(body)
    url = answer.get("download_link", answer.get("link"))
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise BrokenAnswer("it holds no link")
    return CaptureLink(url=url, expires_at=unix_time(answer.get("expires")))


def seconds(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if usable else None


# What Daily pushes of them, and what that tells us.
PUSHED = {
    "recording.started": CaptureMoment.STARTED,
    "recording.ready-to-download": CaptureMoment.READY,
    "recording.error": CaptureMoment.ERROR,
    "transcript.started": CaptureMoment.STARTED,
    "transcript.ready-to-download": CaptureMoment.READY,
    "transcript.error": CaptureMoment.ERROR,
    "streaming.started": CaptureMoment.STARTED,
    "streaming.updated": CaptureMoment.UPDATED,
    "streaming.ended": CaptureMoment.STOPPED,
    "streaming.error": CaptureMoment.ERROR,
}


def pushed(type_: str, id_: str | None, payload: Mapping[str, Any], at: datetime) -> CaptureNews | None:
    """What a push says; None: neither of which recording nor of which room it is.

    A start names no room, a mishap no recording, and the end no instance: that one stands in the id of the push.
    """
    moment = PUSHED[type_]
    if type_.startswith("transcript."):
        return _of_transcript(moment, payload, at)
    if type_.startswith("streaming."):
        return _of_live_stream(moment, payload, at)
    instance = short(payload.get("instance_id")) or _instance_in(id_)
    provider_id, room_name = short(payload.get("recording_id")), short(payload.get("room_name"))
    if instance is None and provider_id is None:
        return None
    started_at = unix_time(payload.get("start_ts"))
    told_at = {CaptureMoment.STARTED: started_at, CaptureMoment.ERROR: unix_time(payload.get("timestamp"))}
    return CaptureNews(
        kind=CaptureKind.RECORDING,
        moment=moment,
        occurred_at=min(told_at.get(moment) or at, at),
        instance_id=instance,
        provider_id=provider_id,
        room_name=room_name,
        type=short(payload.get("type")),
        started_at=started_at,
        duration_s=seconds(payload.get("duration")),
        reason=_reason(payload.get("error_msg")),
    )


def _reason(given: Any) -> str | None:
    """Why, in the words of Daily."""
    return clean(given, DETAIL_MAX) if isinstance(given, str) and given else None


def _instance_in(id_: str | None) -> str | None:
    """The instance in `rec-rtd-<instance>-<seconds>`."""
    parts = (id_ or "").split("-")
    return "-".join(parts[2:-1]) if len(parts) == 8 else None


def _of_transcript(moment: CaptureMoment, payload: Mapping[str, Any], at: datetime) -> CaptureNews | None:
    info = payload.get("info")
    instance = short(info.get("instanceId")) if isinstance(info, dict) else None
    provider_id = short(payload.get("id"))
    if instance is None and provider_id is None:
        return None
    return CaptureNews(
        kind=CaptureKind.TRANSCRIPTION,
        moment=moment,
        occurred_at=at,
        instance_id=instance,
        provider_id=provider_id,
        room_name=short(payload.get("room_name")),
        duration_s=seconds(payload.get("duration")),
        reason=_reason(payload.get("error")),
    )


def _of_live_stream(moment: CaptureMoment, payload: Mapping[str, Any], at: datetime) -> CaptureNews | None:
    instance, reason = short(payload.get("instance_id")), payload.get("error_message")
    if instance is None:
        return None
    return CaptureNews(
        kind=CaptureKind.LIVE_STREAM,
        moment=moment,
        occurred_at=min(unix_time(payload.get("timestamp")) or at, at),
        instance_id=instance,
        room_name=short(payload.get("room_name")),
        reason=_reason(without_addresses(reason) if isinstance(reason, str) else None),
    )
