"""What may be told of one session's meeting tokens, and what callers are answered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import attrs
from machine_rig import Call
from machine_service import SETTINGS

from transport_trio.errors import (
    Busy,
    ConnectorError,
    SessionHasEnded,
    StorageUnavailable,
    TokenNotFound,
)
from transport_trio.events import EventType, RecordedEvent
from transport_trio.models import Session
from transport_trio.sessions.grants import FORGET_S, grants_of
from transport_trio.sessions.tokens import Minted

WARNING = timedelta(seconds=SETTINGS.token_warning_s)
TOKEN_EVENTS = {
    EventType.TOKEN_CREATED,
    EventType.TOKEN_RENEWED,
    EventType.TOKEN_EXPIRING,
    EventType.TOKEN_EXPIRED,
}


@attrs.define
class Told:
    expires_at: datetime
    stages: list[EventType] = attrs.field(factory=list)  # of this end


@attrs.define(eq=False)
class Tokens:
    """By id. The first has the session's own, and nothing tells of its making."""

    first: str
    told: dict[str, Told] = attrs.field(factory=dict)
    made: list[str | None] = attrs.field(factory=list)  # for whom

    def tell(self, event: RecordedEvent, body: dict[str, Any], session_ends_at: datetime) -> None:
        id_, end = body["token_id"], datetime.fromisoformat(body["expires_at"])
        assert end <= session_ends_at, "a token outlives its session"
        if event.type is EventType.TOKEN_CREATED:
            assert id_ not in self.told, "a token created twice"
            assert id_ != self.first
            self.told[id_] = Told(end)
            self.made.append(body["participant_name"])
            return
        if id_ == self.first:
            self.told.setdefault(id_, Told(end))
        assert id_ in self.told, f"{event.type} of a token that nobody was told of"
        known = self.told[id_]
        if event.type is EventType.TOKEN_RENEWED:
            assert end >= known.expires_at, "renewed with an earlier end"
            self.told[id_] = known if end == known.expires_at else Told(end)
            return
        assert end == known.expires_at, f"{event.type} of another end"
        assert event.type not in known.stages, f"{event.type} told twice"
        assert EventType.TOKEN_EXPIRED not in known.stages, "token_expiring after token_expired"
        assert event.time >= end - (WARNING if event.type is EventType.TOKEN_EXPIRING else timedelta()), "too early"
        known.stages.append(event.type)

    def check(self, session: Session, now: datetime) -> None:
        """The session has those that were told, with the ends that were told."""
        there = {one.id: one.grant.expires_at for one in grants_of(session)}
        for id_, end in there.items():
            assert id_ == self.first or id_ in self.told, "a token that was not told"
            assert id_ not in self.told or self.told[id_].expires_at == end, "a token with an end that was not told"
        kept = {id_ for id_, told in self.told.items() if now < told.expires_at + timedelta(seconds=FORGET_S)}
        assert kept <= there.keys(), "a token is gone"

    def check_times(self, session: Session, now: datetime) -> None:
        """What is due by now has been told."""
        for one in grants_of(session):
            stages = self.told[one.id].stages if one.id in self.told else []
            if now >= one.grant.expires_at:
                assert EventType.TOKEN_EXPIRED in stages, "token_expired is not told in time"
            elif now >= one.grant.expires_at - WARNING:
                assert EventType.TOKEN_EXPIRING in stages, "token_expiring is not told in time"

    def check_numbers(self, calls: Iterable[Call]) -> None:
        """A request makes one token when it was answered with one, none when it was refused, else one at most."""
        assert len(set(self.made)) == len(self.made), "a request made two tokens"
        for call in calls:
            if call.kind == "token" and call.about["id"] == self.first:
                made = call.about["name"] in self.made
                assert made or not isinstance(call.answer, Minted), "answered with a token that was not told"
                assert not made or call.answer is None or isinstance(call.answer, Minted), "refused, and made"


def note_token(call: Call, tokens: Tokens, *, calm: bool, has_ended: bool) -> None:
    """Whether the answer to a request for a token, or a renewal, may be."""
    match call.answer:
        case Minted(granted=one):
            assert one.id in tokens.told, "answered before it was told"
            assert tokens.told[one.id].expires_at >= one.grant.expires_at, "an end that was not told"
        case SessionHasEnded():
            assert has_ended, "session_ended, but it has not"
        case ConnectorError() | StorageUnavailable():
            assert not calm, f"a token failed for no reason: {call.answer!r}"
        case TokenNotFound():
            assert call.about["token_id"] not in tokens.told, "token_not_found, but it was told"
        case Busy():
            pass
        case _:
            raise AssertionError(f"an answer that nobody may get: {call.answer!r}")
