"""Waiting for another task's answer, so that a caller who is cancelled ends its waiting and never the work."""

from __future__ import annotations

from typing import Generic, TypeVar

import outcome
import trio

T = TypeVar("T")


class Reply(Generic[T]):
    """A slot for one answer; the first one counts."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._outcome: outcome.Outcome[T] | None = None

    def set(self, value: T) -> None:
        self._settle(outcome.Value(value))

    def fail(self, error: Exception) -> None:
        self._settle(outcome.Error(error))

    def _settle(self, result: outcome.Outcome[T]) -> None:
        if self._outcome is None:
            self._outcome = result
            self._done.set()

    @property
    def settled(self) -> bool:
        return self._outcome is not None

    async def wait(self) -> T:
        """The answer, or the error it failed with."""
        await self._done.wait()
        assert self._outcome is not None
        return self._outcome.unwrap()
