"""Sessions: use-cases, pure transitions, and one owner task with its poller and timers for each live session."""

from transport_trio.sessions.capture_matching import capture_of
from transport_trio.sessions.capture_work import StartCapture, StopCapture, UpdateCapture
from transport_trio.sessions.extending import Extended, ExtensionRequest
from transport_trio.sessions.idempotency import IdempotencyKey
from transport_trio.sessions.people import Eject, Permit, SendMessage
from transport_trio.sessions.service import Created, SessionService, open_sessions
from transport_trio.sessions.visits import summary_of

__all__ = [
    "Created",
    "Eject",
    "Extended",
    "ExtensionRequest",
    "IdempotencyKey",
    "Permit",
    "SendMessage",
    "SessionService",
    "StartCapture",
    "StopCapture",
    "UpdateCapture",
    "capture_of",
    "open_sessions",
    "summary_of",
]
