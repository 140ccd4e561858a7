"""The seams of the service: what sessions, hub and relay ask of a provider, a journal and a bus.

Nothing here promises more than a journal shared by several replicas could keep: ids rise strictly but need
not be dense, and somebody else may have committed a session meanwhile (`VersionConflict`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import attrs

from transport_trio.events import Event, EventType, RecordedEvent
from transport_trio.models import (
    Check,
    IdempotencyRecord,
    Participant,
    PermissionsChange,
    Push,
    Room,
    RoomConfig,
    RoomDebt,
    RoomIntent,
    RoomPlan,
    Session,
    SessionId,
    SessionStatus,
    TokenPlan,
)


@attrs.frozen(kw_only=True)
class Seen:
    """Whom the provider named, and when it said so, by Trio's clock: an answer that rooms share is not of this instant.

    Of one room, an answer with the same `answered_at` is the same answer.
    """

    participants: tuple[Participant, ...]
    answered_at: float


class TransportConnector(Protocol):
    """A provider of rooms. Every call is bounded in time by the connector itself, retries and waits included.

    Raises, from every call: `ProviderThrottled`, `ProviderUnreachable`, `ProviderTimeout`, `ProviderRejected`.
    """

    @property
    def name(self) -> str:
        """What callers write as `provider`; closed set, used as a metric label."""

    @property
    def managed_options(self) -> frozenset[str]:
        """The keys of `provider_options` that we set ourselves, so that callers may not."""

    @property
    def managed_token_options(self) -> frozenset[str]:
        """Likewise for the `provider_options` of a meeting token."""

    def dry_run(self, room: RoomPlan, token: TokenPlan) -> dict[str, Any]:
        """What `create_room` and `create_token` would send, as `{"room": body, "token": {"body", "claims"}}`."""

    async def create_room(self, plan: RoomPlan) -> Room:
        """Make the room. Never repeated by itself: with `in_doubt` set on the error, look with `find_room`.

        Raises:
            RoomExists: the name is taken.

        Cancellation: the room may have been made.
        """

    async def find_room(self, name: str) -> Room | None:
        """The room of that name, or None when there is none (or it has expired)."""

    async def delete_room(self, name: str) -> bool:
        """Delete the room; False when the provider says that there is none.

        Never repeated by itself: after a lost answer the name may be another room's, so look with `find_room` first.
        """

    async def create_token(self, plan: TokenPlan) -> str:
        """Mint a meeting token."""

    async def presence(self, room_name: str, *, fresh: bool = False) -> Seen:
        """Who the provider says is in the room; what it says may be old (Daily: up to 25 s) or hold ghosts.

        The answer may be shared by many rooms, and then be an interval of polling old. `fresh`: ask for this room now.

        Raises:
            RoomNotFound: there is no such room, or (for a moment) the provider forgot it.
        """

    async def eject(
        self, room_name: str, *, participant_ids: Sequence[str], user_ids: Sequence[str], ban: bool
    ) -> tuple[str, ...]:
        """Put people out of the call; the ids of those who were. With `ban` they cannot come back by their user id.

        Never repeated by itself: who is gone already would not be named again.

        Raises:
            RoomNotFound: there is no such room.
            NobodyInCall: there is, and nobody is known to be in it.
        """

    async def update_permissions(
        self, room_name: str, participant_id: str, change: PermissionsChange, config: RoomConfig
    ) -> None:
        """Change what somebody in the call may do, or with `*` everybody. An id that nobody has is no error.

        Raises:
            RoomNotFound, NobodyInCall: as for `eject`.
        """

    async def send_message(self, room_name: str, recipient: str, data: dict[str, Any]) -> None:
        """Send something to somebody's client in the call, or with `*` to everybody's; nobody stores it.

        Never repeated by itself: it could arrive twice.

        Raises:
            RoomNotFound, NobodyInCall: as for `eject`.
        """

    async def check(self) -> datetime | None:
        """Ask the cheapest question that proves key and domain; the provider's own clock, when it tells.

        Raises:
            ProviderRejected: the key is wrong, or is another domain's.
        """

    def health(self) -> Check:
        """`OK`, or `DEGRADED` with the reason, as of the latest calls. Plain memory, no I/O."""


class WebhookDoor(Protocol):
    """Where a provider pushes to."""

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Push:
        """What this request, with its body as it came, tells us. The names of `headers` are in lower case.

        Raises:
            WebhookRefused: the signature is wrong, or too old.
        """


class Connectors(Protocol):
    """The registered connectors, by provider."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def get(self, provider: str) -> TransportConnector:
        """The provider's connector.

        Raises:
            UnknownProvider: none is registered under this name.
        """


@attrs.frozen(kw_only=True)
class Change:
    """What one commit writes; all of it or nothing. `session.version` is ignored: the journal counts.

    `expected_version` is the version the writer read (0: the session is new).
    """

    session: Session | None = None
    expected_version: int = 0
    events: tuple[Event, ...] = ()
    add_intent: RoomIntent | None = None
    settle_intent: SessionId | None = None
    add_debt: RoomDebt | None = None
    settle_debt: SessionId | None = None
    remember: IdempotencyRecord | None = None


@attrs.frozen(kw_only=True)
class SessionQuery:
    status: SessionStatus | None = None
    provider: str | None = None
    limit: int = 100
    cursor: str | None = None  # opaque; from `SessionPage.next_cursor`


@attrs.frozen(kw_only=True)
class SessionPage:
    sessions: tuple[Session, ...]
    total: int
    next_cursor: str | None


@attrs.frozen(kw_only=True)
class EventQuery:
    """`after=None`: from the oldest kept. `epoch=None`: whichever journal this is."""

    after: int | None = None
    epoch: str | None = None
    limit: int = 100
    session_ids: frozenset[str] | None = None
    types: frozenset[EventType] | None = None


@attrs.frozen(kw_only=True)
class EventPage:
    """`last_event_id` is the last id looked at, whatever the filter let through: go on from there."""

    events: tuple[RecordedEvent, ...]
    last_event_id: int


@attrs.frozen(kw_only=True)
class Snapshot:
    """The unfinished sessions, and the id of the last event they include; read in one transaction."""

    sessions: tuple[Session, ...]
    last_event_id: int


OnCommit = Callable[[Sequence[RecordedEvent]], None]


class Journal(Protocol):
    """What the service remembers. Every call may raise `StorageUnavailable`.

    Cancelling `commit` ends the waiting, not the commit: it is done or not, as with a lost answer.
    """

    @property
    def epoch(self) -> str:
        """A random name of this journal: ids mean nothing in another one."""

    @property
    def head(self) -> int:
        """The id of the last event that was committed and announced (0: none ever)."""

    def on_commit(self, tell: OnCommit) -> None:
        """Have `tell` called, synchronously and in id order, with each group of events before its writers go on."""

    async def commit(self, change: Change) -> Session | None:
        """Write the change durably; the session as stored, with its new version.

        Raises:
            VersionConflict: the stored version is not `expected_version`; nothing was written.
        """

    async def get(self, session_id: str) -> Session | None: ...

    async def sessions(self, query: SessionQuery) -> SessionPage:
        """A page of sessions, newest first.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """

    async def events(self, query: EventQuery) -> EventPage:
        """A page of events in id order.

        Raises:
            HistoryGone: `after` is older than what is kept, ahead of us, or of another epoch.
        """

    async def snapshot(self, session_ids: frozenset[str] | None = None) -> Snapshot: ...

    async def intents(self) -> tuple[RoomIntent, ...]: ...

    async def debts(self) -> tuple[RoomDebt, ...]: ...

    async def recall(self, caller: str, key: str) -> IdempotencyRecord | None: ...

    async def bookmark(self, reader: str) -> int | None:
        """Where a reader of the journal stands; None when it has never read."""

    async def advance(self, reader: str, event_id: int) -> None:
        """Move a reader's bookmark; it may lag after a crash, so readers cope with seeing events again."""

    def health(self) -> Check: ...


@attrs.frozen(kw_only=True)
class BusMessage:
    """An event on its way to the bus. `expected_last` fences it: the last sequence of the session's subjects."""

    event: RecordedEvent
    epoch: str
    expected_last: int | None = None


class Bus(Protocol):
    """A stream that stores each event once. Nothing here retries: the relay does."""

    @property
    def connection(self) -> int:
        """Another number for each connection: what is known of the stream holds for one."""

    async def publish(self, message: BusMessage) -> int:
        """Store the message and return its stream sequence.

        Raises:
            BusOutOfSequence: the session's last message is not the expected one.
            BusDuplicate: a message of this epoch and id was stored before, and this one was not.
            BusRefused: the server will never take it.
            BusUnavailable: no ack; whether it was stored is unknown.
        """

    async def last_of(self, session_id: str) -> tuple[int, str, int] | None:
        """(sequence, epoch, event id) of the session's newest message in the stream, None when it has none.

        Where somebody else wrote the newest, epoch and id are those of the newest before it that a journal wrote;
        "" and 0 when there is none.

        Raises:
            BusUnavailable: no answer.
        """

    async def newest_id(self, epoch: str, since: datetime | None) -> int | None:
        """The highest event id of this epoch among what was stored since then; None when there is none.

        Raises:
            BusUnavailable: no answer.
        """

    async def wait_ready(self) -> None:
        """Return once connected with our stream in place; waits for ever, the caller sets the scope."""

    def health(self) -> Check: ...
