"""Daily's recordings: of a call under way, and what there is of them afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.incall import ask_call
from transport_trio.connectors.daily.operations import (
    DELETE_RECORDING,
    FIND_RECORDING,
    LIST_RECORDINGS,
    RECORDING_LINK,
    START_RECORDING,
    STOP_RECORDING,
    UPDATE_RECORDING,
)
from transport_trio.connectors.daily.reading import (
    DETAIL_MAX,
    BrokenAnswer,
    clean,
    object_of,
    parse_sent,
    short,
    unix_time,
)
from transport_trio.errors import ItemNotFound
from transport_trio.models import CaptureKind, CaptureLink, CaptureMoment, CaptureNews, CaptureOptions

T = TypeVar("T")

# Our words for how one is made, and Daily's.
NAMES = {
    "type": "type",
    "layout": "layout",
    "width": "width",
    "height": "height",
    "fps": "fps",
    "video_bitrate_kbps": "videoBitrate",
    "audio_bitrate_kbps": "audioBitrate",
    "min_idle_timeout_s": "minIdleTimeOut",
    "max_duration_s": "maxDuration",
    "background_color": "backgroundColor",
    "data_outputs": "dataOutputs",
}
# What callers may not put into `daily`: there is a word of ours for it, or it is ours to choose.
MANAGED_CAPTURE_OPTIONS = frozenset({*NAMES.values(), "instanceId"})
LISTED_MAX = "100"  # Daily's largest page; the newest come first
STATUSES = {"in-progress": CaptureMoment.STARTED, "finished": CaptureMoment.READY}


def capture_body(instance_id: str | None, options: CaptureOptions) -> dict[str, Any]:
    """What Daily takes; without an instance it means the one that is meant where nobody names one."""
    body: dict[str, Any] = dict(options.provider_options)
    body |= {NAMES[name]: value for name, value in options.given.items()}
    return body if instance_id is None else {**body, "instanceId": instance_id}


async def start(client: DailyClient, room: str, instance_id: str, options: CaptureOptions) -> None:
    body = capture_body(instance_id, options)
    await ask_call(client, START_RECORDING, room, body, lambda answer: parse_sent(answer.json))


async def update(client: DailyClient, room: str, instance_id: str | None, options: CaptureOptions) -> None:
    body = capture_body(instance_id, options)
    await ask_call(client, UPDATE_RECORDING, room, body, lambda answer: parse_sent(answer.json))


async def stop(client: DailyClient, room: str, instance_id: str | None) -> None:
    body = {} if instance_id is None else {"instanceId": instance_id}
    await ask_call(client, STOP_RECORDING, room, body, lambda answer: parse_sent(answer.json))


async def listed(client: DailyClient, room_name: str) -> tuple[CaptureNews, ...]:
    params = {"room_name": room_name, "limit": LISTED_MAX}
    return await client.call(
        LIST_RECORDINGS, lambda answer: parse_recordings(answer.json, room_name, answer.at), params=params
    )


async def find(client: DailyClient, id_: str) -> CaptureNews | None:
    def read(answer: Any) -> CaptureNews:
        news = parse_recording(answer.json, answer.at)
        if news is None:
            raise BrokenAnswer("it describes no recording")
        return news

    try:
        return await client.call(FIND_RECORDING, read, item=id_)
    except ItemNotFound:
        return None


async def link(client: DailyClient, id_: str, valid_for_s: int | None) -> CaptureLink | None:
    params = None if valid_for_s is None else {"valid_for_secs": str(valid_for_s)}
    try:
        return await client.call(RECORDING_LINK, lambda answer: parse_link(answer.json), item=id_, params=params)
    except ItemNotFound:
        return None


async def delete(client: DailyClient, id_: str) -> bool:
    def read(answer: Any) -> bool:
        if object_of(answer.json).get("deleted") is not True:
            raise BrokenAnswer("it does not say that it is deleted")
        return True

    try:
        return await client.call(DELETE_RECORDING, read, item=id_)
    except ItemNotFound:
        return False


def parse_recordings(body: Any, room_name: str, now: datetime) -> tuple[CaptureNews, ...]:
    """The recordings in a list; entries that make no sense are skipped, and those of another room.

    Raises:
        BrokenAnswer: there is no list.
    """
    entries = object_of(body).get("data")
    if not isinstance(entries, list):
        raise BrokenAnswer("it holds no list of recordings")
    found = (parse_recording(entry, now) for entry in entries)
    return tuple(news for news in found if news is not None and news.room_name in {None, room_name})


def parse_recording(entry: Any, now: datetime) -> CaptureNews | None:
    """What Daily says of one; None: it has no id, or is in no state that we know."""
    if not isinstance(entry, dict):
        return None
    id_, moment = short(entry.get("id")), STATUSES.get(str(entry.get("status")))
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
}


def pushed(type_: str, id_: str | None, payload: Mapping[str, Any], at: datetime) -> CaptureNews | None:
    """What a push says; None: neither of which recording nor of which room it is.

    A start names no room, a mishap no recording, and the end no instance: that one stands in the id of the push.
    """
    moment = PUSHED[type_]
    instance = short(payload.get("instance_id")) or _instance_in(id_)
    provider_id, room_name = short(payload.get("recording_id")), short(payload.get("room_name"))
    if instance is None and provider_id is None:
        return None
    started_at = unix_time(payload.get("start_ts"))
    reason = payload.get("error_msg")
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
        reason=clean(reason, DETAIL_MAX) if isinstance(reason, str) and reason else None,
    )


def _instance_in(id_: str | None) -> str | None:
    """The instance in `rec-rtd-<instance>-<seconds>`."""
    parts = (id_ or "").split("-")
    return "-".join(parts[2:-1]) if len(parts) == 8 else None
