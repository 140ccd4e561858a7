"""Daily's account of who was in a room: its meetings, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.operations import LIST_MEETINGS
from transport_trio.connectors.daily.reading import NAME_MAX, BrokenAnswer, clean, short, unix_time
from transport_trio.models import Visit

# Daily's times are multiples of this, rounded in a way that nobody has written down.
GRAIN_S = 15
PAGE = 100
# A session has as many meetings as times that it was empty; more than this is somebody's misuse.
PAGES_MAX = 5


async def visits(client: DailyClient, room: str, start: datetime, end: datetime) -> tuple[Visit, ...] | None:
    """Everybody's visits; None while a meeting is still under way by Daily's account."""
    asked = {
        "room": room,
        "timeframe_start": str(int(start.timestamp()) - GRAIN_S),
        "timeframe_end": str(int(end.timestamp()) + GRAIN_S),
        "limit": str(PAGE),
    }
    found: list[Visit] = []
    for _ in range(PAGES_MAX):
        meetings = await client.call(LIST_MEETINGS, lambda answer: _meetings(answer.json), params=asked)
        if any(meeting.get("ongoing") is True for meeting in meetings):
            return None
        found.extend(visit for meeting in meetings for visit in _visits(meeting))
        last = short(meetings[-1].get("id")) if meetings else None
        if len(meetings) < PAGE or last is None:
            break
        asked["starting_after"] = last
    return tuple(sorted(found, key=lambda one: one.joined_at))


def _meetings(body: Any) -> list[dict[str, Any]]:
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise BrokenAnswer("it holds no list of meetings")
    return data


def _visits(meeting: dict[str, Any]) -> Iterator[Visit]:
    """The visits of a meeting; an entry without id or times is skipped, since it says nothing."""
    people = meeting.get("participants")
    for one in people if isinstance(people, list) else ():
        if not isinstance(one, dict):
            continue
        id_, joined_at, duration_s = (
            short(one.get("participant_id")),
            unix_time(one.get("join_time")),
            one.get("duration"),
        )
        known = isinstance(duration_s, (int, float)) and not isinstance(duration_s, bool) and 0 <= duration_s < 1e9
        if id_ is None or joined_at is None or not known:
            continue
        name = one.get("user_name")
        yield Visit(
            ids=(id_,),
            user_id=short(one.get("user_id")),
            name=clean(name, NAME_MAX) if isinstance(name, str) and name else None,
            joined_at=joined_at,
            left_at=joined_at + timedelta(seconds=float(duration_s or 0)),
        )
