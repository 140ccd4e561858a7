"""When to ping a listener, and when to give it up."""

from __future__ import annotations

import math

import trio

from transport_trio.hub.listener import Listener
from transport_trio.wire.socket import Close, ping_frame

SILENT_HEARTBEATS = 3
# A beat that comes later than this was held up: by a long write, or because the whole process stood still.
LATE_HEARTBEATS = 0.5


class Heartbeat:
    """One listener's heartbeat; `heard_at` is passed in, since anything that arrives counts as life."""

    def __init__(self, listener: Listener, heartbeat_s: float) -> None:
        self._listener = listener
        self._heartbeat_s = heartbeat_s
        self._next = trio.current_time() + heartbeat_s
        self._excused_at = -math.inf

    def due_at(self, heard_at: float) -> float:
        return min(self._next, self._silent_at(heard_at))

    def beat(self, heard_at: float) -> None:
        """Do what is due, if anything: close a listener that has been silent for too long, else ping it."""
        now = trio.current_time()
        if now - self.due_at(heard_at) > LATE_HEARTBEATS * self._heartbeat_s:
            # What the peer sent meanwhile may lie unread on our side: its silence counts from here.
            self._excused_at = now
        if now >= self._silent_at(heard_at):
            self._listener.close(Close.SILENT)
        elif now >= self._next:
            self._next += self._heartbeat_s
            if self._next <= now:  # one ping, not all that were missed
                self._next = now + self._heartbeat_s
            self._listener.reply_frame(ping_frame(self._listener.position))

    def _silent_at(self, heard_at: float) -> float:
        return max(heard_at, self._excused_at) + SILENT_HEARTBEATS * self._heartbeat_s
