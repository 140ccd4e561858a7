"""The rooms of the domain: made, found, listed, changed and deleted as at Daily, expiry included."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from transport_trio.sandbox.call import Call, Happening
from transport_trio.sandbox.chance import chance, random_uuid
from transport_trio.sandbox.paging import page_of
from transport_trio.sandbox.properties import ROOM, merged
from transport_trio.sandbox.refusals import invalid, js_text, room_not_found, throttled
from transport_trio.sandbox.timeform import iso

MAX_NAME = 128
RANDOM_NAME = 20
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LETTERS = string.ascii_letters + string.digits


@attrs.define(eq=False, kw_only=True)
class Room:
    id: str
    name: str
    privacy: str
    created_at: float
    config: dict[str, Any]
    call: Call = attrs.field(factory=Call)

    @property
    def exp(self) -> float | None:
        return self.config.get("exp")

    def setting(self, name: str) -> Any:
        return self.config.get(name, ROOM[name].default)

    def is_expired(self, now: float) -> bool:
        return self.exp is not None and self.exp <= now


@attrs.frozen
class NewRoom:
    """A room that has been asked for and checked; without a name it gets a random one."""

    name: str | None
    privacy: str
    config: Mapping[str, Any]


def check_name(name: Any) -> str:
    """Raises:
    ApiError: no room can be called so.
    """
    if not isinstance(name, str):
        raise invalid(f"name was '{js_text(name)}' but should be a string")
    if not _NAME.fullmatch(name):
        raise invalid(f"{name} contains invalid characters (room names can contain A-Z, a-z, 0-9, '-', and '_')")
    if len(name) > MAX_NAME:
        raise invalid(f"{name} is too long (room names can have at most {MAX_NAME} characters)")
    return name


class Rooms:
    """All rooms by name; with a room goes the call in it.

    Plain synchronous code: of two creations with one name, one always comes first.
    """

    def __init__(self, seed: int | None, max_rooms: int, tell: Callable[[str, Happening], None]) -> None:
        self._by_name: dict[str, Room] = {}
        self._random = chance(seed, "rooms")
        self._max_rooms = max_rooms
        self._tell = tell  # of what happens in the room of this name

    def add(self, wanted: Sequence[NewRoom], now: float) -> list[Room]:
        """Make all of them or none.

        Raises:
            ApiError: a name is taken, here or twice in the list, or the domain is full.
        """
        taken: set[str] = set()
        for new in wanted:
            if new.name is None:
                continue
            if new.name in taken or self._living(new.name, now):
                raise invalid(f"a room named {new.name} already exists")
            taken.add(new.name)
        if len(self._by_name) + len(wanted) > self._max_rooms:
            raise throttled("domain has reached its maximum number of rooms", None)
        return [self._put(new, now) for new in wanted]

    def get(self, name: str, now: float) -> Room:
        """The room of this name.

        Raises:
            ApiError: there is none, or it has expired, which is the same from outside.
        """
        room = self._by_name.get(name)
        if room is None or room.is_expired(now):
            raise room_not_found(name)
        return room

    def find(self, name: str) -> Room | None:
        """The room of this name, even when it has expired and only waits to be collected."""
        return self._by_name.get(name)

    def remove(self, name: str, now: float) -> None:
        """Delete the room.

        Raises:
            ApiError: there is none; an expired one is gone afterwards, and the answer says so.
        """
        room = self._by_name.pop(name, None)
        if room is None:
            raise room_not_found(name)
        room.call.end(now)
        if room.is_expired(now):
            raise room_not_found(name, deleted=True)

    def remove_all(self, names: Sequence[str], now: float) -> int:
        """Delete all of them or none; how many went.

        Raises:
            ApiError: one of them does not exist.
        """
        rooms = {name: self.get(name, now) for name in names}
        for name, room in rooms.items():
            del self._by_name[name]
            room.call.end(now)
        return len(rooms)

    def collect(self, now: float, after_s: float) -> None:
        """Drop rooms whose `exp` passed so long ago, with the meetings that outlived it."""
        for name, room in list(self._by_name.items()):
            if room.exp is not None and room.exp + after_s <= now:
                del self._by_name[name]
                room.call.end(now)

    def all(self) -> list[Room]:
        return list(self._by_name.values())

    def page(self, query: Mapping[str, str], now: float) -> tuple[int, list[Room]]:
        """How many rooms there are, and the page of them that the query asks for, newest first.

        Raises:
            ApiError: a limit or a cursor makes no sense.
        """
        rooms = [room for room in self._by_name.values() if not room.is_expired(now)]
        return page_of(rooms, query, lambda room: (room.created_at, room.id), "a room")

    def _living(self, name: str, now: float) -> bool:
        room = self._by_name.get(name)
        return room is not None and not room.is_expired(now)

    def _put(self, new: NewRoom, now: float) -> Room:
        name = new.name
        while name is None or (new.name is None and name in self._by_name):
            name = "".join(self._random.choices(_LETTERS, k=RANDOM_NAME))
        config = merged({}, new.config, ROOM)
        if "sip" in config:
            number = "".join(self._random.choices(string.digits, k=12))
            config["sip_uri"] = {"endpoint": f"{number}@sip.daily.co", "extra_endpoints": []}
        room = Room(
            id=random_uuid(self._random),
            name=name,
            privacy=new.privacy,
            created_at=now,
            config=config,
            call=Call(partial(self._tell, name)),
        )
        if (expired := self._by_name.get(name)) is not None:
            expired.call.end(now)
        self._by_name[name] = room
        return room


def room_object(room: Room, url: str) -> dict[str, Any]:
    return {
        "id": room.id,
        "name": room.name,
        "api_created": True,
        "privacy": room.privacy,
        "url": url,
        "created_at": iso(room.created_at),
        "config": room.config,
    }
