"""How recordings, transcriptions and live streams begin: by a call to the API, by somebody in the room, or by
themselves with a newcomer's token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from transport_trio.sandbox.call import Participant
from transport_trio.sandbox.capture_bodies import RECORDING, STREAMING, TRANSCRIPTION, checked_body
from transport_trio.sandbox.keeping import place_for, setting
from transport_trio.sandbox.properties import Check
from transport_trio.sandbox.refusals import ApiError, invalid
from transport_trio.sandbox.rooms import Room

if TYPE_CHECKING:
    from transport_trio.sandbox.core import Sandbox

Begin = Callable[["Sandbox", Room, Mapping[str, Any], float, str | None], None]


def begin_recording(
    sandbox: Sandbox,
    room: Room,
    options: Mapping[str, Any],
    now: float,
    started_by: str | None = None,
    *,
    allowed: Any = None,
) -> None:
    """`allowed` is what a token says of `enable_recording`, which counts more than what the room says.

    Raises:
        ApiError: recordings are off, one is running, or there is nowhere to put the tracks.
    """
    allowed = allowed or setting(sandbox, room, "enable_recording")
    if allowed in (None, "local", ["local"]):
        raise invalid(f"recording is not enabled for room {room.name}")
    if options.get("type") == "raw-tracks" and setting(sandbox, room, "recordings_bucket") is None:
        raise invalid("raw-tracks recordings need a recordings_bucket")
    place = place_for(sandbox, room, "recordings", now)
    sandbox.captures.start(room, "recording", options, now, place=place, stored=True, started_by=started_by)


def begin_transcription(
    sandbox: Sandbox, room: Room, options: Mapping[str, Any], now: float, started_by: str | None = None
) -> None:
    """Of what is said, nothing is kept unless the room or its domain wants it.

    Raises:
        ApiError: one is running.
    """
    place, stored = place_for(sandbox, room, "transcripts", now), setting(sandbox, room, "enable_transcription_storage")
    sandbox.captures.start(room, "transcription", options, now, place=place, stored=stored, started_by=started_by)


def begin_live_stream(
    sandbox: Sandbox, room: Room, options: Mapping[str, Any], now: float, started_by: str | None = None
) -> None:
    """Raises:
    ApiError: it is said nowhere where to, or one is running.
    """
    if "rtmpUrl" not in options and "endpoints" not in options:
        raise invalid("rtmpUrl or endpoints is required")
    check_endpoints(sandbox, room, options)
    sandbox.captures.start(room, "streaming", options, now, place={}, stored=False, started_by=started_by)


def check_endpoints(sandbox: Sandbox, room: Room, options: Mapping[str, Any]) -> None:
    """Raises:
    ApiError: one is named that neither the room nor its domain has.
    """
    known = {one["name"] for one in setting(sandbox, room, "streaming_endpoints") or ()}
    for wanted in options.get("endpoints", ()):
        if wanted["endpoint"] not in known:
            raise invalid(f"there is no streaming endpoint named '{wanted['endpoint']}'")


BEGIN: dict[str, tuple[Mapping[str, Check], Begin]] = {
    "recording": (RECORDING, begin_recording),
    "transcription": (TRANSCRIPTION, begin_transcription),
    "streaming": (STREAMING, begin_live_stream),
}


def start_with(sandbox: Sandbox, room: Room, newcomer: Participant, token: Mapping[str, Any], now: float) -> None:
    """Somebody has entered with these token properties. What cannot be started is not, and nobody is told."""
    if sandbox.config.join_stops_transcription:
        sandbox.captures.stop_all(room, "transcription", now)
    allowed = token.get("enable_recording") or setting(sandbox, room, "enable_recording")
    if token.get("start_cloud_recording") is True and "cloud" in _listed(allowed):
        with suppress(ApiError):
            options = checked_body(token.get("start_cloud_recording_opts", {}), RECORDING)
            begin_recording(sandbox, room, options, now, newcomer.id, allowed=allowed)
    if token.get("auto_start_transcription") is True and newcomer.is_owner:
        with suppress(ApiError):
            options = checked_body(setting(sandbox, room, "auto_transcription_settings") or {}, TRANSCRIPTION)
            begin_transcription(sandbox, room, options, now, newcomer.id)


def _listed(allowed: Any) -> list[Any]:
    return allowed if isinstance(allowed, list) else [allowed]
