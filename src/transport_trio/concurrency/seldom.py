"""Saying the same thing now and then, where it would be said at the pace of whoever causes it."""

from __future__ import annotations

import attrs
import trio


@attrs.define(eq=False)
class Seldom:
    """At most once in `every_s`, by Trio's clock."""

    every_s: float = 60.0
    _next_at: float | None = None

    def is_due(self) -> bool:
        """Whether to say it; then it is not due again for a while."""
        now = trio.current_time()
        if self._next_at is not None and now < self._next_at:
            return False
        self._next_at = now + self.every_s
        return True
