"""The pure part of a summary: visits kept as they end, and put together with the provider's account (ADR 0086)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

import attrs

from transport_trio.models import Participant, Person, Presence, Reconciled, Session, Stay, Summary, Visit
from transport_trio.sessions.presence import Joined, Left

# Each change of a session stores all of it: with usual names, these are some 40 KiB of it.
VISITS_MAX = 200
# The provider's account is asked for this long, and then given up.
GIVE_UP_S = 3600.0
# The provider's times may be so far from ours, and nobody be wrong.
GRAIN_S = 15.0


def note(
    session: Session, present: Sequence[Presence], joined: Iterable[Joined], left: Iterable[Left], *, exact: bool
) -> Session:
    """The session with the visits that have just ended; `present` are those who are there now."""
    before = {one.participant.id: one for one in session.present}
    back = {join.participant.id for join in joined if join.again}
    kept = [visit for visit in session.visits if visit.ids[0] not in back]
    kept.extend(
        _ended(leave.participant, before.get(leave.participant.id), leave.last_seen_at, exact) for leave in left
    )
    over = max(len(kept) - VISITS_MAX, 0)
    return attrs.evolve(
        session,
        visits=tuple(kept[over:]),
        visits_dropped=session.visits_dropped + over,
        people_at_most=max(session.people_at_most, len(present)),
    )


def summary_of(session: Session, now: datetime) -> Summary:
    """Who was there, when and how long: so far, or finally."""
    until = session.ended_at or now
    present = tuple(_ended(one.participant, one, None, exact=False) for one in session.present)
    stays = merged((*session.visits, *present), session.provider_visits, until)
    by_person: dict[tuple[str, str], list[Stay]] = {}
    for stay in sorted(stays, key=lambda one: one.visit.joined_at):
        visit = stay.visit
        person = (
            ("user", visit.user_id) if visit.user_id else ("name", visit.name) if visit.name else ("id", visit.ids[0])
        )
        by_person.setdefault(person, []).append(stay)
    people = tuple(
        Person(
            user_id=stays[0].visit.user_id,
            name=next((one.visit.name for one in stays if one.visit.name), None),
            stays=tuple(stays),
        )
        for stays in by_person.values()
    )
    at_most = max(session.people_at_most, _at_once([stay.visit for stay in stays], until))
    return Summary(
        people=people,
        people_at_most=at_most,
        visits_dropped=session.visits_dropped,
        reconciled=_reconciled(session, now),
        until=until,
    )


def merged(ours: Sequence[Visit], theirs: Sequence[Visit], until: datetime) -> list[Stay]:
    """Each visit once. They are one when they share a connection, or else are of the same user at the same time."""
    of: dict[int, list[Visit]] = {place: [] for place in range(len(ours))}
    remaining = list(theirs)
    for same in (_share_connection, partial(_overlap, until=until)):
        left: list[Visit] = []
        for visit in remaining:
            place = next((place for place, known in enumerate(ours) if same(known, visit)), None)
            (left if place is None else of[place]).append(visit)
        remaining = left
    stays = []
    for place, visit in enumerate(ours):
        provider = _joined_up(of[place]) if of[place] else None
        known = visit if provider is None else _merge(visit, provider, until)
        stays.append(Stay(visit=known, ours=visit, provider=provider))
    stays.extend(Stay(visit=attrs.evolve(one, left_at=_earlier(one.left_at, until)), provider=one) for one in remaining)
    return stays


def belongs(session: Session, visit: Visit) -> bool:
    """Whether the provider's visit is of this session, and not of another one in a room of the same name."""
    end = session.ended_at or session.expires_at
    return (visit.left_at or end) > session.created_at and visit.joined_at < end


def account_stored(session: Session, theirs: Sequence[Visit]) -> Session:
    """The session with the provider's account, as much of it as is kept."""
    ours = tuple(one for one in theirs if belongs(session, one))
    return attrs.evolve(session, provider_visits=ours[-VISITS_MAX:], reconciled=Reconciled.DONE)


def _reconciled(session: Session, now: datetime) -> Reconciled:
    if session.ended_at is None:
        return Reconciled.PENDING
    if session.reconciled is None:
        return Reconciled.UNAVAILABLE
    given_up = (now - session.ended_at).total_seconds() > 2 * GIVE_UP_S
    return Reconciled.UNAVAILABLE if session.reconciled is Reconciled.PENDING and given_up else session.reconciled


def _ended(who: Participant, presence: Presence | None, left_at: datetime | None, exact: bool) -> Visit:
    ids = dict.fromkeys((who.id, *(presence.ids if presence is not None else ())))
    left = None if left_at is None else max(left_at, who.joined_at)
    return Visit(ids=tuple(ids), user_id=who.user_id, name=who.name, joined_at=who.joined_at, left_at=left, exact=exact)


def _share_connection(ours: Visit, theirs: Visit) -> bool:
    return not set(ours.ids).isdisjoint(theirs.ids)


def _overlap(ours: Visit, theirs: Visit, until: datetime) -> bool:
    """Whether it is one user, who may have rejoined meanwhile under an id that we did not keep."""
    together = theirs.joined_at < (ours.left_at or until) and ours.joined_at < (theirs.left_at or until)
    return ours.user_id is not None and ours.user_id == theirs.user_id and together


def _joined_up(visits: Sequence[Visit]) -> Visit:
    ids = dict.fromkeys(id_ for visit in visits for id_ in visit.ids)
    joined_at = min(visit.joined_at for visit in visits)
    return attrs.evolve(
        visits[0], ids=tuple(ids), joined_at=joined_at, left_at=max(visit.left_at or joined_at for visit in visits)
    )


def _merge(ours: Visit, theirs: Visit, until: datetime) -> Visit:
    joined_at = ours.joined_at
    if (joined_at - theirs.joined_at).total_seconds() > GRAIN_S:
        joined_at = theirs.joined_at
    left_at = ours.left_at
    if left_at is not None and theirs.left_at is not None and not ours.exact:
        # We know when somebody was last seen; the provider, when they were gone.
        left_at = _earlier(max(left_at, theirs.left_at), until)
    return attrs.evolve(ours, joined_at=joined_at, left_at=left_at, name=ours.name or theirs.name)


def _earlier(at: datetime | None, until: datetime) -> datetime:
    return until if at is None else min(at, until)


def _at_once(visits: Sequence[Visit], until: datetime) -> int:
    """The most that were there together. Who comes at the second at which somebody goes is not together with them."""
    changes = [(visit.joined_at, 1) for visit in visits] + [(visit.left_at or until, -1) for visit in visits]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
