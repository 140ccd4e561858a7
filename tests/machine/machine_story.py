"""What one session's events may tell, and in which order; folded as any reader of them would."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
from machine_provider import Look
from machine_service import SETTINGS

from transport_trio.events import EventType, RecordedEvent

CONFIRM = timedelta(seconds=SETTINGS.presence_confirm_s)
MS = timedelta(milliseconds=1)  # what the wire rounds away
# An inferred leave is dated by a "last seen" that is stored once a minute, with the next look, and lost in a crash.
SEEN_SLACK = timedelta(seconds=60 + SETTINGS.presence_poll_s)


def person_of(participant: dict[str, Any]) -> str:
    return f"user:{participant['user_id']}" if participant["user_id"] else f"id:{participant['id']}"


@attrs.define(eq=False)
class Story:
    """`inside` holds who was told to have come and not to have left, by person."""

    session_id: str
    room_name: str
    created_at: datetime
    ends_at: datetime
    inside: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    left_ids: set[str] = attrs.field(factory=set)
    anybody_came: bool = False
    token_told: list[EventType] = attrs.field(factory=list)
    token_expires_at: datetime | None = None
    unproved: list[RecordedEvent] = attrs.field(factory=list)  # leaves that only the session's end can explain
    since_change: list[EventType] = attrs.field(factory=list)  # joins and leaves, until `session_updated`
    status: str = "Created"
    last_time: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None

    def tell(self, event: RecordedEvent, body: dict[str, Any], looks: list[Look], now: datetime, unsure: bool) -> None:
        """With `unsure` the disk refused changes meanwhile, so that it is not known when somebody was last seen."""
        assert self.ended_at is None, f"{event.type} after the end"
        assert event.time <= now, f"{event.type} lies in the future"
        assert self.last_time is None or self.last_time <= event.time, f"{event.type} is older than the one before"
        self.last_time = event.time
        match event.type:
            case EventType.SESSION_CREATED:
                raise AssertionError("created twice")
            case EventType.PARTICIPANT_JOINED:
                self._joined(event, body, looks)
            case EventType.PARTICIPANT_LEFT:
                self._left(event, body, looks, SEEN_SLACK if not unsure else event.time - self.created_at)
            case EventType.SESSION_UPDATED:
                self._updated(body)
            case EventType.TOKEN_EXPIRING | EventType.TOKEN_EXPIRED:
                self._token(event, body)
            case EventType.SESSION_ENDED:
                self._ended(event, body)

    def at_rest(self) -> None:
        """What must hold when nothing is under way."""
        if self.ended_at is None:
            assert not self.unproved, f"left, but the provider did not say so: {self.unproved}"
            assert not self.since_change, "joins and leaves without a session_updated"

    def _joined(self, event: RecordedEvent, body: dict[str, Any], looks: list[Look]) -> None:
        who = body["participant"]
        person = person_of(who)
        assert person not in self.inside, f"{person} joined twice"
        assert any(look.people and who["id"] in look.people for look in looks), f"{person} was never named"
        assert body.get("again", False) == (who["id"] in self.left_ids)
        self.left_ids.discard(who["id"])
        self.inside[person] = who
        self.anybody_came = True
        self.since_change.append(event.type)

    def _left(self, event: RecordedEvent, body: dict[str, Any], looks: list[Look], slack: timedelta) -> None:
        who = body["participant"]
        person = person_of(who)
        assert self.inside.pop(person, None) == who, f"{person} left without having joined as such"
        self.left_ids.add(who["id"])
        self.since_change.append(event.type)
        good = [look for look in looks if look.people is not None and look.at <= event.time]
        named = [look.at for look in good if look.names(person)]
        assert named, f"{person} was never named"
        seen_at = datetime.fromisoformat(body["occurred_at"])
        assert named[-1] - slack <= seen_at <= named[-1] + MS, f"{person} was last seen {named[-1]}, not {seen_at}"
        missed = [look.at for look in good if look.at > named[-1]]
        if not missed or missed[-1] - missed[0] < CONFIRM:
            self.unproved.append(event)

    def _updated(self, body: dict[str, Any]) -> None:
        self.since_change.clear()
        self.status = body["status"]
        assert body["participants"] == list(self.inside.values())
        assert body["participants_total"] == len(self.inside)
        if self.status in {"Created", "Active"}:
            assert self.status == ("Active" if self.anybody_came else "Created")

    def _token(self, event: RecordedEvent, body: dict[str, Any]) -> None:
        assert event.type not in self.token_told, f"{event.type} told twice"
        assert EventType.TOKEN_EXPIRED not in self.token_told, "token_expiring after token_expired"
        self.token_told.append(event.type)
        self.token_expires_at = datetime.fromisoformat(body["expires_at"])
        early = timedelta(seconds=SETTINGS.token_warning_s if event.type is EventType.TOKEN_EXPIRING else 0)
        assert event.time >= self.token_expires_at - early, f"{event.type} too early"

    def _ended(self, event: RecordedEvent, body: dict[str, Any]) -> None:
        assert not self.inside, "ended with people inside"
        assert not self.since_change
        assert self.status == "Ended"
        assert all(leave.time == event.time for leave in self.unproved), "left, but the provider did not say so"
        self.ended_at, self.end_reason = event.time, body["reason"]
        assert self.end_reason in {"requested", "expired", "room_gone"}
        if self.end_reason == "expired":
            assert event.time >= self.ends_at, "expired too early"
