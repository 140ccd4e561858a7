"""What recordings and transcriptions are called: their events, and the refusals of what callers want of them."""

from __future__ import annotations

from collections.abc import Mapping

from transport_trio.errors import (
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
from transport_trio.models import CaptureKind

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
