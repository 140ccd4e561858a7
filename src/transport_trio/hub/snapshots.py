"""Snapshots as frames, shared by those who ask at the same time."""

from __future__ import annotations

import attrs
import trio

from transport_trio.ports import Journal
from transport_trio.wire import socket as wire


@attrs.frozen
class FramedSnapshot:
    frames: tuple[bytes, ...]
    last_event_id: int


@attrs.define(eq=False)
class _Shared:
    snapshot: FramedSnapshot | None = None


class Snapshots:
    """Reads snapshots of all sessions one after the other: after a restart, a thousand dashboards that come back at
    once cost two reads and two sets of frames, not a thousand."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = trio.Lock()
        self._gathering: _Shared | None = None  # those who wait for a read that has not begun

    async def read(self, session_ids: frozenset[str] | None) -> FramedSnapshot:
        """The unfinished sessions as of now or later, never of before the call."""
        if session_ids is not None:
            return await self._read(session_ids)
        if self._gathering is None:
            self._gathering = _Shared()
        mine = self._gathering
        async with self._turn:
            if mine.snapshot is None:
                if self._gathering is mine:
                    self._gathering = None  # who comes from here on gets a fresher one
                mine.snapshot = await self._read(None)
        return mine.snapshot

    async def _read(self, session_ids: frozenset[str] | None) -> FramedSnapshot:
        snapshot = await self._journal.snapshot(session_ids)
        frames = []
        for body in wire.snapshots(snapshot.sessions, snapshot.last_event_id):
            frames.append(wire.text_frame(body))
            await trio.lowlevel.checkpoint()  # a frame takes milliseconds: others want their turn
        return FramedSnapshot(tuple(frames), snapshot.last_event_id)
