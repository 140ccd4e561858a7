"""What the service talks about: sessions, their rooms, and the people in them. Frozen data: no I/O, no clock.

Every `datetime` is aware and in UTC; every number of seconds ends in `_s`.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

import attrs

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


class Privacy(StrEnum):
    PUBLIC = "Public"
    PRIVATE = "Private"


class ProviderCleanup(StrEnum):
    PENDING = "pending"
    DONE = "done"


@attrs.frozen(kw_only=True)
class RoomConfig:
    name: str | None = None
    privacy: Privacy = Privacy.PRIVATE
    max_participants: int | None = None
    enable_recording: bool = False
    enable_transcription: bool = False
    enable_chat: bool = True
    enable_screen_sharing: bool = True
    auto_start_recording: bool = False
    auto_start_transcription: bool = False


@attrs.frozen(kw_only=True)
class Permissions:
    can_admin: bool = False
    can_send_video: bool = True
    can_send_audio: bool = True
    can_send_screen_video: bool = True
    can_send_screen_audio: bool = True


@attrs.frozen(kw_only=True)
class PermissionsChange:
    """What somebody in a call may do from now on; None: as before. What they may send is decided as a whole."""

    can_admin: bool | None = None
    sending: Permissions | None = None  # its `can_admin` does not count

    @property
    def given(self) -> dict[str, bool]:
        """Those that are decided, by name."""
        given = attrs.asdict(self.sending) if self.sending is not None else {}
        given.pop("can_admin", None)
        return given if self.can_admin is None else {"can_admin": self.can_admin, **given}


@attrs.frozen(kw_only=True)
class ParticipantConfig:
    name: str | None = None
    user_id: str | None = None
    is_owner: bool = False
    permissions: Permissions = attrs.field(factory=Permissions)


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


@attrs.frozen(kw_only=True)
class RoomPlan:
    """A room as we shall ask for it. `expires_at` has whole seconds, so that it compares equal when read back."""

    name: str
    config: RoomConfig
    expires_at: datetime
    provider_options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TokenOptions:
    """What a meeting token asks for beside who comes and until when; `provider_options` goes to the provider as it is.

    `eject_after_s` counts from the join.
    """

    not_before: datetime | None = None
    eject_at_expiry: bool = False
    eject_after_s: int | None = None
    provider_options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TokenPlan:
    """A meeting token as we shall ask for it; the same plan always gives the same claims."""

    room_name: str
    room_config: RoomConfig
    participant: ParticipantConfig
    expires_at: datetime
    options: TokenOptions = attrs.field(factory=TokenOptions)


@attrs.frozen(kw_only=True)
class TokenRequest:
    """A checked request for a further meeting token. `ttl_s=None`: the usual length, cut to the session's end."""

    participant: ParticipantConfig = attrs.field(factory=ParticipantConfig)
    ttl_s: int | None = None
    not_before_s: int = 0
    eject_at_expiry: bool = False
    eject_after_s: int | None = None
    provider_options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Room:
    """A room as the provider describes it. `metadata` is the provider's own object, for callers who want more."""

    name: str
    url: str
    provider_id: str | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Participant:
    """Someone in a room. `id` is the provider's: it is new for each join; `user_id` is the person, if known.

    `is_owner` and `permissions` are known where the provider pushes them: Daily's presence has neither.
    """

    id: str
    user_id: str | None = None
    name: str | None = None
    joined_at: datetime
    is_owner: bool | None = None
    permissions: Permissions | None = None

    @property
    def person(self) -> str:
        """What stays the same when somebody rejoins: the user id where there is one."""
        return f"user:{self.user_id}" if self.user_id else f"id:{self.id}"


@attrs.frozen(kw_only=True)
class Presence:
    """A person we hold to be in the room, and since when the provider has failed to name them (`missing_since`).

    `connections` are the ids by which the provider knows them now: more than one while somebody rejoins.
    `pushed_at` is when we were last told of one that no answer has named yet. `ejected`: the provider
    has put them out by its own word.
    """

    participant: Participant
    last_seen_at: datetime
    missing_since: datetime | None = None
    connections: tuple[str, ...] = ()
    pushed_at: datetime | None = None
    ejected: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        return self.connections or (self.participant.id,)

    @property
    def provider_id(self) -> str:
        """By which the provider knows them best: their newest connection."""
        return self.ids[-1]


@attrs.frozen(kw_only=True)
class Leave:
    """A connection that the provider told us has ended; its answers may go on naming it for a while."""

    id: str
    at: datetime


class PushKind(StrEnum):
    NEWS = "news"  # somebody came or went
    OTHER = "other"  # of no concern to sessions
    TEST = "test"  # the provider looks whether we are there
    DUPLICATE = "duplicate"  # the same has come before
    UNREADABLE = "unreadable"  # it is the provider's, and makes no sense to us


@attrs.frozen(kw_only=True)
class News:
    """Somebody came (or went) at `occurred_at`, in the provider's words."""

    participant: Participant
    came: bool
    occurred_at: datetime


@attrs.frozen(kw_only=True)
class Push:
    """What a provider sent us by itself. `type` is of a closed set: a metric label."""

    kind: PushKind
    type: str
    room_name: str | None = None
    news: News | None = None
    sent_at: datetime | None = None


class TokenStage(StrEnum):
    VALID = "valid"
    EXPIRING = "expiring"  # `token_expiring` has been told
    EXPIRED = "expired"  # `token_expired` has been told


@attrs.frozen(kw_only=True)
class TokenGrant:
    """The meeting token we handed out, without the token itself: that is kept nowhere."""

    expires_at: datetime
    stage: TokenStage = TokenStage.VALID


@attrs.frozen(kw_only=True)
class FurtherGrant:
    """A meeting token beside the session's first one, with all that its renewal needs; again without the token."""

    id: str
    participant: ParticipantConfig
    options: TokenOptions
    grant: TokenGrant
    ttl_s: int | None  # as its caller asked for; None: the usual length
    created_at: datetime


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
    version: int = 0

    @property
    def has_ended(self) -> bool:
        return self.status is SessionStatus.ENDED

    @property
    def participants(self) -> tuple[Participant, ...]:
        return tuple(presence.participant for presence in self.present)


@attrs.frozen(kw_only=True)
class RoomIntent:
    """Written before the provider is asked for a room, so that a crash in between cannot orphan it."""

    session_id: SessionId
    provider: str
    room_name: str
    expires_at: datetime
    intended_at: datetime

    def made(self, room: Room) -> bool:
        """Whether `room` came of this intent: exactly our `exp`, and not older than the intent.

        Daily's `created_at` has a granularity of one second, hence the slack.
        """
        return room.expires_at == self.expires_at and not _is_older(room, self.intended_at)


# How far the provider's clock and ours may differ when the age of a room is judged.
CLOCK_SLACK_S = 5.0


def _is_older(room: Room, intended_at: datetime) -> bool:
    return room.created_at is not None and (intended_at - room.created_at).total_seconds() > CLOCK_SLACK_S


@attrs.frozen(kw_only=True)
class RoomDebt:
    """The deletion of a room that we owe to the provider: retried until it is done or the room is gone.

    `intended_at` is known where the debt came of an intent.
    """

    session_id: SessionId
    provider: str
    room_name: str
    provider_id: str | None
    expires_at: datetime
    owed_at: datetime
    intended_at: datetime | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether we never learnt if the room was made: it may still appear after a look found none."""
        return self.provider_id is None

    def covers(self, room: Room) -> bool:
        """Whether `room` is the one we owe: a foreign room of the same name is never touched."""
        if self.provider_id is not None and room.provider_id is not None:
            return self.provider_id == room.provider_id
        if self.intended_at is not None and _is_older(room, self.intended_at):
            return False
        return room.expires_at == self.expires_at


@attrs.frozen(kw_only=True)
class IdempotencyRecord:
    """Which session, or which further token of it, a key created. `caller` is a digest of the API key."""

    caller: str
    key: str
    fingerprint: str
    session_id: SessionId
    created_at: datetime
    token_id: str | None = None


class CheckStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    OFF = "off"
    FAILED = "failed"


@attrs.frozen
class Check:
    """One line of `/ready`. Only `FAILED` makes the service not ready."""

    name: str
    status: CheckStatus
    message: str = ""
