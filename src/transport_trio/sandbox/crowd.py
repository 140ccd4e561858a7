"""People who come and go by themselves: a seeded timetable for every room, played up to the time of each look."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import attrs

from transport_trio.sandbox.chance import chance

FIRST_JOIN_S = (1.0, 2.0)  # somebody should be there before whoever made the room has looked twice
NEXT_JOIN_S = (2.0, 8.0)
STAY_S = (5.0, 20.0)
BREAK_S = (3.0, 15.0)
RETURNS = 0.9  # of those who leave: a demonstration lasts some minutes
NAMES = ("Ada", "Grace", "Linus", "Margaret", "Edsger", "Barbara", "Alan", "Radia", "Dennis", "Hedy")
PEOPLE = (2, 3)  # per room
BEHIND_S = 60.0  # how much of a missed timetable is made up for; before that nobody looked


@attrs.frozen(order=True)
class _Step:
    due: float
    order: int
    room_id: str = attrs.field(order=False)
    room_name: str = attrs.field(order=False)
    person: int = attrs.field(order=False)
    session_id: str | None = attrs.field(order=False)  # None: this step is a join


class Crowd:
    """`join` answers the new session's id, or None when the room would not have them: then they stay away."""

    def __init__(
        self,
        seed: int | None,
        join: Callable[[str, str, int, float], str | None],
        leave: Callable[[str, str, str, float], None],
    ) -> None:
        self._random = chance(seed, "people")
        self._join, self._leave = join, leave
        self._timetable: list[_Step] = []
        self._order = count()

    def visit(self, room_id: str, room_name: str, now: float) -> None:
        """Send people into a room that was just made."""
        due = now + self._random.uniform(*FIRST_JOIN_S)
        for person in self._random.sample(range(len(NAMES)), self._random.randint(*PEOPLE)):
            self._plan(due, room_id, room_name, person, None)
            due += self._random.uniform(*NEXT_JOIN_S)

    def play(self, now: float) -> None:
        """Let happen what was due by now, in its order."""
        while self._timetable and self._timetable[0].due <= now:
            step = heapq.heappop(self._timetable)
            self._take(step, max(step.due, now - BEHIND_S))

    def _take(self, step: _Step, at: float) -> None:
        if step.session_id is not None:
            # Whether or not the room still stands: the join that would follow finds out.
            self._leave(step.room_id, step.room_name, step.session_id, at)
            if self._random.random() < RETURNS:
                self._plan(at + self._random.uniform(*BREAK_S), step.room_id, step.room_name, step.person, None)
            return
        session_id = self._join(step.room_id, step.room_name, step.person, at)
        if session_id is not None:
            stay_s = self._random.uniform(*STAY_S)
            self._plan(at + stay_s, step.room_id, step.room_name, step.person, session_id)

    def _plan(self, due: float, room_id: str, room_name: str, person: int, session_id: str | None) -> None:
        heapq.heappush(self._timetable, _Step(due, next(self._order), room_id, room_name, person, session_id))
