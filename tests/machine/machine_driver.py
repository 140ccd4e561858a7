"""The world driven from synchronous rules.

Trio runs in a thread of its own; a rule hands it one step and waits until nothing can happen any more before time
passes. So what is checked after a step is checked against a world that stands still.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import trio
from machine_rig import World
from trio.testing import MockClock

T = TypeVar("T")

# Of our time, after each step: what takes no longer than a network does is over then.
STEP_S = 0.05
# Of real time: a call into the world that takes longer hangs.
CALL_S = 60.0


class Driver:
    """The world seen from outside of Trio: each call is one step of it."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._end: trio.Event
        self._token: trio.lowlevel.TrioToken
        self.world: World
        self._thread = threading.Thread(target=self._main, name="world", daemon=True)
        self._thread.start()
        assert self._begun.wait(CALL_S)

    def do(self, work: Callable[[World], Awaitable[T]]) -> T:
        """Do it, and let things settle."""

        async def step() -> T:
            done = await work(self.world)
            await self.world.pass_time(STEP_S)
            return done

        done = self.look(step)
        if self.world.failure is not None:
            raise AssertionError("the service died") from self.world.failure
        return done

    def look(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it in Trio's thread."""
        future: Future[T] = Future()

        async def run() -> None:
            try:
                future.set_result(await work())
            except Exception as exc:
                future.set_exception(exc)

        self._token.run_sync_soon(trio.lowlevel.spawn_system_task, run)
        return future.result(CALL_S)

    def close(self) -> None:
        self._token.run_sync_soon(self._end.set)
        self._thread.join(CALL_S)
        assert not self._thread.is_alive(), "the world does not end"

    def _main(self) -> None:
        clock = MockClock()
        with tempfile.TemporaryDirectory() as folder:
            trio.run(self._live, Path(folder), clock, clock=clock)

    async def _live(self, folder: Path, clock: MockClock) -> None:
        self._end, self._token = trio.Event(), trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self.world = World(folder, clock, nursery)
            self._begun.set()
            await self._end.wait()
            nursery.cancel_scope.cancel(reason="the test is over")
