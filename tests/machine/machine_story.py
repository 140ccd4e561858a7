"""What one session's events may tell, and in which order; folded as any reader of them would."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
from machine_pushes import Witnesses
from machine_service import SETTINGS
from machine_tokens import TOKEN_EVENTS, Tokens

from transport_trio.events import EventType, RecordedEvent, Source

# A provider's clock and ours may differ by this.
CLOCK_SLACK = timedelta(seconds=5)
# An inferred leave is dated by a "last seen" that is stored once a minute, with the next look, and lost in a crash.
SEEN_SLACK = timedelta(seconds=60 + SETTINGS.presence_poll_s)


def core(participant: dict[str, Any]) -> tuple[Any, ...]:
    """What stays as it was told; what somebody may do comes to be known later."""
    return participant["id"], participant["user_id"], participant["joined_at"]


@attrs.define(eq=False)
class Story:
    """`inside` holds who was told to have come and not to have left, by person."""

    session_id: str
    room_name: str
    created_at: datetime
    ends_at: datetime
    inside: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    left_ids: set[str] = attrs.field(factory=set)
    ever_left: set[str] = attrs.field(factory=set)  # also those who were told to be back
    anybody_came: bool = False
    tokens: Tokens = attrs.field(default=attrs.Factory(lambda self: Tokens(self.session_id), takes_self=True))
    unproved: list[RecordedEvent] = attrs.field(factory=list)  # leaves that only the session's end can explain
    since_change: list[EventType] = attrs.field(factory=list)  # joins and leaves, until `session_updated`
    status: str = "Created"
    last_time: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None

    def tell(self, event: RecordedEvent, body: dict[str, Any], known: Witnesses, now: datetime, unsure: bool) -> None:
        """With `unsure` the disk refused changes meanwhile, so that it is not known when somebody was last seen."""
        assert self.ended_at is None, f"{event.type} after the end"
        assert event.time <= now, f"{event.type} lies in the future"
        assert self.last_time is None or self.last_time <= event.time, f"{event.type} is older than the one before"
        self.last_time = event.time
        match event.type:
            case EventType.SESSION_CREATED:
                raise AssertionError("created twice")
            case EventType.PARTICIPANT_JOINED:
                self._joined(event, body, known)
            case EventType.PARTICIPANT_LEFT:
                self._left(event, body, known, SEEN_SLACK if not unsure else event.time - self.created_at)
            case EventType.SESSION_UPDATED:
                self._updated(body)
            case type_ if type_ in TOKEN_EVENTS:
                self.tokens.tell(event, body, self.ends_at)
            case EventType.SESSION_ENDED:
                self._ended(event, body)

    def at_rest(self) -> None:
        """What must hold when nothing is under way."""
        if self.ended_at is None:
            assert not self.unproved, f"left, but the provider did not say so: {self.unproved}"
            assert not self.since_change, "joins and leaves without a session_updated"

    def _joined(self, event: RecordedEvent, body: dict[str, Any], known: Witnesses) -> None:
        who = body["participant"]
        person = known.persons[who["id"]]
        assert person not in self.inside, f"{person} joined twice"
        known.check_join(who["id"], event.time, pushed=body["source"] == Source.WEBHOOK)
        joined_at = datetime.fromisoformat(who["joined_at"])
        assert joined_at >= self.created_at - CLOCK_SLACK, f"{person} was in an earlier room of that name"
        assert body.get("again", False) == (who["id"] in self.left_ids)
        self.left_ids.discard(who["id"])
        self.inside[person] = who
        self.anybody_came = True
        self.since_change.append(event.type)

    def _left(self, event: RecordedEvent, body: dict[str, Any], known: Witnesses, slack: timedelta) -> None:
        who = body["participant"]
        person = known.persons[who["id"]]
        inside = self.inside.pop(person, None)
        assert inside is not None, f"{person} left without having joined"
        assert core(inside) == core(who), f"{person} left as somebody else"
        self.left_ids.add(who["id"])
        self.ever_left.add(who["id"])
        self.since_change.append(event.type)
        occurred_at = datetime.fromisoformat(body["occurred_at"])
        if body["source"] == Source.WEBHOOK:
            known.check_pushed_leave(person, event.time, occurred_at)
        elif not known.inferred_leave_is_proved(person, event.time, occurred_at, slack):
            self.unproved.append(event)

    def _updated(self, body: dict[str, Any]) -> None:
        self.since_change.clear()
        self.status = body["status"]
        assert [core(who) for who in body["participants"]] == [core(who) for who in self.inside.values()]
        assert body["participants_total"] == len(self.inside)
        if self.status in {"Created", "Active"}:
            assert self.status == ("Active" if self.anybody_came else "Created")

    def _ended(self, event: RecordedEvent, body: dict[str, Any]) -> None:
        assert not self.inside, "ended with people inside"
        assert not self.since_change
        assert self.status == "Ended"
        assert all(leave.time == event.time for leave in self.unproved), "left, but the provider did not say so"
        self.ended_at, self.end_reason = event.time, body["reason"]
        assert self.end_reason in {"requested", "expired", "room_gone"}
        if self.end_reason == "expired":
            assert event.time >= self.ends_at, "expired too early"
