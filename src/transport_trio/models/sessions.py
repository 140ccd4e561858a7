"""Sessions: what a caller asks for, and what the journal keeps."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

import attrs

from transport_trio.models.captures import Capture, CaptureKind
from transport_trio.models.people import Leave, Participant, ParticipantConfig, Presence
from transport_trio.models.rooms import PastEnd, Room, RoomConfig
from transport_trio.models.tokens import FurtherGrant, TokenGrant
from transport_trio.models.visits import Reconciled, Visit

SessionId = NewType("SessionId", str)


def new_session_id() -> SessionId:
    return SessionId(str(uuid.uuid4()))


class SessionStatus(StrEnum):
    CREATED = "Created"  # nobody has come yet
    ACTIVE = "Active"  # somebody has been there, perhaps left again
    ENDED = "Ended"
    ERROR = "Error"  # the provider reports something that needs a person


class EndReason(StrEnum):
    REQUESTED = "requested"
    EXPIRED = "expired"
    ROOM_GONE = "room_gone"
    EMPTY = "empty"
    ERROR = "error"


class ProviderCleanup(StrEnum):
    PENDING = "pending"
    DONE = "done"


@attrs.frozen(kw_only=True)
class Emptiness:
    """When a session ends because nobody is in it: after `timeout_s`, or never.

    Whoever's user id begins with `bot_user_id_prefix` is nobody: a bot that nobody talks to.
    """

    timeout_s: int | None = None
    bot_user_id_prefix: str | None = None

    def is_bot(self, who: Participant) -> bool:
        prefix = self.bot_user_id_prefix
        return prefix is not None and who.user_id is not None and who.user_id.startswith(prefix)


@attrs.frozen(kw_only=True)
class SessionRequest:
    """A checked request for a session, defaults filled in; `provider_options` goes to the provider as it is."""

    provider: str
    room_config: RoomConfig = attrs.field(factory=RoomConfig)
    participant_config: ParticipantConfig = attrs.field(factory=ParticipantConfig)
    session_ttl_s: int
    token_ttl_s: int
    provider_options: dict[str, Any] = attrs.field(factory=dict)
    emptiness: Emptiness = attrs.field(factory=Emptiness)
    events_after_end: bool = False
    max_duration_s: int | None = None  # None: as long as the settings allow


@attrs.frozen(kw_only=True)
class Session:
    """A session as the journal keeps it. `version` counts its commits: the journal refuses a stale writer."""

    id: SessionId
    provider: str
    status: SessionStatus
    room: Room
    room_config: RoomConfig
    participant_config: ParticipantConfig
    token: TokenGrant
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    present: tuple[Presence, ...] = ()
    departed: tuple[str, ...] = ()  # ids of the latest told leaves, to recognise one that proves wrong
    pushed_leaves: tuple[Leave, ...] = ()  # the latest
    presence_checked_at: datetime | None = None
    room_missing_since: datetime | None = None
    emptiness: Emptiness = attrs.field(factory=Emptiness)
    empty_since: datetime | None = None  # None: somebody is there, or it was empty from its creation
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    provider_cleanup: ProviderCleanup | None = None
    further_tokens: tuple[FurtherGrant, ...] = ()
    captures: tuple[Capture, ...] = ()  # recordings and the like, the oldest first
    auto_starts_checked: tuple[CaptureKind, ...] = ()  # of these somebody has looked whether they began by themselves
    events_after_end: bool = False  # whether something may be told behind `session_ended`
    max_duration_s: int | None = None
    extending_to: datetime | None = None  # the end that the room may have already: the provider has been asked for it
    past_ends: tuple[PastEnd, ...] = ()  # of the room, the oldest first
    visits: tuple[Visit, ...] = ()  # those that are over, the latest
    visits_dropped: int = 0  # of the earliest, there being too many
    people_at_most: int = 0  # at once
    reconciled: Reconciled | None = None  # None: it has not ended, or did so before there were summaries
    provider_visits: tuple[Visit, ...] = ()  # the provider's own account, once it has been asked
    version: int = 0

    @property
    def has_ended(self) -> bool:
        return self.status is SessionStatus.ENDED

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in it, or only bots."""
        return all(self.emptiness.is_bot(who) for who in self.participants)

    @property
    def participants(self) -> tuple[Participant, ...]:
        return tuple(presence.participant for presence in self.present)


@attrs.frozen(kw_only=True)
class IdempotencyRecord:
    """Which session, or which further token of it, a key created. `caller` is a digest of the API key."""

    caller: str
    key: str
    fingerprint: str
    session_id: SessionId
    created_at: datetime
    token_id: str | None = None
