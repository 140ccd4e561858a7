"""Pings every listener once in a heartbeat, and gives up those that have been silent for three."""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio

from transport_trio.hub.broadcast import SLICE_WRITES
from transport_trio.hub.listener import Listener
from transport_trio.wire.socket import Close, ping_frame

SILENT_HEARTBEATS = 3
# Listeners are spread over so many turns by the moment at which they came: each costs what a sixtieth of them costs.
TURNS = 60
# A turn that comes later than this was held up, because the whole process stood still.
LATE_HEARTBEATS = 0.5


class Heart:
    def __init__(self, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._turns: Sequence[dict[Listener, None]] = tuple({} for _ in range(TURNS))
        self._at = 0
        self._excused_at = -math.inf

    def add(self, listener: Listener) -> None:
        """Ping it for the first time when a heartbeat has passed, or a sixtieth less."""
        listener.turn = self._at
        self._turns[self._at][listener] = None

    def discard(self, listener: Listener) -> None:
        del self._turns[listener.turn][listener]

    async def run(self) -> None:
        """Task body."""
        turn_s = self._heartbeat_s / TURNS
        due = trio.current_time()
        while True:
            due = max(due + turn_s, trio.current_time())
            await trio.sleep_until(due)
            if trio.current_time() - due > LATE_HEARTBEATS * self._heartbeat_s:
                # What peers sent meanwhile may lie unread on our side: their silence counts from here.
                self._excused_at = trio.current_time()
            self._at = (self._at + 1) % TURNS
            await self._take_turn(tuple(self._turns[self._at]))

    async def _take_turn(self, listeners: Sequence[Listener]) -> None:
        for start in range(0, len(listeners), SLICE_WRITES):
            for listener in listeners[start : start + SLICE_WRITES]:
                if listener.is_open:
                    self._beat(listener)
            await trio.lowlevel.checkpoint()

    def _beat(self, listener: Listener) -> None:
        silent_s = trio.current_time() - max(listener.heard_at, self._excused_at)
        # Its turn comes once in a heartbeat: it would be late by one if the last sixtieth were waited for.
        patience_s = (SILENT_HEARTBEATS - 1 / TURNS) * self._heartbeat_s
        if silent_s >= patience_s and not listener.line.has_unread:
            listener.close(Close.SILENT)
        else:
            listener.reply_frame(ping_frame(listener.settle()))
