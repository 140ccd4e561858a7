"""What one listener's peer had no room for yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from transport_trio.wire.socket import frames_end

Send = Callable[[memoryview], int]


class Outbox:
    """Runs of whole frames, in the order in which they go out.

    Paced runs (a page of the journal, a snapshot) are asked for only where nothing waits, and are no backlog; the
    others are. A run of events is the same object for all who wait for it: slow listeners cost a reference, not a copy.
    """

    __slots__ = ("_at", "_runs", "backlog_bytes")

    def __init__(self) -> None:
        self._runs: deque[tuple[bytes, bool]] = deque()  # and whether it is paced
        self._at = 0  # how much of the first run has gone
        self.backlog_bytes = 0

    @property
    def is_empty(self) -> bool:
        return not self._runs

    def put(self, run: bytes, *, sent: int = 0, paced: bool = False) -> None:
        """Queue a run; `sent` bytes of it have gone already, which can only be where nothing waits."""
        self._at = self._at or sent
        self._runs.append((run, paced))
        if not paced:
            self.backlog_bytes += len(run) - sent

    def flush(self, send: Send) -> int:
        """Send as much as there is room for; how many bytes that was.

        Raises:
            OSError: the peer has gone.
        """
        total = 0
        while self._runs:
            run, paced = self._runs[0]
            try:
                sent = send(memoryview(run)[self._at :])
            except BlockingIOError:
                break
            total += sent
            self._at += sent
            if not paced:
                self.backlog_bytes -= sent
            if self._at < len(run):
                break
            self._runs.popleft()
            self._at = 0
        return total

    def drop(self, *, only_paced: bool = False) -> None:
        """Forget what waits, or what of it is paced; but of a frame that has gone in part the rest must follow."""
        kept: deque[tuple[bytes, bool]] = deque()
        if self._at:
            run, paced = self._runs.popleft()
            end = len(run) if only_paced and not paced else frames_end(run, self._at)
            if end > self._at:
                kept.append((run[:end], paced))
            else:
                self._at = 0
        if only_paced:
            kept.extend(entry for entry in self._runs if not entry[1])
        self._runs = kept
        self.backlog_bytes = sum(len(run) for run, paced in kept if not paced)
        if kept and not kept[0][1]:
            self.backlog_bytes -= self._at
