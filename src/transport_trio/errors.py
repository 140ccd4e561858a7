"""Everything we raise on purpose. `code` is stable: clients match on it (contract, section 1, "Errors")."""

from __future__ import annotations

from typing import ClassVar


class TransportError(Exception):
    """Base of everything we raise on purpose. `code` is stable: clients match on it."""

    code: ClassVar[str] = "transport_error"


class InvalidRequest(TransportError):
    """The caller's input is wrong. `faults` are pairs of a path (`$.room_config.name`) and what is wrong there."""

    code = "invalid_request"

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in faults))
        self.faults = faults


class UnknownProvider(TransportError):
    code = "unknown_provider"

    def __init__(self, provider: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no connector is registered for provider {provider!r}; known: {', '.join(known) or 'none'}")
        self.provider = provider
        self.faults = (("$.provider", str(self)),)


class ProviderNotServed(TransportError):
    """The service was started without the connector that the session was made with."""

    code = "provider_not_served"

    def __init__(self, provider: str) -> None:
        super().__init__(f"the service runs without the session's connector {provider!r}; DAILY_CONNECTORS names them")
        self.provider = provider


class SessionNotFound(TransportError):
    code = "session_not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"no session has the id {session_id!r}")
        self.session_id = session_id


class TokenNotFound(TransportError):
    code = "token_not_found"

    def __init__(self, token_id: str) -> None:
        super().__init__(f"the session has no meeting token with the id {token_id[:80]!r}, or it expired long ago")
        self.token_id = token_id


class TooManyTokens(TransportError):
    """The session has as many meeting tokens as are kept for one."""

    code = "too_many_tokens"

    def __init__(self, tokens_max: int) -> None:
        super().__init__(f"the session has {tokens_max} meeting tokens; renew one, or wait until one has expired")


class ParticipantNotFound(TransportError):
    """Nobody in the room is known by this id; somebody may have come some seconds ago."""

    code = "participant_not_found"

    def __init__(self, participant_id: str) -> None:
        super().__init__(
            f"nobody in the room has the participant id {participant_id[:80]!r}, or the provider names them some"
            " seconds late"
        )
        self.participant_id = participant_id


class RecordingNotFound(TransportError):
    code = "recording_not_found"

    def __init__(self, recording_id: str) -> None:
        super().__init__(f"the session has no recording with the id {recording_id[:80]!r}")
        self.recording_id = recording_id


class RecordingNotInState(TransportError):
    """What was asked is for a recording in another state."""

    code = "recording_not_in_state"

    def __init__(self, recording_id: str, status: str, needed: str) -> None:
        super().__init__(f"the recording {recording_id} is {status}; this is for one that is {needed}")
        self.recording_id, self.status = recording_id, status


class AlreadyRunning(TransportError):
    """The session has one of this kind that runs, or is starting, and a further one was not asked for."""

    code = "already_running"

    def __init__(self, kind: str, capture_id: str, status: str) -> None:
        what = kind.replace("_", " ")
        super().__init__(f'the {what} {capture_id} is {status}; a further one wants "additional": true')
        self.capture_id = capture_id


class RecordingNotEnabled(TransportError):
    """The session's room was made without what recording needs."""

    code = "recording_not_enabled"

    def __init__(self, detail: str) -> None:
        super().__init__(f"the session was created without room_config.enable_recording: {detail}")


class TooManyRecordings(TransportError):
    """The session has as many recordings as are kept for one."""

    code = "too_many_recordings"

    def __init__(self, recordings_max: int) -> None:
        super().__init__(f"the session has {recordings_max} recordings; start another session for more")


class TranscriptNotFound(TransportError):
    """None of this id, or, where none is named, none that runs."""

    code = "transcript_not_found"

    def __init__(self, transcript_id: str | None) -> None:
        super().__init__(
            "nothing is transcribed in this session now"
            if transcript_id is None
            else f"the session has no transcript with the id {transcript_id[:80]!r}"
        )
        self.transcript_id = transcript_id


class TranscriptNotInState(TransportError):
    """What was asked is for a transcript in another state."""

    code = "transcript_not_in_state"

    def __init__(self, transcript_id: str, status: str, needed: str) -> None:
        super().__init__(f"the transcript {transcript_id} is {status}; this is for one that is {needed}")
        self.transcript_id, self.status = transcript_id, status


class TooManyTranscripts(TransportError):
    """The session has as many transcripts as are kept for one."""

    code = "too_many_transcripts"

    def __init__(self, transcripts_max: int) -> None:
        super().__init__(f"the session has {transcripts_max} transcripts; start another session for more")


class LiveStreamNotFound(TransportError):
    code = "live_stream_not_found"

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"the session has no live stream with the id {stream_id[:80]!r}")
        self.stream_id = stream_id


class LiveStreamNotInState(TransportError):
    """What was asked is for a live stream in another state."""

    code = "live_stream_not_in_state"

    def __init__(self, stream_id: str, status: str, needed: str) -> None:
        super().__init__(f"the live stream {stream_id} is {status}; this is for one that is {needed}")
        self.stream_id, self.status = stream_id, status


class TooManyLiveStreams(TransportError):
    """The session has as many live streams as are kept for one."""

    code = "too_many_live_streams"

    def __init__(self, streams_max: int) -> None:
        super().__init__(f"the session has {streams_max} live streams; start another session for more")


class SessionHasEnded(TransportError):
    """What was asked needs a session that lives."""

    code = "session_ended"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"the session {session_id} has ended")
        self.session_id = session_id


class RoomExists(TransportError):
    """The wanted room name is taken, by a room that is not this session's.

    `retry_after_s` is set where it is an old room of ours, whose deletion is under way.
    """

    code = "room_exists"

    def __init__(self, room_name: str, retry_after_s: float | None = None) -> None:
        told = "already exists; choose another name, or none"
        if retry_after_s is not None:
            told = "is still being deleted; repeat the request later, or choose another name"
        super().__init__(f"a room named {room_name!r} {told}")
        self.room_name, self.retry_after_s = room_name, retry_after_s
        self.faults = (("$.room_config.name", str(self)),)


class RequestInProgress(TransportError):
    code = "request_in_progress"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the first request with this Idempotency-Key is still running; repeat it later")
        self.retry_after_s = retry_after_s


class IdempotencyMismatch(TransportError):
    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with another body; use a new key for a new request")


class Busy(TransportError):
    code = "busy"

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class WebhookRefused(TransportError):
    """What came as a provider's push is not signed by it, or not just now."""

    code = "webhook_refused"


class Stopping(TransportError):
    code = "stopping"

    def __init__(self) -> None:
        super().__init__("the service is stopping; repeat the request against another instance")


class ListenersFull(TransportError):
    """As many listeners as the settings allow are connected; refused before the upgrade (503)."""

    code = "listeners_full"

    def __init__(self, listeners_max: int, retry_after_s: float) -> None:
        super().__init__(f"{listeners_max} listeners are connected; try again later or elsewhere")
        self.retry_after_s = retry_after_s


class BadMessage(TransportError):
    """What a listener sent is no message of the contract; it gets an `error` and the connection stays."""

    code = "invalid_message"


class RestartLimitExceeded(TransportError):
    code = "restart_limit_exceeded"

    def __init__(self, name: str, crashes: int) -> None:
        super().__init__(f"{name} crashed {crashes} times; given up")
        self.name, self.crashes = name, crashes


# --- journal -------------------------------------------------------------------------------------------------


class JournalError(TransportError):
    code = "journal_error"


class StorageUnavailable(JournalError):
    """The journal cannot be written (or read) now; nothing of the change is stored, nothing was announced."""

    code = "storage_unavailable"


class VersionConflict(JournalError):
    """Somebody else has committed this session meanwhile; read it again."""

    code = "version_conflict"


class JournalUnusable(JournalError):
    """The journal's file is damaged, not ours, of another version, or held by another process. Never overwritten."""

    code = "journal_unusable"


class HistoryGone(JournalError):
    """The events asked for are not there. `reason` is `pruned`, `epoch` or `ahead`; `oldest` is the oldest kept id."""

    code = "history_gone"

    def __init__(self, *, after: int, oldest: int, reason: str) -> None:
        super().__init__(f"the events after {after} are not there ({reason}); the oldest kept is {oldest}")
        self.after, self.oldest, self.reason = after, oldest, reason


# --- connectors ----------------------------------------------------------------------------------------------


class ConnectorError(TransportError):
    """A provider's failure. `in_doubt`: the request may have taken effect all the same (its answer was lost).

    `told`: whoever made the request, for many, has logged it.
    """

    code = "connector_error"
    told = False

    def __init__(self, provider: str, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.provider, self.in_doubt = provider, in_doubt


class ProviderRejected(ConnectorError):
    """The provider understood the request and refused it. `detail` is its own words, and nothing more."""

    code = "provider_rejected"

    def __init__(self, provider: str, status: int, detail: str) -> None:
        super().__init__(provider, f"{provider} answered {status}: {detail}")
        self.status, self.detail = status, detail


class ItemNotFound(ProviderRejected):
    """The provider keeps nothing of the id that we asked for."""


class ProviderThrottled(ConnectorError):
    code = "provider_throttled"

    def __init__(self, provider: str, retry_after_s: float) -> None:
        super().__init__(provider, f"{provider} limits our requests; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class ProviderUnreachable(ConnectorError):
    """No connection, a broken answer, or a 5xx."""

    code = "provider_unreachable"


class ProviderTimeout(ConnectorError):
    code = "provider_timeout"


class RoomNotFound(ConnectorError):
    """The provider knows no such room: deleted, or expired."""

    code = "room_not_found"

    def __init__(self, provider: str, room_name: str) -> None:
        super().__init__(provider, f"{provider} knows no room named {room_name!r}")
        self.room_name = room_name


class ProviderBusy(ConnectorError):
    """The provider has nobody free just now for what we asked; it was not done."""

    code = "provider_busy"

    def __init__(self, provider: str, detail: str, retry_after_s: float) -> None:
        super().__init__(provider, f"{provider} cannot take this on now: {detail}")
        self.retry_after_s = retry_after_s


class NobodyInCall(ConnectorError):
    """The room is there, and the provider knows of nobody in it; somebody may have come some seconds ago."""

    code = "nobody_in_call"

    def __init__(self, provider: str, room_name: str) -> None:
        super().__init__(
            provider,
            f"{provider} knows of nobody in the room {room_name!r}; it notices the first join some seconds late",
        )
        self.room_name = room_name


# --- bus -----------------------------------------------------------------------------------------------------


class BusError(TransportError):
    code = "bus_error"


class BusUnavailable(BusError):
    """Not connected, or no ack came: whether a message was stored is unknown."""

    code = "bus_unavailable"


class BusOutOfSequence(BusError):
    """The fence refused a message: the subject's last sequence is not the expected one."""

    code = "bus_out_of_sequence"


class BusDuplicate(BusOutOfSequence):
    """The stream has seen this epoch and id before; whether it was this very event, nobody has said."""

    code = "bus_duplicate"


class BusRefused(BusError):
    """The server will never take this message (too large, say)."""

    code = "bus_refused"


class BusMisconfigured(BusError):
    """The stream exists with another configuration than ours; it is never changed, a person has to look."""

    code = "bus_misconfigured"


class BusBinaryMissing(BusError):
    code = "bus_binary_missing"


class BusStartFailed(BusError):
    """The embedded server cannot run: its port is taken, its folder is in use, or it ended at once."""

    code = "bus_start_failed"


class CannotListen(TransportError):
    """The address or port of the settings is taken, not ours to take, or not there."""


class SettingsError(TransportError):
    """A setting makes no sense. The message names the variable, the fault, and what would be right."""

    code = "settings_error"
