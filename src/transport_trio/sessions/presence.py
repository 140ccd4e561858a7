"""Who joined and who left: set arithmetic on what the provider says, per person, surviving lag and ghosts.

What it pushes is told at once, and its answers judge it. They are late: so for a while (`grace_s`) an answer that does
not name yet who was pushed, or still names who was pushed to have left, proves nothing.

The provider's answers are late (Daily: 10 to 25 s, measured) and show ghosts after a rejoin, so nobody is held to
have left before two good answers, `confirm_s` apart, failed to name them; and somebody whose old and new
connection are both listed is one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from transport_trio.models import EVERYBODY, Leave, News, Participant, PermissionsChange, Presence

# Ids of told leaves that are remembered, to mark a join as `again`; a busy room's last minutes.
DEPARTED_MAX = 256
# Connections of one person that are kept apart; nobody rejoins so often in half a minute.
CONNECTIONS_MAX = 8


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
    """What an answer, or a push, changes. `changed` tells whether listeners have something to learn."""

    present: tuple[Presence, ...]
    departed: tuple[str, ...]
    pushed_leaves: tuple[Leave, ...] = ()
    joined: tuple[Joined, ...] = ()
    left: tuple[Left, ...] = ()
    renamed: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.joined or self.left or self.renamed)


def observe(
    present: Sequence[Presence],
    departed: Sequence[str],
    seen: Sequence[Participant],
    at: datetime,
    confirm_s: float,
    *,
    pushed_leaves: Sequence[Leave] = (),
    grace_s: float = 0.0,
) -> Observation:
    """Compare a good answer of the provider, given at `at`, with what we held to be true."""
    recent = tuple(leave for leave in pushed_leaves if _within(grace_s, leave.at, at))
    over = {leave.id for leave in recent}
    here = _by_person([who for who in seen if who.id not in over])
    by_id = {who.id: person for person, connections in here.items() for who in connections}
    kept: list[Presence] = []
    left: list[Left] = []
    renamed = False
    for presence in present:
        # By connection first: a push can name a user that no answer knows.
        person = next((by_id[id_] for id_ in presence.ids if id_ in by_id), presence.participant.person)
        connections = here.pop(person, None)
        if connections is not None:
            found = _seen(presence, connections, at, grace_s)
            renamed = renamed or found.participant != presence.participant
            kept.append(found)
        elif presence.ejected:
            # Two witnesses: the provider's word that it put them out, and this answer.
            left.append(Left(participant=presence.participant, last_seen_at=presence.last_seen_at))
        elif presence.pushed_at is not None and _within(grace_s, presence.pushed_at, at):
            kept.append(presence)
        elif presence.missing_since is None:
            kept.append(attrs.evolve(presence, missing_since=at))
        elif _within(confirm_s, presence.missing_since, at):
            kept.append(presence)
        else:
            left.append(Left(participant=presence.participant, last_seen_at=presence.last_seen_at))

    joined = tuple(Joined(participant=whos[-1], again=whos[-1].id in departed) for whos in here.values())
    kept.extend(Presence(participant=whos[-1], last_seen_at=at, connections=_ids(whos)) for whos in here.values())
    gone = (*departed, *(leave.participant.id for leave in left))
    back = {join.participant.id for join in joined}
    return Observation(
        present=tuple(kept),
        departed=tuple(id_ for id_ in gone if id_ not in back)[-DEPARTED_MAX:],
        pushed_leaves=recent,
        joined=joined,
        left=tuple(left),
        renamed=renamed,
    )


def believe(
    present: Sequence[Presence],
    departed: Sequence[str],
    pushed_leaves: Sequence[Leave],
    news: News,
    at: datetime,
) -> Observation:
    """What is to be told, at `at`, of news that the provider pushed. They may come doubled and in any order."""
    before = Observation(present=tuple(present), departed=tuple(departed), pushed_leaves=tuple(pushed_leaves))
    if any(leave.id == news.participant.id for leave in pushed_leaves):
        return before  # it has left, and ids do not come back
    if news.came and news.participant.id in departed:
        return before  # late or doubled: answers have known it and missed it since, and tell of it if they were wrong
    return _came(before, news.participant, at) if news.came else _went(before, news, at)


def _came(before: Observation, who: Participant, at: datetime) -> Observation:
    present = list(before.present)
    for place, presence in enumerate(present):
        if who.id not in presence.ids and who.person != presence.participant.person:
            continue
        participant = _better_known(presence.participant, who)
        known = attrs.evolve(presence, participant=participant)
        if who.id not in presence.ids:
            connections = (*presence.ids, who.id)[-CONNECTIONS_MAX:]
            known = attrs.evolve(
                known,
                participant=attrs.evolve(participant, will_eject_at=who.will_eject_at),
                connections=connections,
                pushed_at=at,
                missing_since=None,
                connected_at=who.joined_at,
            )
        present[place] = known
        renamed = known.participant != presence.participant
        return attrs.evolve(before, present=tuple(present), renamed=renamed)
    present.append(Presence(participant=who, last_seen_at=at, connections=(who.id,), pushed_at=at))
    return attrs.evolve(before, present=tuple(present), joined=(Joined(participant=who, again=False),))


def _went(before: Observation, news: News, at: datetime) -> Observation:
    id_ = news.participant.id
    after = attrs.evolve(before, pushed_leaves=(*before.pushed_leaves, Leave(id=id_, at=at))[-DEPARTED_MAX:])
    present = list(before.present)
    for place, presence in enumerate(present):
        if id_ not in presence.ids:
            continue
        remaining = tuple(other for other in presence.ids if other != id_)
        if remaining:  # they have rejoined
            present[place] = attrs.evolve(presence, connections=remaining)
            return attrs.evolve(after, present=tuple(present))
        del present[place]
        left = Left(participant=presence.participant, last_seen_at=news.occurred_at)
        departed = (*before.departed, presence.participant.id)[-DEPARTED_MAX:]
        return attrs.evolve(after, present=tuple(present), departed=departed, left=(left,))
    return after


def mark_ejected(present: Sequence[Presence], participant_ids: Sequence[str]) -> tuple[Presence, ...]:
    """Those of these ids have been put out: one answer without them is enough."""
    return tuple(attrs.evolve(one, ejected=one.ejected or one.participant.id in participant_ids) for one in present)


def permit(present: Sequence[Presence], participant_id: str, change: PermissionsChange) -> tuple[Presence, ...]:
    """What they may do from now on: somebody, or with `*` everybody."""
    return tuple(
        attrs.evolve(one, participant=attrs.evolve(one.participant, permissions=change.of(one.participant.permissions)))
        if participant_id in (EVERYBODY, one.participant.id)
        else one
        for one in present
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


def _by_person(seen: Sequence[Participant]) -> dict[str, list[Participant]]:
    """The connections of each person, in order of joining: the newest counts, an older one is a ghost."""
    found: dict[str, list[Participant]] = {}
    for who in sorted(seen, key=lambda one: (one.joined_at, one.id)):
        connections = found.pop(who.person, [])
        found[who.person] = [*connections, who]
    return found


def _seen(presence: Presence, connections: Sequence[Participant], at: datetime, grace_s: float) -> Presence:
    participant = _better_known(presence.participant, connections[-1])
    ids = _ids(connections)
    connected_at = presence.connected_at
    if ids[-1] not in presence.ids:  # they have come anew: their token says what holds
        participant = attrs.evolve(participant, will_eject_at=None, permissions=connections[-1].permissions)
        connected_at = connections[-1].joined_at
    pushed_at = presence.pushed_at
    awaited = () if pushed_at is None or not _within(grace_s, pushed_at, at) else presence.ids
    unseen = tuple(id_ for id_ in awaited if id_ not in ids)
    return Presence(
        participant=participant,
        last_seen_at=at,
        connections=(*ids, *unseen)[-CONNECTIONS_MAX:],
        pushed_at=pushed_at if unseen else None,
        ejected=presence.ejected and ids[-1] == presence.provider_id,
        connected_at=connected_at,
    )


def _better_known(told: Participant, who: Participant) -> Participant:
    """Id, user and join time stay as they were told: who matches a leave with its join must not be misled."""
    return attrs.evolve(
        told,
        name=who.name or told.name,
        is_owner=told.is_owner if who.is_owner is None else who.is_owner,
        permissions=who.permissions or told.permissions,
        will_eject_at=who.will_eject_at or told.will_eject_at,
    )


def _ids(connections: Sequence[Participant]) -> tuple[str, ...]:
    return tuple(who.id for who in connections)[-CONNECTIONS_MAX:]


def _within(seconds: float, since: datetime, at: datetime) -> bool:
    return (at - since).total_seconds() < seconds
