"""Whether our rooms are many. Plain memory and Trio's clock."""

from __future__ import annotations

import attrs
import trio

# Pollers are late now and then: a room counts for a little longer than the interval of its poller.
LATE = 1.5
# Many rooms are few again below this part of the threshold, so that one that comes and goes changes nothing.
FEW = 0.75


@attrs.define(eq=False, kw_only=True)
class Crowd:
    """Counts the rooms asked for within the last interval. `many` of them are many until they are clearly fewer."""

    interval_s: float
    many: float
    _asked: dict[str, float] = attrs.field(factory=dict)  # the one asked for longest ago is first
    is_many: bool = False

    def note(self, room_name: str) -> bool:
        """The room is asked for; whether there are many, this one included."""
        now = trio.current_time()
        self._asked.pop(room_name, None)
        self._asked[room_name] = now
        while (oldest := next(iter(self._asked.items())))[1] < now - LATE * self.interval_s:
            del self._asked[oldest[0]]
        self.is_many = len(self._asked) >= (self.many * FEW if self.is_many else self.many)
        return self.is_many
