"""Minutes in which nobody answers: the port is closed, so that a client is refused as by a dead host."""

from __future__ import annotations

import trio

MAX_OUTAGE_S = 3600.0


class Outage:
    """Whoever begins one wakes the server, which closes the port for that long."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self.for_s = 0.0

    def begin(self, for_s: float) -> None:
        self.for_s = for_s
        self._begun.set()

    async def wait_begun(self) -> None:
        await self._begun.wait()

    def end(self) -> None:
        self._begun = trio.Event()
