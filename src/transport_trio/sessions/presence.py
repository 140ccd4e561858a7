"""Who joined and who left: set arithmetic on what the provider says, per person, surviving lag and ghosts.

The provider's answers are late (Daily: 10 to 25 s, measured) and show ghosts after a rejoin, so nobody is held to
have left before two good answers, `confirm_s` apart, failed to name them; and somebody whose old and new
connection are both listed is one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from transport_trio.models import Participant, Presence

# Ids of told leaves that are remembered, to mark a join as `again`; a busy room's last minutes.
DEPARTED_MAX = 256


@attrs.frozen(kw_only=True)
class Joined:
    participant: Participant
    again: bool  # a leave told before proved wrong


@attrs.frozen(kw_only=True)
class Left:
    participant: Participant
    last_seen_at: datetime

    @property
    def duration_s(self) -> float:
        return round(max((self.last_seen_at - self.participant.joined_at).total_seconds(), 0.0), 3)


@attrs.frozen(kw_only=True)
class Observation:
    """What an answer changes. `changed` tells whether listeners have something to learn."""

    present: tuple[Presence, ...]
    departed: tuple[str, ...]
    joined: tuple[Joined, ...]
    left: tuple[Left, ...]
    renamed: bool

    @property
    def changed(self) -> bool:
        return bool(self.joined or self.left or self.renamed)


def observe(
    present: Sequence[Presence],
    departed: Sequence[str],
    seen: Sequence[Participant],
    at: datetime,
    confirm_s: float,
) -> Observation:
    """Compare a good answer of the provider, given at `at`, with what we held to be true."""
    here = _by_person(seen)
    kept: list[Presence] = []
    left: list[Left] = []
    renamed = False
    for presence in present:
        newest = here.pop(presence.participant.person, None)
        if newest is not None:
            # Id and join time stay as they were told: who matches a leave with its join must not be misled.
            who = attrs.evolve(presence.participant, name=newest.name or presence.participant.name)
            renamed = renamed or who != presence.participant
            kept.append(Presence(participant=who, last_seen_at=at))
        elif presence.missing_since is None:
            kept.append(attrs.evolve(presence, missing_since=at))
        elif (at - presence.missing_since).total_seconds() < confirm_s:
            kept.append(presence)
        else:
            left.append(Left(participant=presence.participant, last_seen_at=presence.last_seen_at))

    joined = tuple(Joined(participant=who, again=who.id in departed) for who in here.values())
    kept.extend(Presence(participant=join.participant, last_seen_at=at) for join in joined)
    gone = (*departed, *(leave.participant.id for leave in left))
    back = {join.participant.id for join in joined}
    return Observation(
        present=tuple(kept),
        departed=tuple(id_ for id_ in gone if id_ not in back)[-DEPARTED_MAX:],
        joined=joined,
        left=tuple(left),
        renamed=renamed,
    )


def everyone_leaves(present: Sequence[Presence]) -> tuple[Left, ...]:
    """The leaves to be told when a session ends with people in it."""
    return tuple(Left(participant=one.participant, last_seen_at=one.last_seen_at) for one in present)


def recheck_at(present: Sequence[Presence], confirm_s: float) -> datetime | None:
    """When the next look can settle whether somebody missing has left."""
    missing = [one.missing_since for one in present if one.missing_since is not None]
    if not missing:
        return None
    return min(missing) + timedelta(seconds=confirm_s)


def _by_person(seen: Sequence[Participant]) -> dict[str, Participant]:
    """One entry a person, in order of joining: the newest connection counts, an older one is a ghost."""
    newest: dict[str, Participant] = {}
    for who in sorted(seen, key=lambda one: (one.joined_at, one.id)):
        newest.pop(who.person, None)
        newest[who.person] = who
    return newest
