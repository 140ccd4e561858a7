"""People: who comes and what they may do, and who is held to be there."""

from __future__ import annotations

from datetime import datetime

import attrs

# In an id's place: everybody in the call.
EVERYBODY = "*"


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

    def of(self, before: Permissions | None) -> Permissions | None:
        """What somebody may do after it; None where that is not known, as before it."""
        if before is None and (self.can_admin is None or self.sending is None):
            return None
        return attrs.evolve(before or Permissions(), **self.given)


@attrs.frozen(kw_only=True)
class ParticipantConfig:
    name: str | None = None
    user_id: str | None = None
    is_owner: bool = False
    permissions: Permissions = attrs.field(factory=Permissions)


@attrs.frozen(kw_only=True)
class Participant:
    """Someone in a room. `id` is the provider's: it is new for each join; `user_id` is the person, if known.

    `is_owner`, `permissions` and `will_eject_at` are known where the provider pushes them: Daily's presence has none.
    """

    id: str
    user_id: str | None = None
    name: str | None = None
    joined_at: datetime
    is_owner: bool | None = None
    permissions: Permissions | None = None
    will_eject_at: datetime | None = None

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
    connected_at: datetime | None = None  # when the newest connection came, where that is not the join told

    @property
    def ids(self) -> tuple[str, ...]:
        return self.connections or (self.participant.id,)

    @property
    def entered_at(self) -> datetime:
        """When the door let them in: what the provider froze then holds until they come anew."""
        return self.connected_at or self.participant.joined_at

    @property
    def provider_id(self) -> str:
        """By which the provider knows them best: their newest connection."""
        return self.ids[-1]


@attrs.frozen(kw_only=True)
class Leave:
    """A connection that the provider told us has ended; its answers may go on naming it for a while."""

    id: str
    at: datetime
