"""What people did, and whether what was told of them agrees with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from drills.frame.report import Report
from drills.parts.provider_parts import utc_now


@attrs.frozen(kw_only=True)
class Pace:
    """How late presence is, and how long people stay away: a blink must not be told, an absence must."""

    sessions: int
    people: int
    for_s: float
    poll_s: float
    confirm_s: float
    lag_s: float
    ghost_s: float

    @property
    def blink_s(self) -> float:
        return self.confirm_s / 4

    @property
    def short_s(self) -> float:
        return self.confirm_s / 2  # a lie beside it makes it longer

    @property
    def absence_s(self) -> float:
        return self.lag_s + self.ghost_s + self.confirm_s + 4 * self.poll_s + 1.5

    @property
    def settings(self) -> dict[str, str]:
        return {"PRESENCE_POLL_S": f"{self.poll_s:g}", "PRESENCE_CONFIRM_S": f"{self.confirm_s:g}"}

    @property
    def sandbox_args(self) -> tuple[str, ...]:
        return ("--no-rate-limits", "--lag-s", f"{self.lag_s:g}", "--ghost-s", f"{self.ghost_s:g}")


@attrs.define
class Absence:
    """`back_at` is None as long as they are away."""

    left_at: datetime
    back_at: datetime | None = None

    def lasted_s(self) -> float:
        return ((self.back_at or utc_now()) - self.left_at).total_seconds()


@attrs.define
class Truth:
    """What people did. A person is a user id in a session; whoever brings none is a new person each time."""

    rooms: dict[str, str] = attrs.field(factory=dict)  # by session
    absences: dict[tuple[str, str], list[Absence]] = attrs.field(factory=dict)

    def comes(self, session_id: str, person: str) -> None:
        absences = self.absences.setdefault((session_id, person), [])
        if absences:
            absences[-1].back_at = utc_now()

    def goes(self, session_id: str, person: str) -> None:
        self.absences[session_id, person].append(Absence(utc_now()))


def check_leaves(report: Report, events: list[dict[str, Any]], truth: Truth, pace: Pace) -> None:
    """A leave was told for each absence that lasted, once, after it had begun; for none that was short; else for none.

    By measured times, since a busy machine draws short ones out.
    """
    leaves = [event for event in events if event["type"] == "participant_left"]
    false = []
    told: set[int] = set()
    for event in leaves:
        at = datetime.fromisoformat(event["time"])
        begun = [one for one in truth.absences.get(person_of(event), []) if one.left_at <= at]
        cause = next((one for one in reversed(begun) if one.lasted_s() >= pace.short_s and id(one) not in told), None)
        if cause is None:
            false.append(f"{person_of(event)} at {at}")
        told.add(id(cause))
    report.none("nobody was told to have left who had not", false, of=len(leaves))
    absences = [(person, one) for person, own in truth.absences.items() for one in own]
    missed = [person for person, one in absences if one.lasted_s() > pace.absence_s - 1 and id(one) not in told]
    report.none("everybody who left was told to have left", missed, of=len(absences))
    report.count("absences too short to be told", sum(one.lasted_s() < pace.short_s for _, one in absences))
    report.count("absences that had to be told", sum(one.lasted_s() > pace.absence_s - 1 for _, one in absences))


def check_joins(report: Report, events: list[dict[str, Any]], truth: Truth) -> None:
    joins = [event for event in events if event["type"] == "participant_joined"]
    unseen = truth.absences.keys() - {person_of(event) for event in joins}
    report.none("everybody was told to have come", unseen, of=len(truth.absences))
    inside: set[tuple[str, str]] = set()
    gone: set[tuple[str, str]] = set()
    doubles, bare = [], []
    for event in events:
        if event["type"] not in {"participant_left", "participant_joined"}:
            continue
        connection = (event["session_id"], event["participant"]["id"])
        if event["type"] == "participant_left":
            inside.discard(person_of(event))
            gone.add(connection)
            continue
        doubles += [event["id"]] if person_of(event) in inside else []
        bare += [event["id"]] if (connection in gone) is not event.get("again", False) else []
        inside.add(person_of(event))
    report.none("nobody was told to have come who was there", doubles, of=len(joins))
    report.none("a join under an id that had left says `again`, and no other", bare, of=len(joins))


def person_of(event: dict[str, Any]) -> tuple[str, str]:
    who = event["participant"]
    return event["session_id"], who["user_id"] or who["id"]


def inside_after(events: list[dict[str, Any]]) -> set[tuple[str, str]]:
    inside: set[tuple[str, str]] = set()
    for event in events:
        if event["type"] in {"participant_joined", "participant_left"}:
            inside ^= {(event["session_id"], event["participant"]["id"])}
    return inside
