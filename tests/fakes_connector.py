"""A provider without a network, for tests on Trio's clock. It passes the contract tests of the real connectors.

connector = FakeConnector()
ada = connector.join("room", name="Ada", user_id="u1")
connector.fail("presence", ProviderUnreachable("daily", "down"), times=2)
connector.delay("create_room", 3.0)
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import attrs
import trio

from transport_trio.connectors.health import Health
from transport_trio.errors import (
    ConnectorError,
    NobodyInCall,
    ProviderRejected,
    RoomExists,
    RoomNotFound,
    UnknownProvider,
)
from transport_trio.models import (
    CaptureKind,
    CaptureLink,
    CaptureNews,
    CaptureOptions,
    Check,
    Participant,
    PermissionsChange,
    Room,
    RoomConfig,
    RoomPlan,
    TokenPlan,
    Visit,
)
from transport_trio.ports import RoomPage, Seen, TransportConnector

OPERATIONS = (
    *("create_room", "extend_room", "find_room", "delete_room", "create_token", "presence", "check"),
    *("eject", "update_permissions", "send_message", "visits"),
    *("start_capture", "update_capture", "stop_capture"),
    *("captures", "find_capture", "capture_link", "delete_capture"),
    *("list_rooms", "delete_rooms", "count_people"),
)
T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)


def trio_time() -> datetime:
    """A time of day that goes with Trio's clock; call it only inside `trio.run`."""
    return at(trio.current_time())


def at(moment: float) -> datetime:
    """The time of day at a moment of Trio's clock."""
    return EPOCH + timedelta(seconds=moment)


@attrs.define(eq=False)
class FakeRoom:
    room: Room
    plan: RoomPlan | None
    people: dict[str, Participant] = attrs.field(factory=dict)


@attrs.frozen
class Failure:
    error: ConnectorError
    takes_effect: bool


class FakeConnector:
    """Rooms, people, failures and delays as a test says.

    `calls` lists (operation, room name) in the order of their arrival, `tokens` the plans of minted tokens, `messages`
    what people were sent (room name, recipient, data), `banned` who cannot come back, `permitted` the latest change of
    somebody's permissions, `capture_calls` what was done to recordings, `recorded` what a room's list of them says.
    """

    def __init__(self, name: str = "daily", now: Callable[[], datetime] = trio_time) -> None:
        self._name = name
        self._now = now
        self._numbers = itertools.count(1)
        self._rooms: dict[str, FakeRoom] = {}
        self._failures: defaultdict[str, deque[Failure]] = defaultdict(deque)
        self._always: dict[str, Failure] = {}
        self._delays: dict[str, float] = {}
        self.recorded: defaultdict[str, list[CaptureNews]] = defaultdict(list)
        self.capture_calls: list[tuple[Any, ...]] = []
        self._pretended: dict[str, tuple[Participant, ...]] = {}
        self._shared: dict[str, Seen] = {}
        self._health = Health(name)
        self.fresh_looks = 0
        self.accounts: dict[str, tuple[Visit, ...] | None] = {}  # of who was there, by room name
        self.visits_asked: list[tuple[datetime, datetime]] = []
        self.page_rooms = 3
        self.calls: list[tuple[str, str]] = []
        self.tokens: list[TokenPlan] = []
        self.messages: list[tuple[str, str, dict[str, Any]]] = []
        self.banned: set[tuple[str, str]] = set()
        self.permitted: dict[tuple[str, str], PermissionsChange] = {}

    # --- the script ---

    @property
    def rooms(self) -> dict[str, FakeRoom]:
        """The rooms that are there, expired ones left out."""
        return {name: room for name, room in self._rooms.items() if not self._expired(room.room)}

    def add_foreign_room(
        self, name: str, expires_at: datetime | None = None, created_at: datetime | None = None
    ) -> Room:
        """A room that somebody else has made."""
        return self._add(name, expires_at, None, created_at)

    def drop_room(self, name: str) -> None:
        """Somebody else deletes the room."""
        del self._rooms[name]

    def join(self, room_name: str, name: str | None = None, user_id: str | None = None) -> Participant:
        """Somebody comes; their id is new for each join."""
        person = Participant(id=f"p{next(self._numbers)}", user_id=user_id, name=name, joined_at=self._now())
        self._rooms[room_name].people[person.id] = person
        return person

    def leave(self, room_name: str, who: Participant | str) -> None:
        del self._rooms[room_name].people[who if isinstance(who, str) else who.id]

    def pretend(self, room_name: str, people: Iterable[Participant] | None) -> None:
        """Have `presence` name these, ghosts or latecomers, whoever is there; None: the truth again."""
        if people is None:
            self._pretended.pop(room_name, None)
        else:
            self._pretended[room_name] = tuple(people)

    def fail(self, operation: str, error: ConnectorError, *, times: int | None = 1, takes_effect: bool = False) -> None:
        """Raise `error` from the next calls (`times=None`: from all until `recover`).

        With `takes_effect` the call does its work first, as when its answer is lost.
        """
        assert operation in OPERATIONS, operation
        failure = Failure(error, takes_effect)
        if times is None:
            self._always[operation] = failure
        else:
            self._failures[operation].extend([failure] * times)

    def recover(self, operation: str | None = None) -> None:
        """No failures any more, of one operation or of all."""
        for each in OPERATIONS if operation is None else (operation,):
            self._failures.pop(each, None)
            self._always.pop(each, None)

    def delay(self, operation: str, delay_s: float) -> None:
        """Let each call take so long; it takes effect at the end."""
        assert operation in OPERATIONS, operation
        self._delays[operation] = delay_s

    def count(self, operation: str) -> int:
        return sum(called == operation for called, _ in self.calls)

    # --- the port ---

    @property
    def name(self) -> str:
        return self._name

    @property
    def managed_token_options(self) -> frozenset[str]:
        return frozenset({"exp"})

    @property
    def managed_options(self) -> frozenset[str]:
        return frozenset({"exp"})

    @property
    def managed_capture_options(self) -> frozenset[str]:
        return frozenset({"videoBitrate", "instanceId"})

    def dry_run(self, room: RoomPlan, token: TokenPlan) -> dict[str, Any]:
        end = int(token.expires_at.timestamp())
        return {
            "room": {"name": room.name, "properties": dict(room.provider_options)},
            "token": {"body": {"properties": {"room_name": token.room_name, "exp": end}}, "claims": {"exp": end}},
        }

    async def create_room(self, plan: RoomPlan) -> Room:
        return await self._call("create_room", plan.name, lambda: self._create(plan))

    async def find_room(self, name: str) -> Room | None:
        def find() -> Room | None:
            found = self.rooms.get(name)
            return found.room if found else None

        try:
            return await self._call("find_room", name, find)
        except RoomNotFound:
            return None

    async def extend_room(self, name: str, expires_at: datetime) -> Room:
        def extend() -> Room:
            if name not in self.rooms:
                raise RoomNotFound(self._name, name)
            found = self._rooms[name]
            found.room = attrs.evolve(found.room, expires_at=expires_at)
            return found.room

        return await self._call("extend_room", name, extend)

    async def delete_room(self, name: str) -> bool:
        try:
            return await self._call("delete_room", name, lambda: self._rooms.pop(name, None) is not None)
        except RoomNotFound:
            return False

    async def list_rooms(self, after: str | None) -> RoomPage:
        def page() -> RoomPage:
            rooms = sorted((one.room for one in self.rooms.values()), key=_newest_first)
            places = {room.provider_id: place for place, room in enumerate(rooms)}
            if after is not None and after not in places:
                raise ProviderRejected(self._name, 400, f"starting_after was '{after}'")
            start = 0 if after is None else places[after] + 1
            found = tuple(rooms[start : start + self.page_rooms])
            return RoomPage(rooms=found, entries=len(found), after=found[-1].provider_id if found else None)

        return await self._call("list_rooms", after or "", page)

    async def delete_rooms(self, names: Sequence[str]) -> None:
        def delete() -> None:
            if missing := [name for name in names if name not in self.rooms]:
                raise ProviderRejected(self._name, 404, f"room {missing[0]} not found")
            for name in names:
                del self._rooms[name]

        await self._call("delete_rooms", ",".join(names), delete)

    async def count_people(self, room_name: str) -> int:
        return await self._call("count_people", room_name, lambda: len(self._look(room_name).participants))

    async def create_token(self, plan: TokenPlan) -> str:
        def mint() -> str:
            if plan.expires_at <= self._now():
                raise ProviderRejected(self._name, 400, "exp is in the past")
            self.tokens.append(plan)
            return f"token-{len(self.tokens)}"

        return await self._call("create_token", plan.room_name, mint)

    async def presence(self, room_name: str, *, fresh: bool = False) -> Seen:
        self.fresh_looks += fresh
        shared = None if fresh else self._shared.get(room_name)
        return await self._call("presence", room_name, lambda: shared or self._look(room_name))

    def share(self) -> None:
        """Answer looks that need not be fresh with what is true of all rooms now, until `share` is called again."""
        self._shared = {name: self._look(name) for name in self.rooms}

    def _look(self, room_name: str) -> Seen:
        if room_name not in self.rooms:
            raise RoomNotFound(self._name, room_name)
        people = self._pretended.get(room_name, tuple(self._rooms[room_name].people.values()))
        return Seen(participants=people, answered_at=trio.current_time())

    async def eject(
        self, room_name: str, *, participant_ids: Sequence[str], user_ids: Sequence[str], ban: bool
    ) -> tuple[str, ...]:
        def put_out() -> tuple[str, ...]:
            people = self._call_in(room_name)
            gone = [one for one in people.values() if one.id in participant_ids or one.user_id in user_ids]
            for one in gone:
                del people[one.id]
            if ban:
                self.banned |= {(room_name, one.user_id) for one in gone if one.user_id}
            return tuple(one.id for one in gone)

        return await self._call("eject", room_name, put_out)

    async def update_permissions(
        self, room_name: str, participant_id: str, change: PermissionsChange, config: RoomConfig
    ) -> None:
        def permit() -> None:
            for id_ in self._call_in(room_name):
                if participant_id in {"*", id_}:
                    self.permitted[room_name, id_] = change

        await self._call("update_permissions", room_name, permit)

    async def send_message(self, room_name: str, recipient: str, data: dict[str, Any]) -> None:
        def send() -> None:
            self._call_in(room_name)
            self.messages.append((room_name, recipient, data))

        await self._call("send_message", room_name, send)

    async def start_capture(self, room_name: str, kind: CaptureKind, instance_id: str, options: CaptureOptions) -> None:
        await self._in_call("start_capture", room_name, instance_id, options)

    async def update_capture(
        self, room_name: str, kind: CaptureKind, instance_id: str | None, options: CaptureOptions
    ) -> None:
        await self._in_call("update_capture", room_name, instance_id, options)

    async def stop_capture(self, room_name: str, kind: CaptureKind, instance_id: str | None) -> None:
        await self._in_call("stop_capture", room_name, instance_id)

    async def captures(self, room: Room, kind: CaptureKind) -> tuple[CaptureNews, ...]:
        return await self._call(
            "captures", room.name, lambda: tuple(one for one in self.recorded[room.name] if one.kind is kind)
        )

    async def find_capture(self, kind: CaptureKind, provider_id: str) -> CaptureNews | None:
        return await self._call("find_capture", "", lambda: self._recording(provider_id))

    async def capture_link(self, kind: CaptureKind, provider_id: str, valid_for_s: int | None) -> CaptureLink | None:
        def link() -> CaptureLink | None:
            expires_at = self._now() + timedelta(seconds=valid_for_s or 3600)
            found = self._recording(provider_id)
            return found and CaptureLink(url=f"https://files.example/{provider_id}", expires_at=expires_at)

        return await self._call("capture_link", "", link)

    async def delete_capture(self, kind: CaptureKind, provider_id: str) -> bool:
        def delete() -> bool:
            found = self._recording(provider_id)
            for listed in self.recorded.values():
                listed[:] = [one for one in listed if one.provider_id != provider_id]
            return found is not None

        return await self._call("delete_capture", "", delete)

    def _recording(self, provider_id: str) -> CaptureNews | None:
        everything = (one for listed in self.recorded.values() for one in listed)
        return next((one for one in everything if one.provider_id == provider_id), None)

    async def _in_call(self, operation: str, room_name: str, *what: Any) -> None:
        def note() -> None:
            self._call_in(room_name)
            self.capture_calls.append((operation, room_name, *what))

        await self._call(operation, room_name, note)

    async def visits(self, room_name: str, start: datetime, end: datetime) -> tuple[Visit, ...] | None:
        self.visits_asked.append((start, end))
        return await self._call("visits", room_name, lambda: self.accounts.get(room_name, ()))

    async def check(self) -> datetime | None:
        return await self._call("check", "", self._now)

    def health(self) -> Check:
        return self._health.check()

    # --- inside ---

    async def _call(self, operation: str, room_name: str, work: Callable[[], T]) -> T:
        self.calls.append((operation, room_name))
        await trio.sleep(self._delays.get(operation, 0.0))
        queue = self._failures[operation]
        failure = queue.popleft() if queue else self._always.get(operation)
        if failure is None or failure.takes_effect:
            result = work()
        if failure is not None:
            self._health.ill(str(failure.error))
            raise failure.error
        self._health.well()
        return result

    def _call_in(self, room_name: str) -> dict[str, Participant]:
        if room_name not in self.rooms:
            raise RoomNotFound(self._name, room_name)
        people = self._rooms[room_name].people
        if not people:
            raise NobodyInCall(self._name, room_name)
        return people

    def _create(self, plan: RoomPlan) -> Room:
        if plan.name in self.rooms:
            raise RoomExists(plan.name)
        return self._add(plan.name, plan.expires_at, plan)

    def _add(
        self, name: str, expires_at: datetime | None, plan: RoomPlan | None, created_at: datetime | None = None
    ) -> Room:
        room = Room(
            name=name,
            url=f"https://fake.example/{name}",
            provider_id=f"r{next(self._numbers)}",
            expires_at=expires_at,
            created_at=created_at or self._now().replace(microsecond=0),
            metadata={"name": name},
        )
        self._rooms[name] = FakeRoom(room, plan)
        return room

    def _expired(self, room: Room) -> bool:
        return room.expires_at is not None and room.expires_at <= self._now()


def _newest_first(room: Room) -> tuple[float, str]:
    assert room.created_at is not None
    assert room.provider_id is not None
    return -room.created_at.timestamp(), room.provider_id


@attrs.frozen
class OneConnector:
    connector: FakeConnector

    @property
    def names(self) -> tuple[str, ...]:
        return (self.connector.name,)

    def get(self, provider: str) -> TransportConnector:
        if provider != self.connector.name:
            raise UnknownProvider(provider, self.names)
        return self.connector
