"""Who is in our rooms: asked for one by one while they are few, and with one question for all when they are many.

The question for all names only rooms with people, so it cannot tell an empty room from one that is gone. Rooms that
it has not named for long are therefore looked into one by one, in turn, by what is left of the request budget.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

import attrs
import trio

from transport_trio.concurrency import Seldom
from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.crowd import Crowd
from transport_trio.connectors.daily.domain import DomainLook, Everybody
from transport_trio.connectors.daily.operations import PRESENCE
from transport_trio.connectors.daily.reading import People, parse_list, parse_people
from transport_trio.errors import ConnectorError, ProviderRejected, ProviderThrottled, ProviderUnreachable, RoomNotFound
from transport_trio.metrics import Metrics
from transport_trio.ports import Seen

log = logging.getLogger(__name__)

# The part of Daily's request limit that may go into looks that come round by themselves, where rooms are many. The
# rest is for looks that somebody waits for.
SHARE = 0.5
# A room that has not been named for so many intervals is visited; those that have not been for longer come first.
VISIT_INTERVALS = 4
# A room that nobody has asked for for so long is nobody's any more.
WATCHED_INTERVALS = 2
# Where Daily has lifted its limit, too, visits shall not be what we are busy with.
VISITS_PER_S_MAX = 10.0
VISITS_AT_ONCE = 8
# Longer than pollers of a provider that is down stay away.
FORGET_S = 180.0


@attrs.define(eq=False)
class Room:
    asked_at: float
    # When Daily last named it or was asked for it. That we have just made it, or kept it from before, counts too.
    known_at: float
    # Daily has denied it. Who has said so once is asked for this room until it is settled.
    denied: bool = False


@attrs.define(eq=False, kw_only=True)
class Looking:
    """Looks into rooms for their pollers.

    Args:
        interval_s: between two looks of a poller.
        many: rooms, from which on one question is asked for all; 0: never.
    """

    client: DailyClient
    metrics: Metrics
    interval_s: float
    many: int
    _rooms: dict[str, Room] = attrs.field(factory=dict)  # the one that is known for longest is first
    _crowd: Crowd = attrs.field(init=False)
    _domain: DomainLook = attrs.field(init=False)
    # Odd presence data comes with every look into the room, until the people in it have left.
    _oddities: Seldom = attrs.field(factory=Seldom)

    def __attrs_post_init__(self) -> None:
        affordable = max(int(self._share_per_s * self.interval_s), 1)
        many = min(self.many, affordable) if self.many else math.inf
        self._crowd = Crowd(interval_s=self.interval_s, many=many)
        self._domain = DomainLook(client=self.client, interval_s=self.interval_s)

    async def look(self, room_name: str, *, fresh: bool) -> Seen:
        """Who is in the room. Many rooms share an answer that is at most an interval old, unless it must be `fresh`.

        Raises:
            RoomNotFound: there is none; found out later where rooms are many.
            ConnectorError: nobody knows.
        """
        room = self._note(room_name)
        is_many = self._crowd.note(room_name)
        self.metrics.presence_shared.labels(provider=self.client.provider).set(is_many)
        if not is_many:
            return await self._look_into(room_name, room)
        if fresh:
            try:
                return await self._look_into(room_name, room)
            except ProviderThrottled:
                # More rooms want to be looked into at once than may be: an older answer is better than none.
                if room.denied:
                    raise
        return await self._read(room_name, room, await self._domain.everybody())

    async def visit(self) -> None:
        """Look, one after the other, into rooms that are not named: some may be gone. Until cancelled.

        A room that is denied is asked for by its poller from then on.
        """
        every_s = 1 / min(self._share_per_s, VISITS_PER_S_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(every_s)
                # Whoever waits for a look comes first.
                is_free = len(nursery.child_tasks) < VISITS_AT_ONCE and self.client.expected_wait_s(PRESENCE) <= 0
                if is_free and (turn := self._whose_turn()) is not None:
                    nursery.start_soon(self._visit, *turn)

    async def _visit(self, room_name: str, room: Room) -> None:
        try:
            await self._look_into(room_name, room)
        except ConnectorError as exc:
            log.debug(
                "visit failed", extra={"provider": self.client.provider, "room_name": room_name, "error": str(exc)}
            )

    def _whose_turn(self) -> tuple[str, Room] | None:
        turn, now = next(iter(self._rooms.items()), None), trio.current_time()
        if turn is None or turn[1].known_at > now - VISIT_INTERVALS * self.interval_s:
            return None
        self._known(*turn)  # it is at the end of the line again, whatever comes of it
        room = turn[1]
        is_watched = room.asked_at > now - WATCHED_INTERVALS * self.interval_s  # its session has not ended
        return turn if self._crowd.is_many and is_watched and not room.denied else None

    async def _read(self, room_name: str, room: Room, everybody: Everybody) -> Seen:
        entries = everybody.rooms.get(room_name)
        if isinstance(entries, list):
            room.denied = False
            self._known(room_name, room)
            people = parse_list(entries, everybody.at)
            self._tell_oddities(room_name, people)
            return Seen(participants=people.participants, answered_at=everybody.answered_at)
        if room.denied or entries is not None:  # not a list: nonsense, of this room alone
            return await self._look_into(room_name, room)
        return Seen(participants=(), answered_at=everybody.answered_at)

    async def _look_into(self, room_name: str, room: Room) -> Seen:
        try:
            people = await self._people(room_name, None)
            if people.total > people.listed:
                # Whoever is not listed would be taken to have left.
                people = await self._all_people(room_name, people.total)
        except RoomNotFound:
            room.denied = True
            raise
        room.denied = False
        self._known(room_name, room)
        self._tell_oddities(room_name, people)
        return Seen(participants=people.participants, answered_at=trio.current_time())

    def _note(self, room_name: str) -> Room:
        now = trio.current_time()
        room = self._rooms.setdefault(room_name, Room(asked_at=now, known_at=now))
        room.asked_at = now
        while (first := next(iter(self._rooms.items())))[1].asked_at < now - FORGET_S:
            del self._rooms[first[0]]
        return room

    def _known(self, room_name: str, room: Room) -> None:
        """Its turn is over: to the end of the line, unless nobody has asked for it any more."""
        room.known_at = trio.current_time()
        if self._rooms.pop(room_name, None) is not None:
            self._rooms[room_name] = room

    @property
    def _share_per_s(self) -> float:
        limit = self.client.limits.default
        return limit.count / limit.period_s * SHARE

    async def _people(self, room_name: str, params: dict[str, str] | None) -> People:
        return await self.client.call(PRESENCE, _read_people, room=room_name, params=params)

    async def _all_people(self, room_name: str, total: int) -> People:
        try:
            return await self._people(room_name, {"limit": str(total)})
        except ProviderRejected as exc:
            if exc.status != HTTPStatus.BAD_REQUEST:
                raise
            # It is the limit that Daily refuses, not the room: better no news of it than half of the people.
            raise ProviderUnreachable(
                self.client.provider, f"{self.client.provider} names only some of {total} people"
            ) from exc

    def _tell_oddities(self, room_name: str, people: People) -> None:
        missing = max(people.total - people.listed, 0)
        if (not people.skipped and not missing) or not self._oddities.is_due():
            return
        log.warning(
            "presence makes no sense",
            extra={
                "provider": self.client.provider,
                "room_name": room_name,
                "skipped": people.skipped,
                "missing": missing,
            },
        )


def _read_people(answer: Answer) -> People:
    return parse_people(answer.json, answer.at)
