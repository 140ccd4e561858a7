"""A provider that keeps a record of what it answered, and carries out late what it seemed to have lost."""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime, timedelta
from typing import Any

import attrs
import trio

from fakes_connector import FakeConnector, FakeRoom, trio_time
from transport_trio.errors import ConnectorError, ProviderRejected, ProviderTimeout, ProviderUnreachable, RoomNotFound
from transport_trio.models import News, Participant, Room, RoomPlan
from transport_trio.ports import Seen


def failure(kind: str) -> ConnectorError:
    return {
        "unreachable": ProviderUnreachable("daily", "down"),
        "refused": ProviderRejected("daily", 403, "no"),
        "lost": ProviderTimeout("daily", "no answer", in_doubt=True),
    }[kind]


@attrs.frozen
class Look:
    """An answer to "who is in the room?": `people` by id, with what tells persons apart; None: a failure."""

    at: datetime
    people: dict[str, str] | None
    code: str = "ok"

    def names(self, person: str) -> bool:
        return self.people is not None and person in self.people.values()


class Provider(FakeConnector):
    """Beside the record: scripted answers for one room, answers that take long, and requests that land late."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: defaultdict[str, list[Look]] = defaultdict(list)
        self.deleted: list[Room] = []  # by us
        self.answers_late_s = 0.0  # from the making of a room to its answer
        self.lands_late_s: float | None = None  # the next creation seems lost, and is carried out so much later
        self.persons: dict[str, str] = {}  # who somebody is, by connection
        self.happened: list[tuple[str, News]] = []  # all comings and goings, by room name, to be pushed or not
        self.pushed = 0  # of these, so many have been sent or are lost
        self.presence_lags_s = 0.0  # answers show who was there so long ago
        self._history: defaultdict[str, list[tuple[float, tuple[Participant, ...]]]] = defaultdict(list)
        self._scripts: defaultdict[str, deque[str]] = defaultdict(deque)
        self._landing: list[tuple[float, RoomPlan]] = []

    @property
    def rooms(self) -> dict[str, FakeRoom]:
        self._land()
        return super().rooms

    @property
    def troubled(self) -> bool:
        """Whether some answer to come will not be the truth at once."""
        return bool(
            any(self._failures.values())
            or self._always
            or any(self._delays.values())
            or self._pretended
            or any(self._scripts.values())
            or self.answers_late_s
            or self.lands_late_s is not None
            or self._landing
        )

    def script(self, room_name: str, *answers: str) -> None:
        """The next looks into this room are answered so: `empty`, `missing`, or a kind of failure."""
        self._scripts[room_name].extend(answers)

    def join(self, room_name: str, name: str | None = None, user_id: str | None = None) -> Participant:
        who = super().join(room_name, name, user_id)
        self.persons[who.id] = who.person
        self._happened(room_name, who, came=True)
        return who

    def leave(self, room_name: str, who: Participant | str) -> None:
        id_ = who if isinstance(who, str) else who.id
        person = self._rooms[room_name].people[id_]
        super().leave(room_name, id_)
        self._happened(room_name, person, came=False)

    def _happened(self, room_name: str, who: Participant, *, came: bool) -> None:
        """As it is pushed: with a user id made up for whoever has none, and more than answers tell."""
        room = self._rooms[room_name]
        self._history[room.room.provider_id or ""].append((trio.current_time(), tuple(room.people.values())))
        told = attrs.evolve(who, user_id=who.user_id or f"made-up-{who.id}", is_owner=False)
        self.happened.append((room_name, News(participant=told, came=came, occurred_at=trio_time())))

    def calm(self) -> None:
        """From now on everything is answered at once and with the truth."""
        self.recover()
        self._delays.clear()
        self._pretended.clear()
        self._scripts.clear()
        self.answers_late_s, self.lands_late_s = 0.0, None

    async def create_room(self, plan: RoomPlan) -> Room:
        if self.lands_late_s is not None:
            self._landing.append((trio.current_time() + self.lands_late_s, plan))
            self.lands_late_s = None
            await trio.lowlevel.checkpoint()
            raise failure("lost")
        room = await super().create_room(plan)
        await trio.sleep(self.answers_late_s)
        return room

    async def delete_room(self, name: str) -> None:
        await self._call("delete_room", name, lambda: self._delete(name))

    async def presence(self, room_name: str, *, fresh: bool = False) -> Seen:
        try:
            seen = await self._answer(room_name, fresh=fresh)
        except ConnectorError as exc:
            self.looks[room_name].append(Look(trio_time(), None, exc.code))
            raise
        named = {who.id: who.person for who in seen.participants}
        self.looks[room_name].append(Look(trio_time(), named))
        return seen

    async def _answer(self, room_name: str, *, fresh: bool) -> Seen:
        seen = await super().presence(room_name, fresh=fresh)
        if room_name not in self._pretended and self.presence_lags_s:
            seen = attrs.evolve(seen, participants=self._earlier(self._rooms[room_name].room))
        if not self._scripts[room_name]:
            return seen
        match self._scripts[room_name].popleft():
            case "empty":
                return attrs.evolve(seen, participants=())
            case "missing":
                raise RoomNotFound(self.name, room_name)
            case kind:
                raise failure(kind)

    def _earlier(self, room: Room) -> tuple[Participant, ...]:
        then = trio.current_time() - self.presence_lags_s
        known = [people for at, people in self._history[room.provider_id or ""] if at <= then]
        return known[-1] if known else ()

    def _delete(self, name: str) -> Any:
        if name in self.rooms:
            self.deleted.append(self._rooms.pop(name).room)

    def _land(self) -> None:
        """Carry out what was under way, as of the time it arrived."""
        now = trio.current_time()
        for at, plan in tuple(self._landing):
            if at > now:
                continue
            self._landing.remove((at, plan))
            if plan.name not in super().rooms:
                room = self._add(plan.name, plan.expires_at, plan)
                made = trio_time() - timedelta(seconds=now - at)
                self._rooms[plan.name].room = attrs.evolve(room, created_at=made.replace(microsecond=0))
