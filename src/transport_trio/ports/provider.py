"""What sessions ask of a provider of rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import attrs

from transport_trio.models import (
    CaptureKind,
    CaptureLink,
    CaptureNews,
    CaptureOptions,
    Check,
    Participant,
    PermissionsChange,
    Push,
    Room,
    RoomConfig,
    RoomPlan,
    TokenPlan,
    Visit,
)


@attrs.frozen(kw_only=True)
class Seen:
    """Whom the provider named, and when it said so, by Trio's clock: an answer that rooms share is not of this instant.

    Of one room, an answer with the same `answered_at` is the same answer.
    """

    participants: tuple[Participant, ...]
    answered_at: float


@attrs.frozen(kw_only=True)
class RoomPage:
    """Some of a provider's rooms. `entries` counts those, too, that made no sense; `after` None: there are no more."""

    rooms: tuple[Room, ...]
    entries: int
    after: str | None


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

    @property
    def managed_capture_options(self) -> frozenset[str]:
        """Likewise for the `provider_options` of a recording."""

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

    async def extend_room(self, name: str, expires_at: datetime) -> Room:
        """Have the room end then, and change nothing else of it. Whoever is in it may be put out at the end before.

        Repeated by itself: it is the same the second time.

        Raises:
            RoomNotFound: there is no such room.
        """

    async def delete_room(self, name: str) -> bool:
        """Delete the room; False when the provider says that there is none.

        Never repeated by itself: after a lost answer the name may be another room's, so look with `find_room` first.
        """

    async def list_rooms(self, after: str | None) -> RoomPage:
        """A page of all rooms that the provider has, whoever made them, newest first; the rest follows `after`.

        Raises:
            ProviderRejected: besides its other reasons, what `after` stands for is gone.
        """

    async def delete_rooms(self, names: Sequence[str]) -> None:
        """Delete all of these rooms, or none where one of them is gone. Never repeated by itself, as `delete_room`."""

    async def count_people(self, room_name: str) -> int:
        """How many are in the room by the provider's own count, ghosts included; asked for now, and nobody watches it.

        Raises:
            RoomNotFound: there is no such room.
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

    async def start_capture(self, room_name: str, kind: CaptureKind, instance_id: str, options: CaptureOptions) -> None:
        """Have one begin in the call, by that id of ours; the provider tells later that it has.

        Never repeated by itself: it could run twice, or be refused as running.

        Raises:
            ProviderBusy: nobody is free to do it; it was not begun.
            RoomNotFound, NobodyInCall: as for `eject`.
        """

    async def update_capture(
        self, room_name: str, kind: CaptureKind, instance_id: str | None, options: CaptureOptions
    ) -> None:
        """Have it go on in another way. None: the one that is not ours.

        Raises:
            RoomNotFound, NobodyInCall: as for `eject`.
        """

    async def stop_capture(self, room_name: str, kind: CaptureKind, instance_id: str | None) -> None:
        """Have it stop. Not repeated by itself, since one that has stopped is refused.

        Raises:
            RoomNotFound, NobodyInCall: as for `eject`.
        """

    async def captures(self, room: Room, kind: CaptureKind) -> tuple[CaptureNews, ...]:
        """The latest hundred that the provider keeps of rooms of this name, also of earlier ones."""

    async def find_capture(self, kind: CaptureKind, provider_id: str) -> CaptureNews | None:
        """What the provider says of one; None: it has none of this id."""

    async def capture_link(self, kind: CaptureKind, provider_id: str, valid_for_s: int | None) -> CaptureLink | None:
        """Where to fetch it; None: the provider has none of this id."""

    async def delete_capture(self, kind: CaptureKind, provider_id: str) -> bool:
        """Delete it; False: the provider had none of this id."""

    async def visits(self, room_name: str, start: datetime, end: datetime) -> tuple[Visit, ...] | None:
        """Who was in the room between these times, by the provider's own account; None: it is not complete yet.

        To be asked some time after the end. Coarse: times may be 15 s off, and short visits missing.
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
