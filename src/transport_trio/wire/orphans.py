"""Sweeps for rooms without a session as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transport_trio.models import Orphan, Sweep
from transport_trio.settings import Settings
from transport_trio.wire.out import timestamp
from transport_trio.wire.requests import Body, body_of

ORPHANS_MAX = 200


class SweepBody(Body, frozen=True):
    delete: bool = False


def sweep_body(data: bytes) -> SweepBody:
    """What kind of sweep is asked for.

    Raises:
        InvalidRequest: with the path of the first fault.
    """
    return body_of(data, SweepBody)


def orphans_answer(settings: Settings, sweeps: Sequence[Sweep], *, completed: int, running: bool) -> dict[str, Any]:
    """What is known of orphans: the latest sweep of each provider."""
    return {
        "mode": settings.orphan_sweep,
        "sweep_interval_s": settings.orphan_sweep_s,
        "grace_s": settings.orphan_grace_s,
        "running": running,
        "completed": completed,
        "sweeps": [_sweep(sweep) for sweep in sweeps],
    }


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "provider": sweep.provider,
        "started_at": timestamp(sweep.started_at),
        "finished_at": timestamp(sweep.finished_at),
        "delete": sweep.deletes,
        "failure": sweep.failure,
        "rooms_total": sweep.rooms,
        "foreign": sweep.foreign,
        "known": sweep.known,
        "left": {str(kind): count for kind, count in sweep.left().items()},
        "deleted": sweep.deleted,
        "orphans": [_orphan(orphan) for orphan in sweep.orphans[:ORPHANS_MAX]],
        "orphans_total": len(sweep.orphans),
    }


def _orphan(orphan: Orphan) -> dict[str, Any]:
    room = orphan.room
    return {
        "room_name": room.name,
        "kind": str(orphan.kind),
        "deleted": orphan.deleted,
        "created_at": timestamp(room.created_at) if room.created_at else None,
        "expires_at": timestamp(room.expires_at) if room.expires_at else None,
    }
