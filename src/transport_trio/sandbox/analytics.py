"""Daily's analytics: its meetings as JSON, as coarse as Daily's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transport_trio.sandbox.call import Participant
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.meetings import Meeting, until
from transport_trio.sandbox.operations import ApiRequest
from transport_trio.sandbox.paging import page_limit
from transport_trio.sandbox.refusals import ApiError, invalid

GRAIN_S = 15


def list_meetings(sandbox: Sandbox, request: ApiRequest) -> Any:
    query, now = request.query, _settled(sandbox, request)
    start, end = _time(query, "timeframe_start"), _time(query, "timeframe_end")
    ongoing = _flag(query, "ongoing")
    found = [
        one
        for one in sandbox.meetings.shown(now)
        if query.get("room") in {None, one.room}
        and (start is None or _coarse(one.began_at) >= start)
        and (end is None or _coarse(one.began_at) < end)
        and ongoing in {None, one.is_ongoing(now)}
    ]
    page = _page([one.id for one in found], query, "starting_after", "ending_before")
    shown = [_meeting(found[place], now, people=not _flag(query, "no_participants")) for place in page]
    return {"total_count": len(found), "data": shown}


def get_meeting(sandbox: Sandbox, request: ApiRequest) -> Any:
    now = _settled(sandbox, request)
    return _meeting(sandbox.meetings.get(request.path["id"], now), now, people=False)


def list_meeting_participants(sandbox: Sandbox, request: ApiRequest) -> Any:
    now = _settled(sandbox, request)
    recorded = sandbox.meetings.get(request.path["id"], now).recorded(now)
    page = _page([one.id for one in recorded], request.query, "joined_after", "joined_before")
    if not page:
        raise ApiError(404, "not-found", "no more participants")
    return {"data": [_visit(recorded[place], now) for place in page]}


def _settled(sandbox: Sandbox, request: ApiRequest) -> float:
    for room in sandbox.rooms.all():
        room.call.present(request.now)  # who is to be put out is put out when somebody looks
    return request.now


def _meeting(meeting: Meeting, now: float, *, people: bool) -> dict[str, Any]:
    recorded = meeting.recorded(now)
    end = max(until(one, now) for one in meeting.visits)
    shown: dict[str, Any] = {
        "id": meeting.id,
        "room": meeting.room,
        "start_time": _coarse(meeting.began_at),
        "duration": _length(meeting.began_at, end),
        "ongoing": meeting.is_ongoing(now),
        "max_participants": _most(recorded, now),
    }
    return shown | {"participants": [_visit(one, now) for one in recorded]} if people else shown


def _visit(who: Participant, now: float) -> dict[str, Any]:
    return {
        "user_id": who.user_id,
        "participant_id": who.id,
        "user_name": who.user_name,
        "join_time": _coarse(who.joined_at),
        "duration": _length(who.joined_at, until(who, now)),
    }


def _most(visits: Sequence[Participant], now: float) -> int:
    at_once = (sum(other.joined_at <= one.joined_at < until(other, now) for other in visits) for one in visits)
    return max(at_once, default=0)


def _coarse(at: float) -> int:
    return int(at // GRAIN_S) * GRAIN_S


def _length(start: float, end: float) -> int:
    return _coarse(end) - _coarse(start)


def _page(ids: Sequence[str], query: Mapping[str, str], after: str, before: str) -> range:
    """The places of the page that the query asks for."""
    limit = page_limit(query)
    start = _place(ids, query, after)
    if start is not None:
        return range(min(start + 1, len(ids)), min(start + 1 + limit, len(ids)))
    end = len(ids) if query.get(before) == "OLDEST" else _place(ids, query, before)
    return range(min(limit, len(ids))) if end is None else range(max(0, end - limit), end)


def _place(ids: Sequence[str], query: Mapping[str, str], name: str) -> int | None:
    cursor = query.get(name)
    if cursor is None:
        return None
    if cursor not in ids:
        raise invalid(f"{name} was '{cursor}' but should be an id from this list")
    return ids.index(cursor)


def _time(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise invalid(f"{name} was '{text}' but should be a number of seconds since the unix epoch")
    return int(text)


def _flag(query: Mapping[str, str], name: str) -> bool | None:
    text = query.get(name)
    if text not in {None, "true", "false"}:
        raise invalid(f"{name} was '{text}' but should be a boolean")
    return None if text is None else text == "true"
