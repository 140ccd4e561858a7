"""Creations as their callers know them, and what has become of them in the journal and at the provider."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs
import httpx

from drills.frame.report import Report

TTL_S, TTL_STEP_S = 7200, 100  # a session tells by its length which creation it came of


@attrs.define(eq=False)
class Creation:
    """One POST with its key; `status` is of the answer that came before the kill, 0 for none."""

    number: int
    name: str | None
    retried: int = 1
    status: int = 0
    session_id: str | None = None
    foreign_id: str | None = None
    ended: bool = False

    @property
    def key(self) -> str:
        return f"creation {self.number}"

    @property
    def body(self) -> dict[str, Any]:
        return {
            "provider": "daily",
            "room_config": {"name": self.name},
            "options": {"session_ttl_s": TTL_S + TTL_STEP_S * self.number},
        }


@attrs.frozen
class OtherUser:
    """Somebody else with the same account at the provider."""

    api_url: str
    api_key: str

    def take(self, creation: Creation, ttl_s: float | None) -> None:
        """Delete the creation's room, if there is one, and make another of that name."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        with httpx.Client(base_url=self.api_url, headers=headers, trust_env=False) as http:
            http.delete(f"/rooms/{creation.name}")
            properties = {} if ttl_s is None else {"exp": int(time.time() + ttl_s)}
            made = http.post("/rooms", json={"name": creation.name, "properties": properties}).raise_for_status()
        creation.foreign_id = made.json()["id"]


def check_creations(
    report: Report, made: Sequence[Creation], sessions: Sequence[dict[str, Any]], rooms: dict[str, dict[str, Any]]
) -> None:
    """Each creation has the sessions and the room that were promised to its caller, and no others."""
    count = Counter(creation_number(one) for one in sessions)
    retried = [one for one in made if one.retried and not one.foreign_id]
    others = [one for one in made if not one.retried]
    taken = [one for one in made if one.foreign_id]
    report.none("a repeated creation has exactly one session", _but(retried, count, {1}), of=len(retried))
    report.none("one that was not repeated has one or none", _but(others, count, {0, 1}), of=len(others))
    report.none("one whose name was taken has none", _but(taken, count, {0}), of=len(taken))
    touched = [one.name for one in taken if rooms.get(one.name or "", {}).get("id") != one.foreign_id]
    report.none("no room of somebody else was touched", touched, of=len(taken))
    early = {one.session_id for one in made if one.ended}
    wrong = [one["session_id"] for one in sessions if (one["status"] == "Ended") != (one["session_id"] in early)]
    report.none("sessions have ended that were ended, and no others", wrong, of=len(sessions))


def check_rooms(report: Report, sessions: Sequence[dict[str, Any]], rooms: Sequence[dict[str, Any]]) -> None:
    """Live sessions have their rooms, each its own, and of ended ones nothing is left."""
    ends = {room["name"]: room["config"].get("exp") for room in rooms}
    live = {one["room_name"]: one for one in sessions if one["status"] != "Ended"}
    report.none("no room is left without a session", ends.keys() - live.keys(), of=len(ends))
    report.none("no session is without its room", live.keys() - ends.keys(), of=len(live))
    strange = [
        name
        for name, one in live.items()
        if ends.get(name) != datetime.fromisoformat(one["session_expires_at"]).timestamp()
    ]
    report.none("every live session has its own room, and no older one", strange, of=len(live))
    ended = [one for one in sessions if one["status"] == "Ended"]
    owed = [one["session_id"] for one in ended if one["provider_cleanup"] != "done"]
    report.none("every end is whole, its room gone", owed, of=len(ended))


def creation_number(session: dict[str, Any]) -> int:
    """Which creation a session came of, told by its length."""
    times = (datetime.fromisoformat(session[name]) for name in ("created_at", "session_expires_at"))
    created, expires = times
    return round(((expires - created).total_seconds() - TTL_S) / TTL_STEP_S)


def _but(creations: Sequence[Creation], count: Counter[int], allowed: set[int]) -> list[str]:
    return [f"{one.key}: {count[one.number]}" for one in creations if count[one.number] not in allowed]
