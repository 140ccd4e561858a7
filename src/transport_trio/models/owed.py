"""Rooms that we are about to have, and those that we have to delete."""

from __future__ import annotations

from datetime import datetime

import attrs

from transport_trio.models.rooms import Room
from transport_trio.models.sessions import SessionId


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
    other_end: datetime | None = None  # which the room may have instead: an extension was under way

    @property
    def in_doubt(self) -> bool:
        """Whether we never learnt if the room was made: it may still appear after a look found none."""
        return self.provider_id is None

    def covers(self, room: Room) -> bool:
        """Whether `room` is the one we owe: a foreign room of the same name is never touched.

        Nor is one that ends later than we know of: whoever had it extended, another service in a copy of our folder
        perhaps, has people in it.
        """
        if self.provider_id is not None and room.provider_id is not None:
            ends = [end for end in (self.expires_at, self.other_end) if end is not None]
            is_later = room.expires_at is not None and room.expires_at > max(ends)
            return self.provider_id == room.provider_id and not is_later
        if self.intended_at is not None and _is_older(room, self.intended_at):
            return False
        return room.expires_at is not None and room.expires_at in (self.expires_at, self.other_end)
