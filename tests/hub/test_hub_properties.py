"""Whatever happens in whatever order: nothing is missed, nothing comes twice, nothing makes us stumble."""

from __future__ import annotations

import json
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from fakes_hub import Ear, Rig, open_rig
from transport_trio.errors import BadMessage
from transport_trio.events import EventType, RecordedEvent
from transport_trio.hub import Conversation, Filter, Subscription
from transport_trio.wire import socket as wire

SESSIONS = ("a", "b", "c")
TYPES = (EventType.PARTICIPANT_JOINED, EventType.SESSION_UPDATED)

filters = st.builds(
    Filter,
    st.none() | st.frozensets(st.sampled_from(SESSIONS), min_size=1),
    st.none() | st.frozensets(st.sampled_from(TYPES), min_size=1),
)
commits = st.tuples(
    st.just("commit"),
    st.lists(st.tuples(st.sampled_from(SESSIONS), st.sampled_from(TYPES)), min_size=1, max_size=8),
    st.sampled_from((1, 1, 1, 30)),  # now and then more than a page
    st.sampled_from((0, 5000)),  # now and then more than a batch
)
others = (
    "tell",
    "stop_journal",
    "start_journal",
    "break_journal",
    "hang_up",
    "pause",
    "read_a_little",
    "read_on",
    "beat",
)
steps = st.lists(commits | st.tuples(st.sampled_from(others)), max_size=30)


class Resumer:
    """A client that remembers the last id that it was told and comes back with it, again and again."""

    def __init__(self, rig: Rig, filter_: Filter) -> None:
        self.rig = rig
        self.filter = filter_
        self.resume_at = 0
        self.heard: list[int] = []
        self.ear: Ear | None = None
        self.room: int | None = None
        self._scope = trio.CancelScope()

    def hang_up(self) -> None:
        self._scope.cancel()

    def read(self, room: int | None) -> None:
        """Take so much more, or with None whatever comes."""
        self.room = room
        if self.ear is not None:
            self.ear.pipe.make_room(room)

    async def run(self) -> None:
        while True:
            wish = Subscription(filter=self.filter, after=self.resume_at, epoch="epoch-1")
            with trio.CancelScope() as self._scope, self.rig.listening(wish, room=self.room) as self.ear:
                while self.ear.listener.is_open:
                    await self.ear.pipe.wait_news()
                    for message in self.ear.take():
                        self._note(message)
            await trio.sleep(0.1)

    def _note(self, message: dict[str, Any]) -> None:
        assert message.get("type") not in {"gap", "snapshot"}
        if "id" in message:
            self.heard.append(message["id"])
            self.resume_at = message["id"]
        elif message.get("type") == "ping":
            assert message["last_event_id"] >= self.resume_at
            self.resume_at = message["last_event_id"]


class World:
    """What can happen while the client listens; commits become known only with `tell`."""

    def __init__(self, rig: Rig, filter_: Filter) -> None:
        self.rig = rig
        self.client = Resumer(rig, filter_)
        self.untold: list[RecordedEvent] = []

    async def commit(self, events: list[tuple[str, EventType]], times: int, size: int) -> None:
        for session_id, type_ in events * times:
            self.untold.append(self.rig.journal.commit(session_id, type_, size))

    async def tell(self) -> None:
        self.rig.tell(self.untold)
        self.untold = []

    async def stop_journal(self) -> None:
        await self.start_journal()
        self.rig.journal.gate = trio.Event()

    async def start_journal(self) -> None:
        if self.rig.journal.gate is not None:
            self.rig.journal.gate.set()

    async def break_journal(self) -> None:
        self.rig.journal.failures = 2

    async def hang_up(self) -> None:
        self.client.hang_up()

    async def pause(self) -> None:
        self.client.read(0)

    async def read_a_little(self) -> None:
        self.client.read(1501)

    async def read_on(self) -> None:
        self.client.read(None)

    async def beat(self) -> None:
        await trio.sleep(31)
        if self.client.ear is not None:
            self.client.ear.listener.heard_at = trio.current_time()

    async def play(self, script: list[tuple[Any, ...]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.client.run)
            for name, *arguments in [*script, ("read_on",), ("start_journal",), ("tell",)]:
                await wait_all_tasks_blocked()
                await getattr(self, name)(*arguments)
            await trio.sleep(30)
            nursery.cancel_scope.cancel()


@given(filters, steps)
@settings(max_examples=60, deadline=None)
def test_a_client_that_resumes_with_after_misses_nothing_and_hears_nothing_twice(
    filter_: Filter, script: list[tuple[Any, ...]]
) -> None:
    async def main() -> World:
        async with open_rig(listener_backlog_bytes=65536) as rig:
            world = World(rig, filter_)
            await world.play(script)
            return world

    world = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert world.client.heard == [
        event.id
        for event in world.rig.journal.log
        if (filter_.session_ids is None or event.session_id in filter_.session_ids)
        and (filter_.types is None or event.type in filter_.types)
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
near_misses = st.fixed_dictionaries(
    {"type": st.sampled_from(["ping", "pong", "subscribe", "Ping", ""]) | anything},
    optional={"session_ids": anything, "types": anything | st.just(["session_ended"]), "more": anything},
)


@given(st.text() | anything.map(json.dumps) | near_misses.map(json.dumps))
def test_any_text_is_a_message_or_gets_an_error(text: str) -> None:
    async def main() -> None:
        async with open_rig() as rig:
            with rig.listening() as ear:
                conversation = Conversation(ear.listener, messages_max=10, faults_max=10, heartbeat_s=30)
                await ear.hear()
                conversation.hear(text)
                heard = await ear.hear()
                assert ear.listener.closed_for is None
        try:
            message = wire.client_message(text)
        except BadMessage:
            assert [answer["type"] for answer in heard] == ["error"]
        else:
            expected = {wire.Ping: ["pong"], wire.Pong: [], wire.Subscribe: ["subscribed"]}[type(message)]
            assert [answer["type"] for answer in heard] == expected

    trio.run(main, clock=MockClock(autojump_threshold=0))
