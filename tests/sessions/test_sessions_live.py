"""A live session: its poller, its timers, and a crash that stays inside."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import trio
from session_builders import a_request
from session_world import World
from trio.testing import MockClock

from fakes_connector import EPOCH
from transport_trio.errors import (
    Busy,
    ProviderRejected,
    ProviderUnreachable,
    RoomNotFound,
)
from transport_trio.models import EndReason, Session, SessionStatus
from transport_trio.ports import Change
from transport_trio.sessions import SessionService
from transport_trio.settings import Settings


async def a_live_session(service: SessionService, **changes: object) -> Session:
    return (await service.create(a_request(**changes))).session


async def test_joins_and_leaves_are_told(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        assert world.types()[1:] == ["participant_joined", "session_updated"]
        assert (await service.get(session.id)).status is SessionStatus.ACTIVE
        world.connector.leave(session.room.name, ada)
        await trio.sleep(20)
        assert "participant_left" not in world.types()
        await trio.sleep(15)
        assert world.types()[3:] == ["participant_left", "session_updated"]
        left = json.loads(world.told[3].body)
        assert left["source"] == "inferred"
        assert left["occurred_at"] == "2026-01-01T12:00:15Z"


class TestSlowBeat:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(presence_poll_s=40)

    async def test_a_leave_is_settled_as_soon_as_it_can_be(self, autojump_clock: MockClock, world: World) -> None:
        """The second look comes 15 s after the first, whatever the beat."""
        async with world.service() as service:
            session = await a_live_session(service)
            ada = world.connector.join(session.room.name)
            await trio.sleep(41)
            world.connector.leave(session.room.name, ada)
            await trio.sleep(53)
            assert world.types().count("participant_left") == 0
            await trio.sleep(2)
            assert world.types().count("participant_left") == 1
            assert world.connector.count("presence") == 3


async def test_tokens_and_sessions_expire(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service, session_ttl_s=600, token_ttl_s=300)
        world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(700)
        assert [kind for kind in world.types() if kind != "session_updated"] == [
            "session_created",
            "participant_joined",
            "token_expiring",
            "token_expired",
            "participant_left",
            "session_ended",
        ]
        times = {event.type.value: (event.time - EPOCH).total_seconds() for event in world.told}
        assert (times["token_expiring"], times["token_expired"], times["session_ended"]) == (240, 300, 600)
        assert (await service.get(session.id)).end_reason is EndReason.EXPIRED


async def test_polling_backs_off_and_recovers(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.fail("presence", ProviderUnreachable("daily", "down"), times=None)
        await trio.sleep(600)
        assert world.connector.count("presence") < 16
        assert (await service.get(session.id)).status is SessionStatus.CREATED
        world.connector.recover()
        world.connector.join(session.room.name)
        await trio.sleep(61)
        assert "participant_joined" in world.types()
        looks = world.connector.count("presence")
        await trio.sleep(150)
        assert world.connector.count("presence") - looks == 10


async def test_an_outage_is_no_leave(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name)
        await trio.sleep(16)
        world.connector.fail("presence", ProviderUnreachable("daily", "down"), times=10)
        await trio.sleep(700)
        assert world.types().count("participant_left") == 0
        assert world.types().count("participant_joined") == 1


async def test_one_404_ends_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.fail("presence", RoomNotFound("daily", session.room.name))
        await trio.sleep(100)
        assert not (await service.get(session.id)).has_ended


async def test_a_room_that_presence_forgets_but_exists_ends_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.fail("presence", RoomNotFound("daily", session.room.name), times=8)
        await trio.sleep(300)
        assert not (await service.get(session.id)).has_ended


async def test_a_missing_room_is_no_end_while_the_provider_cannot_be_asked_again(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.drop_room(session.room.name)
        world.connector.fail("find_room", ProviderUnreachable("daily", "down"), times=None)
        await trio.sleep(300)
        assert not (await service.get(session.id)).has_ended
        world.connector.recover()
        await trio.sleep(61)
        assert (await service.get(session.id)).end_reason is EndReason.ROOM_GONE


async def test_a_room_deleted_by_somebody_else_ends_the_session(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name)
        await trio.sleep(16)
        world.connector.drop_room(session.room.name)
        await trio.sleep(60)
        assert (await service.get(session.id)).end_reason is EndReason.ROOM_GONE
        assert world.types()[-3:] == ["participant_left", "session_updated", "session_ended"]
        await trio.sleep(5)
        assert world.metric("transport_rooms_owed") == 0


async def test_a_provider_that_keeps_refusing_us_needs_a_person(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.fail("presence", ProviderRejected("daily", 401, "authentication-error"), times=None)
        await trio.sleep(300)
        assert (await service.get(session.id)).status is SessionStatus.ERROR
        world.connector.recover()
        await trio.sleep(120)
        assert (await service.get(session.id)).status is SessionStatus.CREATED


async def test_a_full_disk_delays_news_and_loses_none(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service, session_ttl_s=300, token_ttl_s=300)
        world.connector.join(session.room.name)
        world.journal.unavailable = "disk full"
        await trio.sleep(310)
        assert world.types() == ["session_created"]
        world.journal.unavailable = None
        await trio.sleep(20)
        assert world.types()[-1] == "session_ended"


class Bug(Exception):
    """Something nobody foresaw."""


async def test_a_crash_of_one_session_is_contained_counted_and_told(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        broken = await a_live_session(service)
        healthy = await a_live_session(service)
        world.connector.crash(broken.room.name, Bug("boom"))
        await trio.sleep(120)
        assert (await service.get(broken.id)).end_reason is EndReason.ERROR
        assert world.types(broken.id)[-1] == "session_ended"
        assert not (await service.get(healthy.id)).has_ended
        assert world.metric("transport_session_crashes_total") == 1
        assert world.metric("transport_task_restarts_total", task="session") == 2


async def test_a_session_that_crashed_once_goes_on(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name)
        world.connector.crash(session.room.name, Bug("once"))
        await trio.sleep(15.5)
        world.connector.recover_room(session.room.name)
        await trio.sleep(60)
        assert world.types() == ["session_created", "participant_joined", "session_updated"]
        assert (await service.end(session.id)).has_ended


async def test_a_session_given_up_on_a_full_disk_is_ended_later(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.crash(session.room.name, Bug("boom"))
        await trio.sleep(14)
        world.journal.unavailable = "disk full"
        await trio.sleep(120)
        with pytest.raises(Busy):
            await service.end(session.id)
        world.journal.unavailable = None
        await trio.sleep(11)
        assert (await service.get(session.id)).end_reason is EndReason.ERROR


async def test_what_another_writer_did_meanwhile_is_taken_in(autojump_clock: MockClock, world: World) -> None:
    """No assumption that this process is the only writer of a session."""
    async with world.service() as service:
        session = await a_live_session(service)
        await world.journal.commit(Change(session=session, expected_version=session.version))
        assert (await service.end(session.id)).version == 3


async def test_when_somebody_was_last_seen_is_stored_now_and_then(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name)
        await trio.sleep(600)
        stored = await world.journal.get(session.id)
        assert stored is not None
        assert stored.present[0].last_seen_at >= EPOCH + timedelta(seconds=520)
        assert stored.version < 12


async def test_when_somebody_was_last_seen_is_stored_though_another_commit_came_first(
    autojump_clock: MockClock, world: World
) -> None:
    """What the timers commit holds the presence of the last look, which a provider that was away may have let age."""
    async with world.service() as service:
        session = await a_live_session(service, token_ttl_s=100)
        world.connector.join(session.room.name)
        await trio.sleep(20)
        world.connector.fail("presence", ProviderUnreachable("daily", "down"), times=None)
        await trio.sleep(82)
        assert world.types(session.id)[-1] == "token_expired"
        world.connector.recover()
        await trio.sleep(30)
        stored = await world.journal.get(session.id)
        assert stored is not None
        assert stored.present[0].last_seen_at >= EPOCH + timedelta(seconds=102)


async def test_a_session_without_its_connector_still_expires(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service, session_ttl_s=120)
    world.connector._name = "other"
    async with world.service() as service:
        await trio.sleep(130)
        assert (await service.get(session.id)).end_reason is EndReason.EXPIRED
        assert world.metric("transport_rooms_owed") == 1
