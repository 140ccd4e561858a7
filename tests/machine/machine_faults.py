"""What goes wrong around the callers, and how time passes: the rest of what can happen."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from machine_actions import LENGTHS, ROOMS, WHICH, Actions, action
from machine_client import Client
from machine_rig import World

from fakes_bus import Fate
from transport_trio.events import EventType
from transport_trio.hub import Filter, Subscription

LISTENERS_MAX = 4
SPANS = (0.4, 2.0, 7.0, 7.0, 16.0, 16.0, 16.0, 35.0, 70.0)
TYPES = (None, None, {EventType.PARTICIPANT_JOINED, EventType.PARTICIPANT_LEFT}, {EventType.SESSION_ENDED})
MOVES = st.lists(st.sampled_from(("pass", "pass", "thread")), max_size=12)


class Faults(Actions):
    """As `Actions`: what is not possible now does nothing."""

    # --- time

    @action("time", weight=4, seconds=st.sampled_from(SPANS))
    def time_passes(self, seconds: float) -> None:
        async def act(world: World) -> None:
            await world.pass_time(seconds)

        self.do(act)

    @action("time", seconds=st.sampled_from((4.0, 16.0, 16.0, 40.0, 130.0, 130.0, 90000.0)))
    def the_process_stands_still(self, seconds: float) -> None:
        async def act(world: World) -> None:
            await world.stand_still(seconds)

        self.do(act)

    @action("time")
    def all_is_well_for_long(self) -> None:
        async def act(world: World) -> None:
            world.provider.calm()
            world.bus_comes()
            if world.refusing:
                world.take_again()
            await world.pass_time(240.0)

        self.do(act)

    # --- the bus

    @action("bus", weight=3)
    def bus_goes_or_comes_back(self) -> None:
        self._on_world(lambda world: world.bus_goes() if world.bus_up else world.bus_comes())

    @action("bus", weight=4, fates=st.lists(st.sampled_from(Fate), min_size=1, max_size=5))
    def bus_loses_acks(self, fates: list[Fate]) -> None:
        self._on_world(lambda world: world.fates.extend(fates))

    @action("bus", weight=2)
    def late_copies_land(self) -> None:
        self._on_world(lambda world: world.bus.let_late_copies_land())

    @action("bus")
    def bus_is_wiped(self) -> None:
        self.do(World.wipe_bus)

    def _on_world(self, work: Any) -> None:
        async def act(world: World) -> None:
            work(world)

        self.do(act)

    # --- listeners

    def _filter(self, which: int, types: set[EventType] | None) -> Filter:
        ids = list(self.model.stories)
        chosen = None if which % 2 or not ids else frozenset({ids[which % len(ids)], ids[which // 2 % len(ids)]})
        return Filter(chosen, frozenset(types) if types else None)

    @action(
        "listeners",
        weight=2,
        how=st.sampled_from(("live", "after", "snapshot")),
        which=WHICH,
        types=st.sampled_from(TYPES),
    )
    def a_listener_comes(self, how: str, which: int, types: set[EventType] | None) -> None:
        after = len(self.model.log) * which // 11 if how == "after" else None
        wish = Subscription(filter=self._filter(which, types), after=after, snapshot=how == "snapshot")
        if len(self.world.clients) < LISTENERS_MAX:
            self._on_world(lambda world: world.listen(Client(wish)))

    def _at_client(self, who: int, work: Any) -> None:
        if clients := self.world.clients:
            self._on_world(lambda world: work(clients[who % len(clients)]))

    @action("listeners", who=WHICH)
    def a_listener_comes_back(self, who: int) -> None:
        self._at_client(who, self.world.come_back)

    @action("listeners", who=WHICH, which=WHICH, types=st.sampled_from(TYPES))
    def a_listener_changes_its_filter(self, who: int, which: int, types: set[EventType] | None) -> None:
        self._at_client(who, lambda client: client.subscribe(self._filter(which, types)))

    @action("listeners", who=WHICH)
    def a_listener_reads_or_pauses(self, who: int) -> None:
        self._at_client(who, Client.toggle)

    # --- the service and its disk

    @action("service", weight=2)
    def stop_or_start(self) -> None:
        self.do(World.stop if self.up else World.start)

    @action(
        "service",
        weight=3,
        busy=st.sampled_from(("nothing", "create", "create with key", "end", "start", "push", "token")),
        moves=MOVES,
        linger_s=st.sampled_from((0.0, 0.0, 0.004)),
        back=st.booleans(),
    )
    def crash(self, busy: str, moves: list[str], linger_s: float, back: bool) -> None:
        """In the middle of something, after some moves of the tasks; and begin anew at once, or later."""
        if not self.up:
            self.do(World.start)

        async def act(world: World) -> None:
            if busy == "start":
                await world.stop()
                await world.start()
            elif busy.startswith("create"):
                await self._create(ROOMS[len(moves) % 5], LENGTHS[2], "k3" if "key" in busy else None, 2)(world)
            elif busy == "end" and self.model.live:
                await self._end(self.model.live[0])(world)
            elif busy == "token" and self.model.live:
                await self._token(self.model.live[0], None)(world)
            elif busy == "push":
                for room, news in world.provider.happened[-3:]:
                    world.push(room, news)
            await world.scurry(moves)
            await world.crash(linger_s)
            if back:
                await world.start()

        self.do(act)

    @action("service")
    def disk_refuses_or_takes_again(self) -> None:
        self._on_world(lambda world: world.take_again() if world.refusing else world.refuse())
