"""What comes in about recordings, read as strictly as `POST /sessions`, and how they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from transport_trio.errors import InvalidRequest
from transport_trio.models import Capture, CaptureKind, CaptureLink, CaptureOptions, CaptureStatus, Session
from transport_trio.wire.out import timestamp
from transport_trio.wire.requests import Body, body_of

SECONDS_MAX = 86_400 * 30
PIXELS_MAX = 16_384
# Statuses that have another name in the words of a recording.
SHOWN = {CaptureStatus.RUNNING: "recording"}

Colour = Annotated[str, Meta(pattern="^#([0-9a-fA-F]{6}|[0-9a-fA-F]{8})$")]
Pixels = Annotated[int, Meta(ge=2, le=PIXELS_MAX, multiple_of=2)]
Seconds = Annotated[int, Meta(ge=1, le=SECONDS_MAX)]


class PictureBody(Body, frozen=True):
    """What can be changed while it goes on."""

    layout: dict[str, Any] | UnsetType = UNSET
    width: Pixels | UnsetType = UNSET
    height: Pixels | UnsetType = UNSET
    fps: Annotated[int, Meta(ge=1, le=240)] | UnsetType = UNSET
    video_bitrate_kbps: Annotated[int, Meta(ge=10, le=10_000)] | UnsetType = UNSET
    audio_bitrate_kbps: Annotated[int, Meta(ge=10, le=320)] | UnsetType = UNSET
    min_idle_timeout_s: Seconds | UnsetType = UNSET
    max_duration_s: Seconds | UnsetType = UNSET
    background_color: Colour | UnsetType = UNSET
    daily: dict[str, Any] | UnsetType = UNSET


class RecordingBody(PictureBody, frozen=True):
    type: Literal["cloud", "cloud-audio-only", "raw-tracks"] | UnsetType = UNSET
    data_outputs: (
        Annotated[list[Literal["event-json", "transcript-webvtt", "chat-webvtt"]], Meta(max_length=3)] | UnsetType
    ) = UNSET
    additional: bool = False


def recording_options(data: bytes, managed: frozenset[str]) -> CaptureOptions:
    """How a recording is to be made; no body at all leaves everything to the provider.

    Raises:
        InvalidRequest: it has the wrong shape, or sets in `daily` what has a name of its own.
    """
    return picture_options(body_of(data or b"{}", RecordingBody), managed)


def picture_changes(data: bytes, managed: frozenset[str]) -> CaptureOptions:
    """How a recording or a live stream is to go on.

    Raises:
        InvalidRequest: it has the wrong shape, or it changes nothing.
    """
    options = picture_options(body_of(data, PictureBody), managed)
    if not options.given and not options.provider_options:
        raise InvalidRequest(("$", "changes nothing"))
    return options


def picture_options(body: PictureBody, managed: frozenset[str]) -> CaptureOptions:
    """What was given of it.

    Raises:
        InvalidRequest: it sets in `daily` what has a name of its own, or a layout has none.
    """
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    more = given.pop("daily", {})
    additional = given.pop("additional", False)
    faults = managed_faults(more, managed)
    if "layout" in given and not isinstance(given["layout"].get("preset"), str):
        faults.append(("$.layout.preset", "is required"))
    if faults:
        raise InvalidRequest(*faults)
    return CaptureOptions(given=given, provider_options=more, additional=additional)


def managed_faults(more: dict[str, Any], managed: frozenset[str]) -> list[tuple[str, str]]:
    """What callers may not set in `daily`."""
    return [
        (f"$.daily.{key}", "has a field of its own, or is set by the service") for key in sorted(managed & set(more))
    ]


def recording_answer(capture: Capture) -> dict[str, Any]:
    return {
        "recording_id": capture.id,
        "provider_recording_id": capture.provider_id,
        "status": SHOWN.get(capture.status, capture.status.value),
        "type": capture.type,
        **shown_times(capture),
    }


def shown_times(capture: Capture) -> dict[str, Any]:
    """Who began one, when what happened, and what came of it."""

    def time(at: datetime | None) -> str | None:
        return timestamp(at) if at is not None else None

    return {
        "started_by": "service" if capture.ours else "other",
        "requested_at": timestamp(capture.asked_at) if capture.ours else None,
        "started_at": time(capture.started_at),
        "stopped_at": time(capture.stopped_at),
        "ready_at": time(capture.ready_at),
        "duration_s": capture.duration_s,
        "error": capture.error,
    }


def recordings_answer(session: Session) -> dict[str, Any]:
    """All of a session's, the oldest first."""
    recordings = [recording_answer(capture) for capture in session.captures if capture.kind is CaptureKind.RECORDING]
    return {"recordings": recordings, "total": len(recordings)}


def link_answer(capture_id: str, link: CaptureLink) -> dict[str, Any]:
    return {
        "recording_id": capture_id,
        "download_link": link.url,
        "expires_at": timestamp(link.expires_at) if link.expires_at is not None else None,
    }
