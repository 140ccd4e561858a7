"""Daily's recordings, transcriptions and live streams: of a call under way, and what there is of them afterwards."""

from __future__ import annotations

from typing import Any

import attrs

from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.capture_reading import (
    parse_link,
    parse_recording,
    parse_recordings,
    parse_transcript,
    parse_transcripts,
)
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.incall import ask_call
from transport_trio.connectors.daily.operations import (
    DELETE_RECORDING,
    DELETE_TRANSCRIPT,
    FIND_RECORDING,
    FIND_TRANSCRIPT,
    LIST_RECORDINGS,
    LIST_TRANSCRIPTS,
    RECORDING_LINK,
    START_LIVE_STREAM,
    START_RECORDING,
    START_TRANSCRIPTION,
    STOP_LIVE_STREAM,
    STOP_RECORDING,
    STOP_TRANSCRIPTION,
    TRANSCRIPT_LINK,
    UPDATE_LIVE_STREAM,
    UPDATE_RECORDING,
    UPDATE_TRANSCRIPTION,
    Operation,
)
from transport_trio.connectors.daily.reading import BrokenAnswer, object_of, parse_sent
from transport_trio.connectors.daily.stream_keys import without_keys
from transport_trio.errors import ItemNotFound, ProviderRejected
from transport_trio.models import CaptureKind, CaptureLink, CaptureNews, CaptureOptions, Room


@attrs.frozen(kw_only=True)
class _Calls:
    """What is asked of Daily for one kind, while a call goes on."""

    start: Operation
    update: Operation
    stop: Operation


@attrs.frozen(kw_only=True)
class _Kept:
    """Likewise afterwards, of what is kept."""

    find: Operation
    link: Operation
    delete: Operation


CALLS = {
    CaptureKind.RECORDING: _Calls(start=START_RECORDING, update=UPDATE_RECORDING, stop=STOP_RECORDING),
    CaptureKind.TRANSCRIPTION: _Calls(start=START_TRANSCRIPTION, update=UPDATE_TRANSCRIPTION, stop=STOP_TRANSCRIPTION),
    CaptureKind.LIVE_STREAM: _Calls(start=START_LIVE_STREAM, update=UPDATE_LIVE_STREAM, stop=STOP_LIVE_STREAM),
}
KEPT = {
    CaptureKind.RECORDING: _Kept(find=FIND_RECORDING, link=RECORDING_LINK, delete=DELETE_RECORDING),
    CaptureKind.TRANSCRIPTION: _Kept(find=FIND_TRANSCRIPT, link=TRANSCRIPT_LINK, delete=DELETE_TRANSCRIPT),
}
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
    "language": "language",
    "model": "model",
    "profanity_filter": "profanity_filter",
    "punctuate": "punctuate",
    "include_raw_response": "includeRawResponse",
    "participant_ids": "participants",
    "transcription_geo": "transcription_geo",
    "rtmp_urls": "rtmpUrl",
    "endpoints": "endpoints",
}
# What callers may not put into `daily`: there is a word of ours for it, or it is ours to choose.
MANAGED_CAPTURE_OPTIONS = frozenset({*NAMES.values(), "instanceId"})
LISTED_MAX = "100"  # Daily's largest page; the newest come first


def capture_body(instance_id: str | None, options: CaptureOptions) -> dict[str, Any]:
    """What Daily takes; without an instance it means the one that is meant where nobody names one."""
    body: dict[str, Any] = dict(options.provider_options)
    body |= {NAMES[name]: value for name, value in options.given.items()}
    if "endpoints" in body:
        body["endpoints"] = [{"endpoint": name} for name in body["endpoints"]]
    return body if instance_id is None else {**body, "instanceId": instance_id}


async def start(client: DailyClient, room: str, kind: CaptureKind, instance_id: str, options: CaptureOptions) -> None:
    try:
        await ask_call(client, CALLS[kind].start, room, capture_body(instance_id, options), _sent)
    except ProviderRejected as exc:
        # Where to stream to holds a key, and Daily may repeat it in its words.
        told = without_keys(exc.detail, options.given.get("rtmp_urls", ()))
        if told == exc.detail:
            raise
        raise ProviderRejected(exc.provider, exc.status, told) from None


async def update(
    client: DailyClient, room: str, kind: CaptureKind, instance_id: str | None, options: CaptureOptions
) -> None:
    await ask_call(client, CALLS[kind].update, room, capture_body(instance_id, options), _sent)


async def stop(client: DailyClient, room: str, kind: CaptureKind, instance_id: str | None) -> None:
    await ask_call(client, CALLS[kind].stop, room, capture_body(instance_id, CaptureOptions()), _sent)


async def listed(client: DailyClient, room: Room, kind: CaptureKind) -> tuple[CaptureNews, ...]:
    if kind not in KEPT:
        return ()  # Daily has no list of them
    params = {"limit": LISTED_MAX}
    if kind is CaptureKind.TRANSCRIPTION:
        # Transcripts are listed by the room's id, which no other room of that name shares.
        params |= {"roomId": room.provider_id or ""}
        return await client.call(
            LIST_TRANSCRIPTS, lambda answer: parse_transcripts(answer.json, answer.at), params=params
        )
    params |= {"room_name": room.name}
    return await client.call(
        LIST_RECORDINGS, lambda answer: parse_recordings(answer.json, room.name, answer.at), params=params
    )


async def find(client: DailyClient, kind: CaptureKind, id_: str) -> CaptureNews | None:
    parse = parse_recording if kind is CaptureKind.RECORDING else parse_transcript

    def read(answer: Answer) -> CaptureNews:
        news = parse(answer.json, answer.at)
        if news is None:
            raise BrokenAnswer(f"it describes no {kind}")
        return news

    try:
        return await client.call(KEPT[kind].find, read, item=id_)
    except ItemNotFound:
        return None


async def link(client: DailyClient, kind: CaptureKind, id_: str, valid_for_s: int | None) -> CaptureLink | None:
    params = None if valid_for_s is None else {"valid_for_secs": str(valid_for_s)}
    try:
        return await client.call(KEPT[kind].link, lambda answer: parse_link(answer.json), item=id_, params=params)
    except ItemNotFound:
        return None


async def delete(client: DailyClient, kind: CaptureKind, id_: str) -> bool:
    try:
        await client.call(KEPT[kind].delete, _deleted, item=id_)
    except ItemNotFound:
        return False
    return True


def _sent(answer: Answer) -> None:
    parse_sent(answer.json)


def _deleted(answer: Answer) -> None:
    """Strict, since asking again does no harm and a proxy's 200 would. Transcripts say it by their status."""
    said = object_of(answer.json)
    if said.get("deleted") is not True and said.get("status") != "t_deleted":
        raise BrokenAnswer("it does not say that it is deleted")
