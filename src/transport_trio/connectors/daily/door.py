"""What Daily pushes, as news in our words.

Whatever is well signed is taken, however odd it is: Daily gives up a webhook that refuses three times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from transport_trio.connectors.daily.capture_reading import PUSHED, pushed
from transport_trio.connectors.daily.reading import NAME_MAX, BrokenAnswer, clean, parse_json, short, unix_time
from transport_trio.connectors.daily.signature import check_signature
from transport_trio.errors import WebhookRefused
from transport_trio.models import News, Participant, Permissions, Push, PushKind
from transport_trio.setting_connectors import DAILY, variable

TEST = {"test": "test"}
JOINED, LEFT = "participant.joined", "participant.left"
# The closed set of labels; whatever else comes is "other".
TYPES = frozenset({JOINED, LEFT, *PUSHED})
# Of the latest pushes; Daily repeats within minutes.
REMEMBERED = 4096


@attrs.define(eq=False)
class DailyDoor:
    """Implements `ports.WebhookDoor`. `secrets` are those that Daily may sign with."""

    secrets: Sequence[bytes] = ()
    provider: str = DAILY
    _seen: OrderedDict[tuple[str, ...], None] = attrs.field(factory=OrderedDict)

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Push:
        if not self.secrets:
            # Who has a secret made by Daily learns it only after this test has been answered.
            if _is_test(body):
                return Push(kind=PushKind.TEST, type="test")
            hmac, url = (variable(self.provider, setting) for setting in ("webhook_hmac", "webhook_url"))
            raise WebhookRefused(f"no secret is known to check it with; set {hmac} or {url}")
        check_signature(self.secrets, headers, body, now)
        try:
            event = parse_json(body)
        except BrokenAnswer:
            return Push(kind=PushKind.UNREADABLE, type="other")
        if event == TEST:
            return Push(kind=PushKind.TEST, type="test")
        if not isinstance(event, dict):
            return Push(kind=PushKind.UNREADABLE, type="other")
        return self._push(event, now)

    def _push(self, event: Mapping[str, Any], now: datetime) -> Push:
        given = event.get("type")
        type_ = given if isinstance(given, str) and given in TYPES else "other"
        payload = event.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        room_name = short(payload.get("room")) or short(payload.get("room_name"))
        push = Push(kind=PushKind.OTHER, type=type_, room_name=room_name, sent_at=unix_time(event.get("event_ts")))
        if type_ in PUSHED:
            return self._of_capture(push, event, payload, now)
        if type_ == "other" or room_name is None:
            return push if type_ == "other" else attrs.evolve(push, kind=PushKind.UNREADABLE)
        who = _participant(payload, now) if type_ in {JOINED, LEFT} else None
        if self._is_repeated(event, type_, who):
            return attrs.evolve(push, kind=PushKind.DUPLICATE)
        if type_ not in {JOINED, LEFT}:
            return push
        if who is None:
            return attrs.evolve(push, kind=PushKind.UNREADABLE)
        occurred_at = who.joined_at if type_ == JOINED else _left_at(payload, who, push.sent_at or now)
        news = News(participant=who, came=type_ == JOINED, occurred_at=min(occurred_at, now))
        return attrs.evolve(push, kind=PushKind.NEWS, news=news)

    def _of_capture(self, push: Push, event: Mapping[str, Any], payload: Mapping[str, Any], now: datetime) -> Push:
        if self._is_repeated(event, push.type, None):
            return attrs.evolve(push, kind=PushKind.DUPLICATE)
        sent_at = min(push.sent_at or now, now)
        news = pushed(push.type, short(event.get("id")), payload, sent_at)
        if news is None:
            return attrs.evolve(push, kind=PushKind.UNREADABLE)
        return attrs.evolve(push, kind=PushKind.CAPTURE, capture=news)

    def _is_repeated(self, event: Mapping[str, Any], type_: str, who: Participant | None) -> bool:
        """Whether it has come before. A repeat may have another id: a connection comes and goes once."""
        id_ = short(event.get("id"))
        marks = [("id", id_)] if id_ is not None else []
        if who is not None:
            marks.append((type_, who.id))
        repeated = any(mark in self._seen for mark in marks)
        for mark in marks:
            self._seen[mark] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return repeated


def _is_test(body: bytes) -> bool:
    try:
        return bool(parse_json(body) == TEST)
    except BrokenAnswer:
        return False


def _participant(payload: Mapping[str, Any], now: datetime) -> Participant | None:
    id_ = short(payload.get("session_id"))
    if id_ is None:
        return None
    name, owner = payload.get("user_name"), payload.get("owner")
    return Participant(
        id=id_,
        user_id=short(payload.get("user_id")),
        name=clean(name, NAME_MAX) if isinstance(name, str) and name else None,
        joined_at=min(unix_time(payload.get("joined_at")) or now, now),
        is_owner=owner if isinstance(owner, bool) else None,
        permissions=_permissions(payload.get("permissions")),
        will_eject_at=unix_time(payload.get("will_eject_at")),
    )


def _permissions(given: Any) -> Permissions | None:
    if not isinstance(given, dict):
        return None
    send, admin = given.get("canSend"), given.get("canAdmin")
    if not isinstance(send, (bool, list)) or not isinstance(admin, (bool, list)):
        return None
    return Permissions(
        can_admin=bool(admin),
        can_send_video=send is True or (isinstance(send, list) and "video" in send),
        can_send_audio=send is True or (isinstance(send, list) and "audio" in send),
        can_send_screen_video=send is True or (isinstance(send, list) and "screenVideo" in send),
        can_send_screen_audio=send is True or (isinstance(send, list) and "screenAudio" in send),
    )


def _left_at(payload: Mapping[str, Any], who: Participant, otherwise: datetime) -> datetime:
    duration_s = payload.get("duration")
    if isinstance(duration_s, bool) or not isinstance(duration_s, (int, float)) or not 0 <= duration_s < 1e9:
        return otherwise.astimezone(UTC)
    return who.joined_at + timedelta(seconds=duration_s)
