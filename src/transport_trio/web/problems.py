"""Errors as `application/problem+json` (RFC 9457), and the one table from error class to HTTP status."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from quart import Response

from transport_trio.errors import (
    AlreadyRunning,
    Busy,
    ConnectorError,
    HistoryGone,
    IdempotencyMismatch,
    InvalidRequest,
    ListenersFull,
    LiveStreamNotFound,
    LiveStreamNotInState,
    NobodyInCall,
    ParticipantNotFound,
    ProviderBusy,
    ProviderNotServed,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnreachable,
    RecordingNotEnabled,
    RecordingNotFound,
    RecordingNotInState,
    RequestInProgress,
    RoomExists,
    SessionHasEnded,
    SessionNotFound,
    Stopping,
    StorageUnavailable,
    TokenNotFound,
    TooManyLiveStreams,
    TooManyRecordings,
    TooManyTokens,
    TooManyTranscripts,
    TranscriptNotFound,
    TranscriptNotInState,
    TransportError,
    UnknownProvider,
    WebhookRefused,
)
from transport_trio.wire.out import encode

CONTENT_TYPE = "application/problem+json"
INTERNAL_ERROR = "internal_error"


class Refusal(TransportError):
    """The request is refused for what it is, before any use-case sees it. `headers` go into the answer."""

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})


class LengthsConflict(Refusal):
    """Both length headers: whoever is between us may have read another body than we."""

    code = "invalid_request"

    def __init__(self) -> None:
        super().__init__("Content-Length and Transfer-Encoding must not come together", {"Connection": "close"})


class Unauthorized(Refusal):
    code = "unauthorized"

    def __init__(self, detail: str = "this route wants a key: Authorization: Bearer <one of API_KEYS>") -> None:
        super().__init__(detail, {"WWW-Authenticate": "Bearer"})


class Forbidden(Refusal):
    code = "forbidden"


class UnknownPath(Refusal):
    code = "not_found"


class MethodNotAllowed(Refusal):
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        allow = ", ".join(sorted(allowed))
        super().__init__(f"{method} is not for this path; allowed: {allow}", {"Allow": allow})


class BodyTooLarge(Refusal):
    code = "body_too_large"


class BodyTooSlow(Refusal):
    code = "body_timeout"


class UnsupportedMediaType(Refusal):
    code = "unsupported_media_type"


class UpgradeRequired(Refusal):
    code = "upgrade_required"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"Upgrade": "websocket", "Connection": "Upgrade"})


STATUS: Mapping[type[TransportError], int] = {
    InvalidRequest: 400,
    LengthsConflict: 400,
    UnknownProvider: 400,
    Unauthorized: 401,
    WebhookRefused: 401,
    Forbidden: 403,
    UnknownPath: 404,
    SessionNotFound: 404,
    ParticipantNotFound: 404,
    TokenNotFound: 404,
    RecordingNotFound: 404,
    TranscriptNotFound: 404,
    LiveStreamNotFound: 404,
    MethodNotAllowed: 405,
    BodyTooSlow: 408,
    RoomExists: 409,
    SessionHasEnded: 409,
    TooManyTokens: 409,
    AlreadyRunning: 409,
    TooManyRecordings: 409,
    RecordingNotEnabled: 409,
    RecordingNotInState: 409,
    TooManyTranscripts: 409,
    TranscriptNotInState: 409,
    TooManyLiveStreams: 409,
    LiveStreamNotInState: 409,
    RequestInProgress: 409,
    NobodyInCall: 409,
    HistoryGone: 410,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    IdempotencyMismatch: 422,
    UpgradeRequired: 426,
    Busy: 429,
    ConnectorError: 502,
    ProviderRejected: 502,
    ProviderBusy: 503,
    ProviderNotServed: 503,
    ProviderThrottled: 503,
    ProviderUnreachable: 503,
    ProviderTimeout: 504,
    ListenersFull: 503,
    StorageUnavailable: 503,
    Stopping: 503,
}


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an error, or of its nearest base in the table; None for what nobody planned."""
    return next((STATUS[base] for base in type(error).__mro__ if base in STATUS), None)


def problem_of(error: TransportError) -> Response:
    """The answer to an error of the table, with the headers that belong to it.

    Raises:
        KeyError: the table does not hold it, so it is a bug that it came this far.
    """
    status = status_of(error)
    if status is None:
        raise KeyError(type(error).__name__)
    headers = dict(error.headers) if isinstance(error, Refusal) else {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    more: dict[str, Any] = {}
    if isinstance(error, HistoryGone):
        more = {"reason": error.reason, "oldest": error.oldest}
    faults = getattr(error, "faults", ())
    return problem(error.code, status, str(error), faults=faults, headers=headers, more=more)


def problem(
    code: str,
    status: int,
    detail: str,
    *,
    faults: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document; `faults` are pairs of a path and what is wrong there, `more` extends the document."""
    document = {
        "type": f"urn:transport-trio:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [{"path": path, "message": message} for path, message in faults],
        **(more or {}),
    }
    return Response(encode(document), status=status, headers=dict(headers or {}), content_type=CONTENT_TYPE)


def internal_error() -> Response:
    """The answer to a bug: nothing of it leaks, the log holds the rest."""
    return problem(INTERNAL_ERROR, 500, "something went wrong on our side; the service's log says what")
