"""Waits between attempts: doubling, bounded, with jitter so that services do not return in step."""

from __future__ import annotations

import random

import attrs

from transport_trio.concurrency import doubling_s


@attrs.define
class Backoff:
    """The first wait is about `base_s`, each further one twice as long, up to `max_s`."""

    base_s: float
    max_s: float
    _attempts: int = 0

    def next_s(self) -> float:
        """How long to wait now; half to all of the step, at random."""
        self._attempts += 1
        step_s = doubling_s(self._attempts, base_s=self.base_s, max_s=self.max_s)
        return step_s * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not cryptography

    def reset(self) -> None:
        self._attempts = 0
