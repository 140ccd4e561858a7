"""All that can happen, by name: `Actions` does it, and `GROUPS` says what to draw for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from hypothesis import strategies as st
from machine_driver import Driver
from machine_model import Model
from machine_provider import failure
from machine_rig import World

from fakes_connector import at
from transport_trio.models import ParticipantConfig, RoomConfig, SessionRequest, TokenRequest
from transport_trio.sessions import IdempotencyKey

SESSIONS_MAX = 6  # live at once: more would only make each step longer
PEOPLE = (None, "ada", "bob")
ROOMS = (None, None, None, "alpha", "beta")
# (session, token) in seconds; a warning comes 20 s before the token's end.
LENGTHS = ((30, 30), (70, 40), (300, 90), (1200, 600))
FAILURES = ("unreachable", "refused", "lost")
OPERATIONS = ("create_room", "find_room", "delete_room", "create_token", "presence")
WRONG = (
    ("empty",),
    ("empty", "empty"),
    ("empty", "empty", "empty"),
    ("empty", "unreachable", "missing"),
    ("missing",),
    ("missing", "missing", "missing"),
    ("unreachable", "unreachable"),
    ("refused", "refused", "refused"),
)
# How pushes come: those that have not yet, in order or not, all or only the newest; or the last few once more.
PUSHES = ("new", "new", "new", "reversed", "newest", "again", "again reversed", "odd")
OFTEN = st.sampled_from((True, True, False))
WHICH = st.integers(0, 11)


Action = TypeVar("Action", bound=Callable[..., None])
GROUPS: defaultdict[str, list[st.SearchStrategy[tuple[str, dict[str, Any]]]]] = defaultdict(list)


def action(group: str, *, weight: int = 1, **drawn: st.SearchStrategy[Any]) -> Callable[[Action], Action]:
    """Enter a method into its group; what is drawn never depends on what the service does, so stories repeat."""

    def enter(method: Action) -> Action:
        GROUPS[group] += [st.tuples(st.just(method.__name__), st.fixed_dictionaries(drawn))] * weight
        return method

    return enter


class Actions:
    """What is not possible now does nothing."""

    driver: Driver
    world: World
    model: Model
    attempts = 0

    def do(self, work: Any) -> Any:
        return self.driver.do(work)

    @property
    def up(self) -> bool:
        return self.world.service is not None

    def room(self, which: int, *, peopled: bool = False) -> str | None:
        """The name of some live session's room that is still there."""
        rooms = self.rooms
        names = [self.model.stories[session_id].room_name for session_id in self.model.live]
        names = [name for name in names if name in rooms and (rooms[name].people or not peopled)]
        return names[which % len(names)] if names else None

    @property
    def live_rooms(self) -> set[str]:
        return {self.model.stories[session_id].room_name for session_id in self.model.live}

    @property
    def rooms(self) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            return self.world.provider.rooms

        return self.driver.look(look)

    # --- callers

    def _create(self, room: str | None, lengths: tuple[int, int], key: str | None, variant: int) -> Any:
        self.attempts += 1
        name = f"{key} {variant}" if key else f"call {self.attempts}"
        if key:
            lengths, room = LENGTHS[variant], None
        request = SessionRequest(
            provider="daily",
            room_config=RoomConfig(name=room),
            participant_config=ParticipantConfig(name=name),
            session_ttl_s=lengths[0],
            token_ttl_s=lengths[1],
        )
        idempotency = IdempotencyKey(caller="c", key=key, fingerprint=name) if key else None

        async def send(world: World) -> None:
            about = {"name": name, "key": key, "room": room, "ttl": lengths[0], "token_ttl": lengths[1]}
            await world.call("create", lambda sessions: sessions.create(request, idempotency=idempotency), **about)

        return send

    @action("callers", weight=3, room=st.sampled_from(ROOMS), lengths=st.sampled_from(LENGTHS))
    def create(self, room: str | None, lengths: tuple[int, int]) -> None:
        self._call(self._create(room, lengths, None, 0))

    @action("callers", weight=2, key=st.sampled_from(("k1", "k2")), variant=st.sampled_from((1, 1, 1, 2)))
    def create_with_key(self, key: str, variant: int) -> None:
        self._call(self._create(None, LENGTHS[0], key, variant))

    @action("callers", key=st.sampled_from(("k1", "k2")), room=st.sampled_from(ROOMS))
    def create_twice_at_once(self, key: str, room: str | None) -> None:
        async def send(world: World) -> None:
            for work in (self._create(None, LENGTHS[0], key, 1),) * 2 + (self._create(room, LENGTHS[1], None, 0),):
                await work(world)

        self._call(send)

    def _call(self, send: Any) -> None:
        """Create, if the service is there and has not enough to do."""
        if not self.up:
            self.do(World.start)
        if len(self.model.live) < SESSIONS_MAX:
            self.do(send)

    def _end(self, session_id: str) -> Any:

        async def send(world: World) -> None:
            await world.call("end", lambda sessions: sessions.end(session_id), id=session_id)

        return send

    @action("callers", which=WHICH, times=st.sampled_from((1, 1, 2)))
    def end(self, which: int, times: int) -> None:
        """Also one that has ended."""
        self._end_one_of(list(self.model.stories), which, times)

    @action("callers", weight=3, which=WHICH, times=st.sampled_from((1, 1, 2)))
    def end_a_live_one(self, which: int, times: int) -> None:
        self._end_one_of(self.model.live, which, times)

    def _end_one_of(self, ids: list[str], which: int, times: int) -> None:
        async def send(world: World) -> None:
            for _ in range(times):
                await self._end(ids[which % len(ids)])(world)

        if self.up and ids:
            self.do(send)

    @action("callers", weight=3, which=WHICH, ttl_s=st.sampled_from((None, 25)))
    def make_a_token(self, which: int, ttl_s: int | None) -> None:
        if self.up and self.model.live:
            self.do(self._token(self.model.live[which % len(self.model.live)], ttl_s))

    def _token(self, session_id: str, ttl_s: int | None) -> Any:
        self.attempts += 1
        name = f"token {self.attempts}"
        # Of what is left of a session, a given length may be too much, and is refused then.
        ends_at = self.model.stories[session_id].ends_at
        request = TokenRequest(participant=ParticipantConfig(name=name))

        async def send(world: World) -> None:
            fits = ttl_s is not None and at(world.now + ttl_s + 1) < ends_at
            wish = attrs.evolve(request, ttl_s=ttl_s if fits else None)
            await world.call("token", lambda s: s.tokens.create(session_id, wish), id=session_id, name=name)

        return send

    @action("callers", weight=3, which=WHICH, token=WHICH, times=st.sampled_from((1, 1, 2)))
    def renew_a_token(self, which: int, token: int, times: int) -> None:
        """The first one, or a further one, also one that has expired."""
        live = self.model.live
        if not self.up or not live:
            return
        session_id = live[which % len(live)]
        ids = [session_id, *(id_ for id_ in self.model.stories[session_id].tokens.told if id_ != session_id)]
        id_ = ids[token % len(ids)]

        async def send(world: World) -> None:
            for _ in range(times):
                await world.call("renew", lambda s: s.tokens.renew(session_id, id_), id=session_id, token_id=id_)

        self.do(send)

    # --- people

    @action("people", weight=5, which=WHICH, user_id=st.sampled_from(PEOPLE), pushed=OFTEN)
    def somebody_joins(self, which: int, user_id: str | None, pushed: bool) -> None:
        """Whose old connection is still listed, if they were there before, and becomes a ghost."""
        if room := self.room(which):
            self._at_provider(lambda provider: provider.join(room, user_id=user_id))
            if pushed:
                self.pushes_come("new")

    @action("people", weight=3, which=WHICH, who=WHICH, pushed=OFTEN)
    def somebody_leaves(self, which: int, who: int, pushed: bool) -> None:
        if room := self.room(which, peopled=True):
            people = list(self.rooms[room].people)
            self._at_provider(lambda provider: provider.leave(room, people[who % len(people)]))
            if pushed:
                self.pushes_come("new")

    @action("people", weight=3, which=WHICH, who=WHICH, how=st.sampled_from(PUSHES))
    def somebody_rejoins(self, which: int, who: int, how: str) -> None:
        """The new connection comes before the old one is over."""
        if room := self.room(which, peopled=True):
            people = list(self.rooms[room].people.values())
            people = [one for one in people if one.user_id] or people
            old = people[who % len(people)]
            self._at_provider(lambda provider: provider.join(room, user_id=old.user_id))
            self._at_provider(lambda provider: provider.leave(room, old))
            self.pushes_come(how)

    @action("people", weight=4, how=st.sampled_from(PUSHES))
    def pushes_come(self, how: str) -> None:
        async def act(world: World) -> None:
            await self._push(world, how)

        self.do(act)

    async def _push(self, world: World, how: str) -> None:
        live, provider = self.live_rooms, world.provider
        new = provider.happened[provider.pushed :]
        if "again" in how:
            new = provider.happened[-4:]
        else:
            provider.pushed = len(provider.happened)
        if "reversed" in how:
            new = new[::-1]
        elif how == "newest":
            new = new[-1:]
        odd = [(room, None) for room in (*sorted(live), "elsewhere")] if how == "odd" else []
        for room, news in (*new, *odd):
            taken = world.push(room, news)
            assert taken in {room in live, None}, f"a push of room {room}: {taken}"
            await world.pass_time(0.01)

    # --- the provider

    def _at_provider(self, work: Any) -> None:
        async def act(world: World) -> None:
            work(world.provider)

        self.do(act)

    @action("provider", which=WHICH)
    def somebody_deletes_a_room(self, which: int) -> None:
        if room := self.room(which):
            self.model.dropped.add(self.rooms[room].room.provider_id)
            self._at_provider(lambda provider: provider.drop_room(room))

    @action("provider", name=st.sampled_from(("alpha", "beta")), lasts_s=st.sampled_from((30, 70, 1200)))
    def somebody_else_makes_a_room(self, name: str, lasts_s: int) -> None:
        if name not in self.rooms:

            async def act(world: World) -> None:
                ends_at = at(world.now + lasts_s).replace(microsecond=0)
                self.model.foreign.add(world.provider.add_foreign_room(name, ends_at).provider_id)

            self.do(act)

    @action(
        "provider",
        operation=st.sampled_from(OPERATIONS),
        kind=st.sampled_from(FAILURES),
        times=st.integers(1, 3),
        takes_effect=st.booleans(),
    )
    def provider_fails(self, operation: str, kind: str, times: int, takes_effect: bool) -> None:
        effect = takes_effect and kind == "lost"
        self._at_provider(lambda p: p.fail(operation, failure(kind), times=times, takes_effect=effect))

    @action("provider", operation=st.sampled_from(OPERATIONS), seconds=st.sampled_from((1.0, 9.0)))
    def provider_is_slow(self, operation: str, seconds: float) -> None:
        self._at_provider(lambda provider: provider.delay(operation, seconds))

    @action("provider", seconds=st.sampled_from((1.0, 9.0)))
    def provider_answers_late(self, seconds: float) -> None:
        def set_(provider: Any) -> None:
            provider.answers_late_s = seconds

        self._at_provider(set_)

    @action("provider", seconds=st.sampled_from((3.0, 50.0)))
    def a_creation_will_seem_lost(self, seconds: float) -> None:
        def set_(provider: Any) -> None:
            provider.lands_late_s = seconds

        self._at_provider(set_)

    @action("provider", weight=4)
    def provider_is_calm(self) -> None:
        self._at_provider(lambda provider: provider.calm())
