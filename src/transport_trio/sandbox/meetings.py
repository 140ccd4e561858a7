"""The meetings that Daily remembers: which there were, and who was in them."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from transport_trio.sandbox.call import Happening, Participant
from transport_trio.sandbox.refusals import ApiError

NOTICED_S = 10.0  # a visit that is shorter is recorded nowhere
ALONE_S = 30.0  # one person alone makes a meeting only after so long
ENDED_S = 20.0  # how long after the last leave it still counts as under way


@attrs.define(eq=False)
class Meeting:
    id: str
    room: str
    visits: list[Participant] = attrs.field(factory=list)

    @property
    def began_at(self) -> float:
        return self.visits[0].joined_at

    def recorded(self, now: float) -> list[Participant]:
        return [one for one in self.visits if until(one, now) - one.joined_at >= NOTICED_S]

    def is_ongoing(self, now: float) -> bool:
        return any(one.left_at is None or now < one.left_at + ENDED_S for one in self.visits)

    def is_shown(self, now: float) -> bool:
        """Whether it has become a meeting: with a second person, or by somebody's patience."""
        recorded = self.recorded(now)
        return len(recorded) > 1 or any(until(one, now) - one.joined_at >= ALONE_S for one in recorded)


class Meetings:
    """The meetings of a domain; the oldest are forgotten where they hold too many visits together."""

    def __init__(self, visits_kept: int) -> None:
        self._visits_kept = visits_kept
        self._visits = 0
        self._by_id: OrderedDict[str, Meeting] = OrderedDict()

    def note(self, room: str, happening: Happening) -> None:
        if happening.type != "participant.joined":
            return  # somebody's leave is noted in their own entry
        who = happening.participant
        meeting = self._by_id.setdefault(who.meeting_id, Meeting(who.meeting_id, room))
        meeting.visits.append(who)
        self._visits += 1
        while self._visits > self._visits_kept and len(self._by_id) > 1:
            self._visits -= len(self._by_id.popitem(last=False)[1].visits)

    def shown(self, now: float) -> list[Meeting]:
        """Those that count as meetings, newest first."""
        return [one for one in reversed(self._by_id.values()) if one.is_shown(now)]

    def get(self, id_: str, now: float) -> Meeting:
        """Raises:
        ApiError: there is no such meeting.
        """
        meeting = self._by_id.get(id_)
        if meeting is None or not meeting.is_shown(now):
            raise ApiError(404, "not-found", f"meeting {id_} not found")
        return meeting


def until(who: Participant, now: float) -> float:
    return now if who.left_at is None else who.left_at
