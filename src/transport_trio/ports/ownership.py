"""What sessions ask of whoever can prove, without the journal, which rooms are ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from transport_trio.models import Claim, Room, SessionId


class Ownership(Protocol):
    """Names rooms so that they can be told from everybody else's later. Plain memory, no waiting."""

    def new_id(self, room_prefix: str) -> SessionId:
        """A new session id; a room called `{room_prefix}-{id}` is ours, and proves it."""

    def claim(self, room: Room) -> Claim:
        """Whose the room is."""

    def doubt(self, rooms: Iterable[Room]) -> None:
        """Learn from rooms of which the journal knows nothing whether this folder has a twin at work somewhere.

        What the twin and we have in common is unproven from then on.
        """
