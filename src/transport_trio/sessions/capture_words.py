"""What recordings and the like are called: their events, and the refusals of what callers want of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TypeGuard

from transport_trio.errors import (
    ConnectorError,
    InvalidRequest,
    LiveStreamNotFound,
    LiveStreamNotInState,
    ProviderRejected,
    RecordingNotFound,
    RecordingNotInState,
    TooManyLiveStreams,
    TooManyRecordings,
    TooManyTranscripts,
    TranscriptNotFound,
    TranscriptNotInState,
    TransportError,
)
from transport_trio.events import (
    CaptureEvent,
    LiveStreamEnded,
    LiveStreamError,
    LiveStreamStarted,
    LiveStreamUpdated,
    RecordingError,
    RecordingReady,
    RecordingStarted,
    RecordingStopped,
    RecordingUpdated,
    Source,
    TranscriptError,
    TranscriptionStarted,
    TranscriptionStopped,
    TranscriptionUpdated,
    TranscriptReady,
)
from transport_trio.models import Capture, CaptureKind, CaptureOptions, RoomConfig, Session, provider_kind

RECORDING, TRANSCRIPTION, LIVE_STREAM = CaptureKind
Events = Mapping[CaptureKind, type[CaptureEvent]]
STARTS: Events = {RECORDING: RecordingStarted, TRANSCRIPTION: TranscriptionStarted, LIVE_STREAM: LiveStreamStarted}
UPDATES: Events = {RECORDING: RecordingUpdated, TRANSCRIPTION: TranscriptionUpdated, LIVE_STREAM: LiveStreamUpdated}
STOPS: Events = {RECORDING: RecordingStopped, TRANSCRIPTION: TranscriptionStopped, LIVE_STREAM: LiveStreamEnded}
READIES: Events = {RECORDING: RecordingReady, TRANSCRIPTION: TranscriptReady}
ERRORS: Events = {RECORDING: RecordingError, TRANSCRIPTION: TranscriptError, LIVE_STREAM: LiveStreamError}
NOT_FOUND = {RECORDING: RecordingNotFound, TRANSCRIPTION: TranscriptNotFound, LIVE_STREAM: LiveStreamNotFound}
NOT_IN_STATE = {
    RECORDING: RecordingNotInState,
    TRANSCRIPTION: TranscriptNotInState,
    LIVE_STREAM: LiveStreamNotInState,
}
TOO_MANY = {RECORDING: TooManyRecordings, TRANSCRIPTION: TooManyTranscripts, LIVE_STREAM: TooManyLiveStreams}


def not_found(kind: CaptureKind, capture_id: str) -> TransportError:
    return NOT_FOUND[kind](capture_id)


def not_in_state(kind: CaptureKind, capture_id: str, status: str, needed: str) -> TransportError:
    return NOT_IN_STATE[kind](capture_id, status, needed)


def too_many(kind: CaptureKind, captures_max: int) -> TransportError:
    return TOO_MANY[kind](captures_max)


def told_of(
    of: type[CaptureEvent], session: Session, capture: Capture, at: datetime, occurred_at: datetime, source: Source
) -> CaptureEvent:
    return of(
        session_id=session.id,
        time=at,
        capture_id=capture.id,
        provider_id=capture.provider_id,
        occurred_at=occurred_at,
        source=source,
    )


def is_not_enabled(exc: ConnectorError, kind: CaptureKind, config: RoomConfig) -> TypeGuard[ProviderRejected]:
    """Whether the provider refuses to record for the want of what `config` leaves out.

    Nobody else can say so beforehand: the provider's domain may allow it for all rooms.
    """
    if kind is not RECORDING or config.enable_recording or config.auto_start_recording:
        return False
    refused = isinstance(exc, ProviderRejected) and exc.status == HTTPStatus.BAD_REQUEST
    return refused and "enable" in str(exc)


def in_callers_words(exc: ConnectorError, options: CaptureOptions) -> InvalidRequest | None:
    """Where the provider refuses what of a request we do not check ourselves: that fault. None: it is no such."""
    if not isinstance(exc, ProviderRejected) or exc.status != HTTPStatus.BAD_REQUEST:
        return None
    path_of_more = f"$.{provider_kind(exc.provider)}"
    if any(name in exc.detail for name in options.provider_options):
        return InvalidRequest((path_of_more, exc.detail))
    # A 400 may have another reason, such as one that runs: only the free text tells whether it is about one of these.
    words = {"layout": ("layout", *options.given.get("layout", ())), "endpoints": ("endpoint",), "rtmp_urls": ("rtmp",)}
    for field, told_by in words.items():
        if field in options.given and any(word in exc.detail for word in told_by):
            return InvalidRequest((f"$.{field}", exc.detail))
    if options.provider_options:
        return InvalidRequest((path_of_more, exc.detail))
    return None
