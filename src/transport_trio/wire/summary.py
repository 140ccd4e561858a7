"""A session's summary as JSON: for `GET /sessions/{id}/summary`, and shorter for its event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from transport_trio.models import Person, Session, Stay, Summary, Visit
from transport_trio.wire.timeform import timestamp

# Names of 128 characters can take 512 bytes each: so many fit into an event.
TOLD_MAX = 50


def summary_answer(session: Session, summary: Summary) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "status": session.status,
        "created_at": timestamp(session.created_at),
        "ended_at": timestamp(session.ended_at) if session.ended_at else None,
        **_totals(summary),
        "people": [
            _person(one, summary.until) | {"visits": [_stay(stay, summary.until) for stay in one.stays]}
            for one in summary.people
        ],
    }


def summary_told(summary: Summary) -> dict[str, Any]:
    """What the event has: everybody without their single visits."""
    return {**_totals(summary), "people": [_person(one, summary.until) for one in summary.people[:TOLD_MAX]]}


def _totals(summary: Summary) -> dict[str, Any]:
    return {
        "reconciled": summary.reconciled,
        "people_total": len(summary.people),
        "people_at_most": summary.people_at_most,
        "visits_dropped": summary.visits_dropped,
    }


def _person(one: Person, until: datetime) -> dict[str, Any]:
    lefts = [stay.visit.left_at for stay in one.stays]
    known = [left for left in lefts if left is not None]
    return {
        "user_id": one.user_id,
        "name": one.name,
        "first_joined_at": timestamp(one.stays[0].visit.joined_at),
        "last_left_at": timestamp(max(known)) if len(known) == len(lefts) else None,
        "duration_s": round(sum(_length_s(stay.visit, until) for stay in one.stays), 3),
    }


def _stay(stay: Stay, until: datetime) -> dict[str, Any]:
    shown = {"participant_id": stay.visit.ids[0], **_visit(stay.visit, until), "source": stay.account}
    sides = {"ours": stay.ours, "provider": stay.provider}
    return shown | {side: None if visit is None else _visit(visit, until) for side, visit in sides.items()}


def _visit(visit: Visit, until: datetime) -> dict[str, Any]:
    return {
        "joined_at": timestamp(visit.joined_at),
        "left_at": timestamp(visit.left_at) if visit.left_at else None,
        "duration_s": _length_s(visit, until),
    }


def _length_s(visit: Visit, until: datetime) -> float:
    return round(max(((visit.left_at or until) - visit.joined_at).total_seconds(), 0.0), 3)
