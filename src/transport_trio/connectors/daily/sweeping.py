"""All rooms of the domain, page by page, and the deletion of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.operations import DELETE_ROOMS, LIST_ROOMS, PRESENCE
from transport_trio.connectors.daily.reading import (
    BrokenAnswer,
    parse_deleted_count,
    parse_entries,
    parse_people,
    parse_room,
    short,
)
from transport_trio.models import Room
from transport_trio.ports import RoomPage

PAGE = "100"  # Daily's maximum


async def list_rooms(client: DailyClient, domain: str, after: str | None) -> RoomPage:
    params = {"limit": PAGE} if after is None else {"limit": PAGE, "starting_after": after}
    return await client.call(LIST_ROOMS, lambda answer: page_of(answer.json, domain), params=params)


async def delete_rooms(client: DailyClient, names: Sequence[str]) -> None:
    body = {"rooms": list(names)}
    await client.call(DELETE_ROOMS, lambda answer: parse_deleted_count(answer.json, len(names)), body=body)


async def count_people(client: DailyClient, room_name: str) -> int:
    return await client.call(PRESENCE, lambda answer: count_of(answer.json, answer.at), room=room_name)


def page_of(body: Any, domain: str) -> RoomPage:
    """A page of the list. Only an empty one is the end: Daily has no other sign of it.

    Raises:
        BrokenAnswer: there is no list, or nothing that the next page could be asked for with.
    """
    entries = parse_entries(body)
    last = short(entries[-1].get("id")) if entries and isinstance(entries[-1], dict) else None
    if entries and last is None:
        raise BrokenAnswer("its last room has no id, so the next page cannot be asked for")
    rooms = (_room(entry, domain) for entry in entries)
    return RoomPage(rooms=tuple(room for room in rooms if room is not None), entries=len(entries), after=last)


def count_of(body: Any, now: datetime) -> int:
    """How many people there may be: by the answer's own count, or those that it lists, whether they make sense or not.

    Raises:
        BrokenAnswer: there is no list of people.
    """
    people = parse_people(body, now)
    return max(people.listed, people.total)


def _room(entry: Any, domain: str) -> Room | None:
    """A room of the list; None for what is none, which cannot be ours."""
    try:
        return parse_room(entry, entry["name"], domain) if isinstance(entry["name"], str) else None
    except (BrokenAnswer, TypeError, KeyError):
        return None
