"""Which rooms and room names are in use, as the service and its journal know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from transport_trio.errors import RoomExists
from transport_trio.models import SessionId
from transport_trio.ports import Journal
from transport_trio.sessions.reaper import Reaper


@attrs.frozen
class InUse:
    """Two sessions are kept off one room name: with equal ends their rooms could not be told apart."""

    journal: Journal
    reaper: Reaper
    is_owned: Callable[[SessionId], bool]  # whether a task of ours makes or owns this session
    _names: dict[tuple[str, str], SessionId] = attrs.field(factory=dict)

    def session_in(self, provider: str, room_name: str) -> SessionId | None:
        return self._names.get((provider, room_name))

    def reserve(self, provider: str, room_name: str, session_id: SessionId) -> None:
        """
        Raises:
            RoomExists: somebody has the name.
        """
        if (provider, room_name) in self._names:
            raise RoomExists(room_name)
        self._names[provider, room_name] = session_id

    def release(self, provider: str, room_name: str, session_id: SessionId) -> None:
        if self._names.get((provider, room_name)) == session_id:
            del self._names[provider, room_name]

    @contextmanager
    def reserved(self, provider: str, room_name: str, session_id: SessionId) -> Iterator[None]:
        """Keep creations off this name for the block; raises as `reserve`."""
        self.reserve(provider, room_name, session_id)
        try:
            yield
        finally:
            self.release(provider, room_name, session_id)

    async def needs(self, provider: str, room_name: str, session_id: SessionId) -> bool:
        """Whether a session that has not ended, a creation under way or a debt is concerned with this room."""
        session = await self.journal.get(session_id)
        # What memory knows is asked last, and with it whatever has begun while the journal was read.
        is_held = self.is_owned(session_id) or (provider, room_name) in self._names
        return is_held or self.reaper.owes(provider, room_name) or (session is not None and not session.has_ended)
