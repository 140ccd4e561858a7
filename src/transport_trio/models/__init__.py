"""What the service talks about: sessions, their rooms, and the people in them. Frozen data: no I/O, no clock.

Every `datetime` is aware and in UTC; every number of seconds ends in `_s`.
"""

from transport_trio.models.captures import (
    Capture,
    CaptureKind,
    CaptureLink,
    CaptureMoment,
    CaptureNews,
    CaptureOptions,
    CaptureStatus,
    new_capture_id,
)
from transport_trio.models.checks import Check, CheckStatus
from transport_trio.models.orphans import Claim, Orphan, OrphanKind, Run, Sweep
from transport_trio.models.owed import CLOCK_SLACK_S, RoomDebt, RoomIntent
from transport_trio.models.people import (
    EVERYBODY,
    Leave,
    Participant,
    ParticipantConfig,
    Permissions,
    PermissionsChange,
    Presence,
)
from transport_trio.models.providers import provider_kind
from transport_trio.models.pushes import News, Push, PushKind
from transport_trio.models.rooms import PastEnd, Privacy, Room, RoomConfig, RoomPlan, is_transcribed
from transport_trio.models.sessions import (
    Emptiness,
    EndReason,
    IdempotencyRecord,
    ProviderCleanup,
    Session,
    SessionId,
    SessionRequest,
    SessionStatus,
    new_session_id,
)
from transport_trio.models.tokens import FurtherGrant, TokenGrant, TokenOptions, TokenPlan, TokenRequest, TokenStage
from transport_trio.models.visits import Account, Person, Reconciled, Stay, Summary, Visit

__all__ = [
    "CLOCK_SLACK_S",
    "EVERYBODY",
    "Account",
    "Capture",
    "CaptureKind",
    "CaptureLink",
    "CaptureMoment",
    "CaptureNews",
    "CaptureOptions",
    "CaptureStatus",
    "Check",
    "CheckStatus",
    "Claim",
    "Emptiness",
    "EndReason",
    "FurtherGrant",
    "IdempotencyRecord",
    "Leave",
    "News",
    "Orphan",
    "OrphanKind",
    "Participant",
    "ParticipantConfig",
    "PastEnd",
    "Permissions",
    "PermissionsChange",
    "Person",
    "Presence",
    "Privacy",
    "ProviderCleanup",
    "Push",
    "PushKind",
    "Reconciled",
    "Room",
    "RoomConfig",
    "RoomDebt",
    "RoomIntent",
    "RoomPlan",
    "Run",
    "Session",
    "SessionId",
    "SessionRequest",
    "SessionStatus",
    "Stay",
    "Summary",
    "Sweep",
    "TokenGrant",
    "TokenOptions",
    "TokenPlan",
    "TokenRequest",
    "TokenStage",
    "Visit",
    "is_transcribed",
    "new_capture_id",
    "new_session_id",
    "provider_kind",
]
