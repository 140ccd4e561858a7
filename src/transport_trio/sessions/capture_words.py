"""What recordings and transcriptions are called: their events, and the refusals of what callers want of them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from transport_trio.errors import (
    ConnectorError,
    InvalidRequest,
    ProviderRejected,
    RecordingNotFound,
    RecordingNotInState,
    TooManyRecordings,
    TooManyTranscripts,
    TranscriptNotFound,
    TranscriptNotInState,
    TransportError,
)
from transport_trio.events import (
    CaptureEvent,
    RecordingError,
    RecordingReady,
    RecordingStarted,
    RecordingStopped,
    RecordingUpdated,
    TranscriptError,
    TranscriptionStarted,
    TranscriptionStopped,
    TranscriptionUpdated,
    TranscriptReady,
)
from transport_trio.models import CaptureKind, CaptureOptions, provider_kind

RECORDING, TRANSCRIPTION = CaptureKind.RECORDING, CaptureKind.TRANSCRIPTION
Events = Mapping[CaptureKind, type[CaptureEvent]]
STARTS: Events = {RECORDING: RecordingStarted, TRANSCRIPTION: TranscriptionStarted}
UPDATES: Events = {RECORDING: RecordingUpdated, TRANSCRIPTION: TranscriptionUpdated}
STOPS: Events = {RECORDING: RecordingStopped, TRANSCRIPTION: TranscriptionStopped}
READIES: Events = {RECORDING: RecordingReady, TRANSCRIPTION: TranscriptReady}
ERRORS: Events = {RECORDING: RecordingError, TRANSCRIPTION: TranscriptError}


def not_found(kind: CaptureKind, capture_id: str) -> TransportError:
    return RecordingNotFound(capture_id) if kind is RECORDING else TranscriptNotFound(capture_id)


def not_in_state(kind: CaptureKind, capture_id: str, status: str, needed: str) -> TransportError:
    of = RecordingNotInState if kind is RECORDING else TranscriptNotInState
    return of(capture_id, status, needed)


def too_many(kind: CaptureKind, captures_max: int) -> TransportError:
    return TooManyRecordings(captures_max) if kind is RECORDING else TooManyTranscripts(captures_max)


def in_callers_words(exc: ConnectorError, options: CaptureOptions) -> InvalidRequest | None:
    """Where the provider refuses what of a request we do not check ourselves: that fault. None: it is no such."""
    if not isinstance(exc, ProviderRejected) or exc.status != HTTPStatus.BAD_REQUEST:
        return None
    layout = options.given.get("layout", {})
    # A 400 may have another reason, such as one that runs: only the free text tells whether it is about the layout.
    if any(name in exc.detail for name in ("layout", *layout) if layout):
        return InvalidRequest(("$.layout", exc.detail))
    if options.provider_options:
        return InvalidRequest((f"$.{provider_kind(exc.provider)}", exc.detail))
    return None
