"""What can happen to a session, as attrs classes: the words of the contract, section 2, before they become JSON."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import attrs

from transport_trio.models import EndReason, Participant, PermissionsChange, SessionId, SessionStatus, Summary


class EventType(StrEnum):
    SESSION_CREATED = "session_created"
    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    SESSION_UPDATED = "session_updated"
    PARTICIPANTS_EJECTED = "participants_ejected"
    PERMISSIONS_CHANGED = "permissions_changed"
    MESSAGE_SENT = "message_sent"
    TOKEN_CREATED = "token_created"  # noqa: S105 -- as below
    TOKEN_RENEWED = "token_renewed"  # noqa: S105 -- as below
    TOKEN_EXPIRING = "token_expiring"  # noqa: S105 -- an event type, not a password
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 -- as above
    SESSION_EXTENDED = "session_extended"
    RECORDING_STARTED = "recording_started"
    RECORDING_UPDATED = "recording_updated"
    RECORDING_STOPPED = "recording_stopped"
    RECORDING_READY = "recording_ready"
    RECORDING_ERROR = "recording_error"
    TRANSCRIPTION_STARTED = "transcription_started"
    TRANSCRIPTION_UPDATED = "transcription_updated"
    TRANSCRIPTION_STOPPED = "transcription_stopped"
    TRANSCRIPT_READY = "transcript_ready"
    TRANSCRIPT_ERROR = "transcript_error"
    LIVE_STREAM_STARTED = "live_stream_started"
    LIVE_STREAM_UPDATED = "live_stream_updated"
    LIVE_STREAM_ENDED = "live_stream_ended"
    LIVE_STREAM_ERROR = "live_stream_error"
    SESSION_ENDED = "session_ended"
    SESSION_SUMMARY = "session_summary"


class Source(StrEnum):
    """How we know of something that happened at the provider."""

    POLL = "poll"
    WEBHOOK = "webhook"
    INFERRED = "inferred"  # concluded from absence, not seen
    REQUEST = "request"  # the provider's word on what we asked of it


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events. `time` is when we knew; the id comes from the journal when the event is committed.

    `after_end`: it comes behind `session_ended`, for those who asked for such events.
    """

    type: ClassVar[EventType]
    session_id: SessionId
    time: datetime
    after_end: bool = False


@attrs.frozen(kw_only=True)
class SessionCreated(Event):
    type = EventType.SESSION_CREATED
    provider: str
    room_name: str
    room_url: str
    status: SessionStatus
    session_expires_at: datetime


@attrs.frozen(kw_only=True)
class ParticipantJoined(Event):
    type = EventType.PARTICIPANT_JOINED
    participant: Participant
    occurred_at: datetime
    source: Source
    again: bool = False  # a leave told before proved wrong


@attrs.frozen(kw_only=True)
class ParticipantLeft(Event):
    type = EventType.PARTICIPANT_LEFT
    participant: Participant
    duration_s: float
    occurred_at: datetime
    source: Source


@attrs.frozen(kw_only=True)
class SessionUpdated(Event):
    """One for each change of a session, after its joins and leaves."""

    type = EventType.SESSION_UPDATED
    status: SessionStatus
    participants: tuple[Participant, ...]


@attrs.frozen(kw_only=True)
class ParticipantsEjected(Event):
    """The provider says that it put these out; their leaves are told when they are missed."""

    type = EventType.PARTICIPANTS_EJECTED
    participant_ids: tuple[str, ...]
    ban: bool


@attrs.frozen(kw_only=True)
class PermissionsChanged(Event):
    type = EventType.PERMISSIONS_CHANGED
    participant_id: str  # or * for everybody
    permissions: PermissionsChange


@attrs.frozen(kw_only=True)
class MessageSent(Event):
    """The data is kept nowhere."""

    type = EventType.MESSAGE_SENT
    recipient: str  # or * for everybody
    data_bytes: int


@attrs.frozen(kw_only=True)
class TokenEvent(Event):
    """What happens to one meeting token of a session; the first one has the session's own id."""

    token_id: str
    participant_name: str | None
    user_id: str | None
    expires_at: datetime


@attrs.frozen(kw_only=True)
class TokenCreated(TokenEvent):
    """A further one: of the first, `session_created` tells."""

    type = EventType.TOKEN_CREATED


@attrs.frozen(kw_only=True)
class TokenRenewed(TokenEvent):
    """Minted once more, with a later end. The one before stays good until its own."""

    type = EventType.TOKEN_RENEWED


@attrs.frozen(kw_only=True)
class TokenExpiring(TokenEvent):
    type = EventType.TOKEN_EXPIRING


@attrs.frozen(kw_only=True)
class TokenExpired(TokenEvent):
    type = EventType.TOKEN_EXPIRED


@attrs.frozen(kw_only=True)
class Ejection:
    """Somebody whom the provider puts out before the session's end, whatever became of that since they came."""

    participant: Participant
    at: datetime
    source: str  # how we know: `webhook`, `token` or `room`


@attrs.frozen(kw_only=True)
class SessionExtended(Event):
    type = EventType.SESSION_EXTENDED
    session_expires_at: datetime
    expired_before_at: datetime  # the end until now
    ejections: tuple[Ejection, ...] = ()


@attrs.frozen(kw_only=True)
class CaptureEvent(Event):
    """What happens to one recording or the like. Never with a link to it: events are kept, and read by many.

    `capture_id` is None for one that should have started by itself and did not.
    """

    capture_id: str | None
    provider_id: str | None
    occurred_at: datetime
    source: Source
    reason: str | None = None
    duration_s: float | None = None


@attrs.frozen(kw_only=True)
class RecordingStarted(CaptureEvent):
    type = EventType.RECORDING_STARTED


@attrs.frozen(kw_only=True)
class RecordingUpdated(CaptureEvent):
    """It goes on with other settings."""

    type = EventType.RECORDING_UPDATED


@attrs.frozen(kw_only=True)
class RecordingStopped(CaptureEvent):
    type = EventType.RECORDING_STOPPED


@attrs.frozen(kw_only=True)
class RecordingReady(CaptureEvent):
    type = EventType.RECORDING_READY


@attrs.frozen(kw_only=True)
class RecordingError(CaptureEvent):
    """Nothing (more) comes of it; `reason` says why."""

    type = EventType.RECORDING_ERROR


@attrs.frozen(kw_only=True)
class TranscriptionStarted(CaptureEvent):
    type = EventType.TRANSCRIPTION_STARTED


@attrs.frozen(kw_only=True)
class TranscriptionUpdated(CaptureEvent):
    """It goes on for others."""

    type = EventType.TRANSCRIPTION_UPDATED


@attrs.frozen(kw_only=True)
class TranscriptionStopped(CaptureEvent):
    type = EventType.TRANSCRIPTION_STOPPED


@attrs.frozen(kw_only=True)
class TranscriptReady(CaptureEvent):
    type = EventType.TRANSCRIPT_READY


@attrs.frozen(kw_only=True)
class TranscriptError(CaptureEvent):
    """Nothing (more) comes of it; `reason` says why."""

    type = EventType.TRANSCRIPT_ERROR


@attrs.frozen(kw_only=True)
class LiveStreamStarted(CaptureEvent):
    type = EventType.LIVE_STREAM_STARTED


@attrs.frozen(kw_only=True)
class LiveStreamUpdated(CaptureEvent):
    """It goes on with other settings."""

    type = EventType.LIVE_STREAM_UPDATED


@attrs.frozen(kw_only=True)
class LiveStreamEnded(CaptureEvent):
    type = EventType.LIVE_STREAM_ENDED


@attrs.frozen(kw_only=True)
class LiveStreamError(CaptureEvent):
    """It is over, and not as it was meant to be; `reason` says why."""

    type = EventType.LIVE_STREAM_ERROR


@attrs.frozen(kw_only=True)
class SessionEnded(Event):
    """A session's last event, unless it was made with `events_after_end`."""

    type = EventType.SESSION_ENDED
    reason: EndReason


@attrs.frozen(kw_only=True)
class SessionSummary(Event):
    """Who was there, once the provider has been asked; told only behind the end."""

    type = EventType.SESSION_SUMMARY
    summary: Summary


@attrs.frozen
class RecordedEvent:
    """An event that is in the journal. `body` is the JSON that every reader gets, WebSocket and NATS alike."""

    id: int
    session_id: SessionId
    type: EventType
    time: datetime
    body: bytes
