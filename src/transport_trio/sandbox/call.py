"""The call in a room: who is in it, until when, and what presence tells of them, late as Daily's does.

Nothing here waits: who was removed at which second follows from the time at which somebody looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from transport_trio.sandbox.timeform import iso

MESSAGES_KEPT = 1000  # of a call, for whoever wants to see what arrived

EVERYTHING = {"hasPresence": True, "canSend": True, "canReceive": {"base": True}, "canAdmin": False}
OWNERS = {**EVERYTHING, "canAdmin": True}


@attrs.define(eq=False, kw_only=True)
class Participant:
    """One join: who comes again is a new one. Times are unix seconds."""

    id: str
    user_id: str | None
    user_name: str | None
    is_owner: bool
    hidden: bool
    joined_at: float
    eject_at: float | None
    meeting_id: str
    permissions: Mapping[str, Any] = attrs.field(factory=dict)  # where they differ from what everybody has
    left_at: float | None = None
    ghost_until: float = 0.0

    def is_same_person(self, other: Participant) -> bool:
        if self.user_id is not None or other.user_id is not None:
            return self.user_id == other.user_id
        return self.user_name is not None and self.user_name == other.user_name

    def goes_by(self, name: str) -> bool:
        return name in {self.id, self.user_id}

    @property
    def all_permissions(self) -> dict[str, Any]:
        return {**(OWNERS if self.is_owner else EVERYTHING), **self.permissions}

    def permit(self, changes: Mapping[str, Any]) -> None:
        """Replace each of the permissions given."""
        self.permissions = {**self.permissions, **changes}
        if "hasPresence" in changes:
            self.hidden = changes["hasPresence"] is False and not self.is_owner


@attrs.frozen(kw_only=True)
class AppMessage:
    """What was sent to people in a call, and who was there to get it."""

    data: Mapping[str, Any]
    recipient: str
    received_by: tuple[str, ...]
    sent_at: float


@attrs.frozen(kw_only=True)
class Happening:
    """A change in a call. A meeting begins and ends with its first and last participant."""

    type: Literal["meeting.started", "participant.joined", "participant.left", "meeting.ended"]
    participant: Participant
    at: float
    began_at: float  # the meeting


def _nobody_listens(_happening: Happening) -> None:
    pass


@attrs.define(eq=False)
class Call:
    """The people of one room: those present, and those who left so recently that presence may still show them.

    `tell` hears of each change, when it is noticed.
    """

    tell: Callable[[Happening], None] = _nobody_listens
    messages: deque[AppMessage] = attrs.field(factory=lambda: deque(maxlen=MESSAGES_KEPT))
    idle_since: float | None = None  # everybody is muted and without a camera since then
    _began_at: float = 0.0
    _entries: list[Participant] = attrs.field(factory=list)
    _banned: set[str] = attrs.field(factory=set)

    def present(self, now: float) -> list[Participant]:
        self._settle(now)
        return [entry for entry in self._entries if entry.left_at is None]

    def is_hosted(self, now: float, lag_s: float) -> bool:
        """Whether Daily knows of the call: it does some time after the first join."""
        return bool(self.present(now)) and now >= self._began_at + lag_s

    def meeting_id(self, now: float) -> str | None:
        """The meeting under way; None when nobody is in."""
        present = self.present(now)
        return present[0].meeting_id if present else None

    def enter(self, newcomer: Participant, *, ghost_s: float, lag_s: float, unique_user_ids: bool) -> None:
        """Let somebody in whom the door has let pass."""
        now = newcomer.joined_at
        self._forget(now, lag_s + ghost_s)
        replaced: list[Participant] = []
        for entry in self._entries:
            if unique_user_ids and entry.left_at is None and entry.user_id and entry.user_id == newcomer.user_id:
                entry.left_at = now
                replaced.append(entry)
            if ghost_s and entry.left_at is not None and entry.is_same_person(newcomer):
                entry.ghost_until = now + lag_s + ghost_s
        if not replaced and not any(entry.left_at is None for entry in self._entries):
            self._began_at, self.idle_since = now, None
            self._tell("meeting.started", newcomer, now)
        self._entries.append(newcomer)
        self._tell("participant.joined", newcomer, now)
        for entry in replaced:
            self._tell("participant.left", entry, now)

    def leave(self, who: str, now: float) -> list[Participant]:
        """Everybody in the room whose session id or user id this is, gone from now on."""
        gone = [entry for entry in self.present(now) if entry.goes_by(who)]
        self.put_out(gone, now)
        return gone

    def put_out(self, participants: list[Participant], now: float) -> None:
        """They are gone from now on."""
        for entry in participants:
            self._go(entry, now)

    def ban(self, participants: list[Participant]) -> None:
        self._banned |= {entry.user_id for entry in participants if entry.user_id is not None}

    def is_banned(self, user_id: str | None) -> bool:
        return user_id in self._banned

    def end(self, now: float) -> None:
        self.put_out(self.present(now), now)

    def shown(self, now: float, lag_s: float) -> list[Participant]:
        """Whom presence tells of, in the order in which they joined."""
        self._settle(now)
        return [
            entry
            for entry in self._entries
            if not entry.hidden
            and entry.joined_at + lag_s <= now
            and (entry.left_at is None or now < max(entry.left_at + lag_s, entry.ghost_until))
        ]

    def _settle(self, now: float) -> None:
        for entry in self._entries:
            if entry.left_at is None and entry.eject_at is not None and entry.eject_at <= now:
                self._go(entry, entry.eject_at)

    def _go(self, entry: Participant, at: float) -> None:
        entry.left_at = at
        self._tell("participant.left", entry, at)
        if not any(other.left_at is None for other in self._entries):
            self._tell("meeting.ended", entry, at)

    def _tell(
        self,
        type_: Literal["meeting.started", "participant.joined", "participant.left", "meeting.ended"],
        participant: Participant,
        at: float,
    ) -> None:
        self.tell(Happening(type=type_, participant=participant, at=at, began_at=self._began_at))

    def _forget(self, now: float, kept_s: float) -> None:
        self._settle(now)
        self._entries = [
            entry
            for entry in self._entries
            if entry.left_at is None or now < max(entry.left_at + kept_s, entry.ghost_until)
        ]


def presence_entry(room_name: str, participant: Participant, now: float) -> dict[str, Any]:
    return {
        "room": room_name,
        "id": participant.id,
        "userId": participant.user_id,
        "userName": participant.user_name,
        "mtgSessionId": participant.meeting_id,
        "joinTime": iso(participant.joined_at),
        "duration": int(now - participant.joined_at),
    }
