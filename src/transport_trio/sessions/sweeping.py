"""One sweep for rooms of ours without a session: found among all of the provider, and deleted where that is wanted.

Whose a room is, its name proves (`ports.Ownership`); that nobody needs it, the journal, its age and two looks into it
a while apart. What is not proven is left alone: every room of ours closes by itself at its `exp` (ADR 0088).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from http import HTTPStatus
from typing import Protocol

import attrs
import trio

from transport_trio.errors import ProviderRejected, ProviderUnreachable, RoomExists, RoomNotFound
from transport_trio.models import Claim, Orphan, OrphanKind, Room, SessionId, Sweep
from transport_trio.models.orphans import session_id_in
from transport_trio.ports import RoomPage, TransportConnector
from transport_trio.sessions.deps import Deps

log = logging.getLogger(__name__)

# Between two requests: a quarter of what Daily allows. Pollers and creations come first.
PAUSE_S = 0.2
# A million rooms: no list goes on for ever.
PAGES_MAX = 10_000
# What is kept of one sweep; what is beyond is left to the next.
ORPHANS_MAX = 10_000
# So few that the last look into each is seconds old when they go.
BATCH = 25
# The room that the next page begins after may be deleted meanwhile: so many before it are tried.
STEPS_BACK = 5
# These are about us, and so about all rooms.
KEY_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class Holder(Protocol):
    """Who knows which rooms are in use."""

    def session_in(self, provider: str, room_name: str) -> SessionId | None:
        """The session that is made or lives in the room of this name."""

    async def needs(self, provider: str, room_name: str, session_id: SessionId) -> bool:
        """Whether a session that has not ended, a creation under way or a debt is concerned with this room."""

    def reserved(self, provider: str, room_name: str, session_id: SessionId) -> AbstractContextManager[None]:
        """Keep creations off this name for the block; raises `RoomExists` when somebody has it."""


class Sweeping:
    """One sweep of one provider."""

    def __init__(self, deps: Deps, holder: Holder, connector: TransportConnector, delete: bool) -> None:
        self._deps = deps
        self._holder = holder
        self._connector = connector
        self._delete = delete
        self._started_at = deps.clock.now()
        self._rooms = self._known = 0
        self._marked: dict[str, Room] = {}  # those with a mark of ours, by name
        self._orphans: dict[str, Orphan] = {}

    def told(self, failure: str | None) -> Sweep:
        return Sweep(
            provider=self._connector.name,
            started_at=self._started_at,
            finished_at=self._deps.clock.now(),
            deletes=self._delete,
            rooms=self._rooms,
            foreign=max(self._rooms - self._known - len(self._orphans), 0),
            known=self._known,
            orphans=tuple(self._orphans.values()),
            failure=failure,
        )

    async def run(self) -> None:
        """
        Raises:
            ConnectorError, StorageUnavailable: what was found and done until then stays.
        """
        # The whole list before anything is done: its last room can show that the folder has a twin.
        await self._list()
        strange = [room for room in self._marked.values() if not await self._is_needed(room)]
        self._known += len(self._marked) - len(strange)
        self._deps.ownership.doubt(strange)
        for room in strange:
            self._orphans[room.name] = Orphan(room=room, kind=await self._kind(room))
        if self._delete:
            await self._delete_empty()

    async def _list(self) -> None:
        after: str | None = None
        trail: list[str] = []  # what the next page may begin after, the latest first
        for _ in range(PAGES_MAX):
            page = await self._page(after, trail)
            if page.after is None:
                return
            if page.after == after:
                break
            self._rooms += page.entries
            for room in page.rooms:
                if self._deps.ownership.claim(room) is Claim.FOREIGN:
                    # Those that callers named carry no mark.
                    self._known += self._holder.session_in(self._connector.name, room.name) is not None
                elif len(self._marked) < ORPHANS_MAX:
                    self._marked[room.name] = room
            after = page.after
            trail = [room.provider_id for room in reversed(page.rooms) if room.provider_id not in {None, after}]
            await trio.sleep(PAUSE_S)
        provider = self._connector.name
        raise ProviderUnreachable(provider, f"{provider}'s list of rooms does not come to an end")

    async def _page(self, after: str | None, trail: Sequence[str | None]) -> RoomPage:
        for back in (None, *trail[:STEPS_BACK]):
            try:
                return await self._connector.list_rooms(back or after)
            except ProviderRejected as exc:
                refused = exc
                if after is None:
                    break
        raise refused

    async def _is_needed(self, room: Room) -> bool:
        return await self._holder.needs(self._connector.name, room.name, _session_id(room))

    async def _kind(self, room: Room) -> OrphanKind:
        if self._deps.ownership.claim(room) is not Claim.OURS:
            return OrphanKind.UNPROVEN
        grace = timedelta(seconds=self._deps.settings.orphan_grace_s)
        if room.created_at is None or self._deps.clock.now() - room.created_at < grace:
            return OrphanKind.YOUNG
        await trio.sleep(PAUSE_S)
        try:
            people = await self._connector.count_people(room.name)
        except RoomNotFound:  # it has gone meanwhile, or Daily forgot it for a moment
            return OrphanKind.UNPROVEN
        return OrphanKind.OCCUPIED if people else OrphanKind.EMPTY

    async def _delete_empty(self) -> None:
        empty = [orphan.room for orphan in self._orphans.values() if orphan.kind is OrphanKind.EMPTY]
        if not empty:
            return
        # Who has joined shows late, and one empty answer is no proof.
        await trio.sleep(2 * self._deps.settings.presence_confirm_s)
        for first in range(0, len(empty), BATCH):
            await self._delete_some(empty[first : first + BATCH])

    async def _delete_some(self, rooms: Sequence[Room]) -> None:
        with ExitStack() as reserved:
            sure = [room for room in rooms if await self._is_free(room, reserved) and await self._is_sure(room)]
            if not sure:
                return
            try:
                await self._connector.delete_rooms([room.name for room in sure])
            except ProviderRejected as exc:
                # All or nothing: one of them has gone a moment ago, or cannot be deleted.
                log.info("orphans are deleted one by one", extra={"rooms": len(sure), "error": str(exc)})
                for room in sure:
                    await self._delete_one(room)
            else:
                for room in sure:
                    self._gone(room)

    async def _delete_one(self, room: Room) -> None:
        if not await self._is_sure(room):
            return
        try:
            if await self._connector.delete_room(room.name):
                self._gone(room)
        except ProviderRejected as exc:
            if exc.status in KEY_REFUSALS:
                raise
            # A room that the provider keeps must not keep the others.
            told = {"provider": self._connector.name, "room_name": room.name, "error": str(exc)}
            log.warning("orphan cannot be deleted", extra=told)

    async def _is_free(self, room: Room, reserved: ExitStack) -> bool:
        """Whether nobody needs the room; then nobody can take its name until `reserved` ends."""
        if await self._is_needed(room):
            del self._orphans[room.name]
            self._known += 1
            return False
        try:
            # No checkpoint since the answer.
            reserved.enter_context(self._holder.reserved(self._connector.name, room.name, _session_id(room)))
        except RoomExists:
            return False
        return True

    async def _is_sure(self, room: Room) -> bool:
        """Look again, at the room and into it, right before it goes."""
        await trio.sleep(PAUSE_S)
        found = await self._connector.find_room(room.name)
        if found is None:
            del self._orphans[room.name]
            return False
        if (found.provider_id, found.created_at) != (room.provider_id, room.created_at):
            self._orphans[room.name] = Orphan(room=found, kind=OrphanKind.UNPROVEN)
            return False
        kind = await self._kind(found)
        self._orphans[room.name] = Orphan(room=found, kind=kind)
        return kind is OrphanKind.EMPTY

    def _gone(self, room: Room) -> None:
        self._orphans[room.name] = attrs.evolve(self._orphans[room.name], deleted=True)
        self._deps.metrics.orphan_rooms_deleted.labels(provider=self._connector.name).inc()
        log.info("orphan deleted", extra={"provider": self._connector.name, "room_name": room.name})


def _session_id(room: Room) -> SessionId:
    session_id = session_id_in(room.name)
    assert session_id is not None  # it has a mark
    return session_id
