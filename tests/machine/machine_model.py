"""What was promised to callers, listeners and the bus, kept in plain dicts, and whether the world agrees."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from machine_answers import Answers
from machine_bus import BusModel
from machine_ears import check_client
from machine_provider import Look
from machine_pushes import Witnesses
from machine_rig import RECOVERY_S, World
from machine_service import SETTINGS, Service
from machine_story import Story
from machine_time import tasks

from fakes_connector import at, trio_time
from transport_trio.errors import (
    StorageUnavailable,
)
from transport_trio.events import EventType, RecordedEvent
from transport_trio.models import ProviderCleanup, RoomDebt, RoomIntent, Session
from transport_trio.ports import EventQuery, SessionQuery

LATE_S = 1.1  # a timer that the disk held up tries again after a second
# The longest back-off is a minute, and a room that may still appear is waited for as long.
PAID_S = 200.0
# Between two looks into a room while the provider fails, with ten seconds for the answer.
LOOKS_APART_S = 60.0 + SETTINGS.presence_poll_s + 15.0
PUSH_LOOK_S = 1.2
ANSWERED_S = 20.0  # what a provider was slow with is over
A_DAY = timedelta(hours=24)


class Model:
    def __init__(self, world: World) -> None:
        self._world = world
        self.log: list[tuple[RecordedEvent, dict[str, Any]]] = []
        self.stories: dict[str, Story] = {}
        self.answers = Answers(world)
        self.foreign: set[str] = set()  # ids of rooms that are not ours
        self.dropped: set[str] = set()  # ids of rooms that somebody else deleted
        self._bus = BusModel(world)
        self._calm_since: float | None = None
        self._names: set[str] = set()  # of rooms that were taken at the last look
        self._ever_refused = False

    @property
    def live(self) -> list[str]:
        return [session_id for session_id, story in self.stories.items() if story.ended_at is None]

    async def check(self) -> None:
        """Everything that has to agree now. The world stands still meanwhile."""
        world = self._world
        self._note_calm()
        self._ever_refused |= world.refusing
        service = world.service
        if service is not None:
            await self._read(service)
            sessions = await self._check_sessions(service)
            names = self._names
            self._names = await self._check_rooms(service, sessions)
            self.answers.note(names | self._names, sessions, self.stories)
            self._check_tasks(service)
            for client in world.clients:
                check_client(client, self.log)
        self._bus.check([event for event, _ in self.log])

    def _note_calm(self) -> None:
        if not self._world.calm:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = self._world.awake

    def _calm_for(self, seconds: float) -> bool:
        return self._calm_since is not None and self._world.awake - self._calm_since >= seconds

    # --- events

    async def _read(self, service: Service) -> None:
        """Read on in the journal, and tell each event to its session's story."""
        while True:
            page = await service.journal.events(EventQuery(after=len(self.log)))
            for event in page.events:
                assert event.id == len(self.log) + 1, f"event {event.id} follows {len(self.log)}"
                body = json.loads(event.body)
                assert (body["id"], body["type"], body["session_id"]) == (event.id, event.type, event.session_id)
                self.log.append((event, body))
                self._tell(event, body)
            if len(page.events) < 100:
                break
        assert service.journal.head == len(self.log), "the head is not the last event"
        for story in self.stories.values():
            story.at_rest()

    def _tell(self, event: RecordedEvent, body: dict[str, Any]) -> None:
        if event.type is EventType.SESSION_CREATED:
            assert event.session_id not in self.stories, "created twice"
            ends_at = datetime.fromisoformat(body["session_expires_at"])
            self.stories[event.session_id] = Story(event.session_id, body["room_name"], event.time, ends_at)
        else:
            assert event.session_id in self.stories, f"{event.type} before session_created"
            story = self.stories[event.session_id]
            story.tell(event, body, self._witnesses(story), trio_time(), self._ever_refused)

    def _witnesses(self, story: Story) -> Witnesses:
        world, name = self._world, story.room_name
        return Witnesses(world.provider.looks[name], world.heard[name], world.provider.persons, world.service)

    # --- sessions

    async def _check_sessions(self, service: Service) -> dict[str, Session]:
        page = await service.sessions.list(SessionQuery(limit=500))
        sessions = {session.id: session for session in page.sessions}
        assert page.total == len(sessions)
        assert sessions.keys() == self.stories.keys(), "sessions without events, or events without a session"
        for session_id, story in self.stories.items():
            session = sessions[session_id]
            assert await service.sessions.get(session_id) == session
            self._check_session(session, story)
            if story.ended_at is None:
                story.tokens.check(session, trio_time())
                self._check_times(session, story)
                self._check_presence(service, session, story)
        assert self.answers.promises.keys() <= sessions.keys(), "a session that was answered with 201 is gone"
        assert service.metric("active_sessions") == len(self.live)
        return sessions

    def _check_session(self, session: Session, story: Story) -> None:
        assert session.status == story.status
        assert {self._world.provider.persons[who.id]: who.id for who in session.participants} == {
            person: who["id"] for person, who in story.inside.items()
        }
        assert (session.ended_at, session.end_reason) == (story.ended_at, story.end_reason)
        assert (session.room.name, session.expires_at) == (story.room_name, story.ends_at)
        promise = self.answers.promises.get(session.id)
        if promise is not None:
            told = promise.session
            assert (told.room, told.expires_at, told.created_at) == (
                session.room,
                session.expires_at,
                session.created_at,
            )
            assert told.token.expires_at <= session.token.expires_at
        story.tokens.check_numbers(self._world.calls)
        if story.end_reason == "requested":
            asked = [call for call in self._world.calls if call.kind == "end" and call.about["id"] == session.id]
            assert any(not isinstance(call.answer, StorageUnavailable) for call in asked), "nobody ended it"
        if story.end_reason == "room_gone":
            assert session.room.provider_id in self.dropped or session.ended_at >= session.expires_at, "it was there"

    def _check_times(self, session: Session, story: Story) -> None:
        """Nothing that is due is outstanding, once the disk takes changes again."""
        world = self._world
        if world.refusing or world.now - world.disk_well_since < RECOVERY_S:
            return
        now = at(world.now - LATE_S)
        assert now < session.expires_at, "not ended in time"
        story.tokens.check_times(session, now)

    def _check_presence(self, service: Service, session: Session, story: Story) -> None:
        """What the provider named is told; whom it stopped naming is told to have left; and it is asked at all."""
        world = self._world
        witnesses = self._witnesses(story)
        of_room = witnesses.looks
        begun = max(at(service.began), story.created_at)
        looks = [look for look in of_room if look.at >= begun]
        last = max(looks[-1].at if looks else begun, at(world.woke_at))
        apart_s = SETTINGS.presence_poll_s + 1 if self._calm_for(LOOKS_APART_S) else LOOKS_APART_S
        if self._calm_for(ANSWERED_S):
            self._check_looks(witnesses, max(begun, at(world.woke_at)))
        if not world.refusing:
            assert trio_time() - last <= timedelta(seconds=apart_s), "nobody looks into the room"
            # The journal finds out in its own time that the disk takes changes again.
            stored = [look for look in looks if look.at >= at(max(world.disk_well_since + RECOVERY_S, 0))]
            good = [look for look in stored if look.people is not None]
            witnesses.check_inside(set(story.inside), story.ever_left, good, trio_time())
            if len(stored) >= 3 and all(look.code == "provider_rejected" for look in stored[-3:]):
                assert story.status == "Error"
        if story.status == "Error":
            assert "provider_rejected" in codes_since_good(of_room)

    def _check_looks(self, witnesses: Witnesses, since: datetime) -> None:
        """A push has the room looked into, at most one second later."""
        pushed = [one.at for one in witnesses.heard if since <= one.at <= at(self._world.now - PUSH_LOOK_S)]
        assert not pushed or witnesses.looks[-1].at >= pushed[-1], "a push, and nobody has looked"

    def _check_tasks(self, service: Service) -> None:
        names = [task.name for task in tasks()]
        for kind in ("session", "poller", "timers"):
            of_kind = sorted(name.split()[1] for name in names if name.startswith(f"{kind} "))
            creating = {call.kind for call in self._world.calls if call.answer is None and not call.cut}
            if kind == "session" and "create" in creating:
                assert set(self.live) <= set(of_kind)
            else:
                assert of_kind == sorted(self.live), f"{kind} tasks are not those of the live sessions"
        assert not service.metric("transport_task_restarts_total", task="session")

    # --- rooms

    async def _check_rooms(self, service: Service, sessions: dict[str, Session]) -> set[str]:
        """No room without somebody who answers for it; the names that are taken."""
        provider = self._world.provider
        debts, intents = await service.journal.debts(), await service.journal.intents()
        living = {sessions[session_id].room.provider_id for session_id in self.live}
        for room in provider.deleted:
            assert room.provider_id not in living, f"the room of a live session was deleted: {room.name}"
            assert room.provider_id not in self.foreign, f"a foreign room was deleted: {room.name}"
        there = {room.room.provider_id: room.room for room in provider.rooms.values()}
        ours = {id_: room for id_, room in there.items() if id_ not in self.foreign}
        for id_, room in ours.items():
            if id_ not in living and not _answered_for(room, debts, intents):
                raise AssertionError(f"nobody answers for the room {room.name}")
        for session_id in self.live:
            room = sessions[session_id].room
            if trio_time() < sessions[session_id].expires_at and room.provider_id not in self.dropped:
                assert room.provider_id in there, f"the room of a live session is gone: {room.name}"
        if self._calm_for(PAID_S):
            # Sessions end in calm times, too: what is owed since a moment ago need not be paid yet.
            old = at(self._world.now - PAID_S)
            assert not intents, "a creation is not over"
            assert all(debt.owed_at > old for debt in debts), "debts are not paid"
            assert {id_ for id_, room in ours.items() if not _answered_for(room, debts, ())} <= living
            cleaned = {s.provider_cleanup for s in sessions.values() if s.ended_at is not None and s.ended_at <= old}
            assert cleaned <= {ProviderCleanup.DONE}
        names = {room.name for room in there.values()} | {
            self.stories[session_id].room_name for session_id in self.live
        }
        return names | {debt.room_name for debt in debts} | {intent.room_name for intent in intents}


def codes_since_good(looks: list[Look]) -> set[str]:
    codes = set()
    for look in reversed(looks):
        if look.people is not None:
            break
        codes.add(look.code)
    return codes


def _answered_for(room: Any, debts: Iterable[RoomDebt], intents: Iterable[RoomIntent]) -> bool:
    return any(debt.room_name == room.name and debt.covers(room) for debt in debts) or any(
        intent.room_name == room.name and intent.made(room) for intent in intents
    )
