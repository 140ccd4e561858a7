"""Two domains side by side: what one of them does not answer holds up nothing of the other."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import attrs
import pytest
import trio
from session_builders import a_request
from session_world import World
from trio.testing import MockClock

from fakes_connector import FakeConnector
from transport_trio.connectors import ConnectorRegistry
from transport_trio.errors import (
    Busy,
    InvalidRequest,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
    UnknownProvider,
)
from transport_trio.models import EndReason, ProviderCleanup, RoomConfig, SessionRequest, TokenRequest
from transport_trio.ports import Change
from transport_trio.sessions import SessionService, open_sessions
from transport_trio.sessions.extension import ExtensionIntended, extended
from transport_trio.sessions.people import SendMessage
from transport_trio.settings import Settings

NO_ANSWER_S = 25.0  # 2.5 timeouts: as long as a call to Daily can take
SILENT = ProviderTimeout("daily-eu", "daily-eu did not answer")


@attrs.frozen
class Two:
    world: World
    daily: FakeConnector
    eu: FakeConnector

    @asynccontextmanager
    async def service(self, *served: FakeConnector) -> AsyncIterator[SessionService]:
        registry = ConnectorRegistry(self.world.metrics)
        for connector in served or (self.daily, self.eu):
            registry.register(connector)
        async with open_sessions(attrs.evolve(self.world.deps, connectors=registry)) as service:
            yield service

    def hang(self) -> None:
        """`daily-eu` answers nobody from now on."""
        for operation in ("create_room", "find_room", "delete_room", "presence"):
            self.eu.delay(operation, NO_ANSWER_S)
            self.eu.fail(operation, SILENT, times=None)


@pytest.fixture
def settings() -> Settings:
    return Settings(create_queue_max=3)


@pytest.fixture
def two(world: World) -> Two:
    return Two(world, world.connector, FakeConnector("daily-eu"))


def at_eu(**changes: object) -> SessionRequest:
    return a_request(provider="daily-eu", **changes)


async def test_a_session_stays_where_it_was_made(autojump_clock: MockClock, two: Two) -> None:
    stage = RoomConfig(name="stage")
    async with two.service() as service:
        here = (await service.create(a_request(room_config=stage))).session
        there = (await service.create(at_eu(room_config=stage))).session
        assert (here.provider, there.provider) == ("daily", "daily-eu")
        two.eu.join("stage", "Ada")
        await trio.sleep(20)
        assert [len((await service.get(one.id)).present) for one in (here, there)] == [0, 1]
        assert service.hear("daily-eu", "stage", None)
        await service.end(there.id)
        await trio.sleep(1)
        assert list(two.daily.rooms) == ["stage"]
        assert list(two.eu.rooms) == []
        assert not service.hear("daily-eu", "stage", None)
        assert service.hear("daily", "stage", None)


async def test_rooms_are_deleted_here_while_none_can_be_there(autojump_clock: MockClock, two: Two) -> None:
    """Eight debts, more than there are workers, all wait for a domain that answers nobody."""
    async with two.service() as service:
        theirs = [(await service.create(at_eu())).session for _ in range(8)]
        ours = (await service.create(a_request())).session
        two.hang()
        for session in theirs:
            await service.end(session.id)
        await trio.sleep(1)
        await service.end(ours.id)
        await trio.sleep(1)
        assert (await service.get(ours.id)).provider_cleanup is ProviderCleanup.DONE
        assert two.world.metric("transport_provider_rooms_owed", provider="daily-eu") == 8
        assert two.world.metric("transport_provider_rooms_owed", provider="daily") == 0


async def test_a_domain_that_answers_no_creation_fills_its_own_queue_only(autojump_clock: MockClock, two: Two) -> None:
    two.hang()
    refused = []

    async def create(service: SessionService) -> None:
        with pytest.raises(ProviderTimeout):
            await service.create(at_eu())
        refused.append(trio.current_time())

    async with two.service() as service, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(create, service)
        await trio.sleep(1)
        with pytest.raises(Busy, match="3 creations are under way"):
            await service.create(at_eu())
        created = [await service.create(a_request()) for _ in range(5)]
        assert len(created) == 5
        assert trio.current_time() == 1
        assert refused == []
    assert len(refused) == 3


async def test_sessions_here_are_looked_into_and_ended_while_the_other_domain_is_away(
    autojump_clock: MockClock, two: Two
) -> None:
    async with two.service() as service:
        ours = (await service.create(a_request())).session
        theirs = (await service.create(at_eu())).session
        two.hang()
        two.daily.join(ours.room.name, "Ada")
        await trio.sleep(120)
        [ada] = (await service.get(ours.id)).present
        assert ada.participant.name == "Ada"
        assert (await service.end(theirs.id)).end_reason is EndReason.REQUESTED
        assert (await service.end(ours.id)).end_reason is EndReason.REQUESTED
        await trio.sleep(1)
        assert two.daily.rooms == {}
        two.eu.recover()
        await trio.sleep(120)
        assert two.eu.rooms == {}


async def test_what_was_at_a_connector_that_is_gone_waits_for_it(
    autojump_clock: MockClock, two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    two.eu.fail("find_room", ProviderUnreachable("daily-eu", "down"), times=None)
    async with two.service() as service:
        live, short, owed = [
            (await service.create(at_eu(session_ttl_s=ttl_s, token_ttl_s=60))).session for ttl_s in (3600, 600, 3600)
        ]
        await service.end(owed.id)
        await trio.sleep(1)
    two.eu.recover()
    caplog.clear()
    calls = len(two.eu.calls)
    async with two.service(two.daily) as service:
        [told] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert told.message.startswith("provider without connector")
        assert (told.provider, told.sessions, told.rooms_owed) == ("daily-eu", 2, 1)  # type: ignore[attr-defined]
        assert two.world.metric("transport_provider_sessions", provider="daily-eu") == 2
        await trio.sleep(900)
        assert (await service.get(short.id)).end_reason is EndReason.EXPIRED
        assert (await service.get(live.id)).ended_at is None
        assert two.world.metric("transport_provider_rooms_owed", provider="daily-eu") == 2
        assert two.world.types(short.id)[-1] == "session_ended"
        assert (await service.end(live.id)).end_reason is EndReason.REQUESTED
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert len(two.eu.calls) == calls
    async with two.service() as service:
        await trio.sleep(120)
        assert two.eu.rooms == {}
        sessions = [await service.get(one.id) for one in (live, short, owed)]
        assert {one.provider_cleanup for one in sessions} == {ProviderCleanup.DONE}


async def test_a_session_whose_connector_comes_back_goes_on(autojump_clock: MockClock, two: Two) -> None:
    async with two.service() as service:
        session = (await service.create(at_eu())).session
    async with two.service(two.daily) as service:
        two.eu.join(session.room.name, "Ada")
        await trio.sleep(120)
        assert (await service.get(session.id)).present == ()
    async with two.service() as service:
        await trio.sleep(20)
        [ada] = (await service.get(session.id)).present
        assert ada.participant.name == "Ada"


async def test_what_needs_a_provider_without_connector_is_refused(autojump_clock: MockClock, two: Two) -> None:
    async with two.service() as service:
        session = (await service.create(at_eu())).session
    async with two.service(two.daily) as service:
        with pytest.raises(UnknownProvider, match="'daily-eu'; known: daily"):
            await service.create(at_eu())
        with pytest.raises(UnknownProvider):
            await service.tokens.create(session.id, TokenRequest())
        with pytest.raises(UnknownProvider):
            await service.act(session.id, SendMessage(recipient="*", data={}, data_bytes=2))
        assert (await service.get(session.id)).ended_at is None


async def test_a_refused_option_is_told_by_the_kind_of_its_provider(autojump_clock: MockClock, two: Two) -> None:
    two.eu.fail("create_room", ProviderRejected("daily-eu", 400, "no such language"))
    async with two.service() as service:
        with pytest.raises(InvalidRequest) as caught:
            await service.create(at_eu(provider_options={"lang": "tlh"}))
        assert caught.value.faults == (("$.options.daily", "no such language"),)
        session = (await service.create(at_eu())).session
        two.eu.fail("create_token", ProviderRejected("daily-eu", 400, "no such language"))
        wanted = TokenRequest(provider_options={"lang": "tlh"})
        with pytest.raises(InvalidRequest) as caught:
            await service.tokens.create(session.id, wanted)
        assert caught.value.faults == (("$.options.daily", "no such language"),)


async def test_an_intent_of_a_connector_that_is_gone_is_kept(autojump_clock: MockClock, two: Two) -> None:
    two.eu.delay("create_room", NO_ANSWER_S)
    async with two.service() as service:
        with trio.move_on_after(1):
            await service.create(at_eu())
    async with two.service(two.daily):
        await trio.sleep(300)
        assert len(await two.world.journal.intents()) == 1
    async with two.service():
        await trio.sleep(timedelta(minutes=5).total_seconds())
        assert await two.world.journal.intents() == ()
        assert await two.world.journal.debts() == ()


async def test_a_sweep_of_a_slow_domain_does_not_keep_the_other_waiting(autojump_clock: MockClock, two: Two) -> None:
    two.daily.delay("list_rooms", NO_ANSWER_S)
    async with two.service() as service:
        await trio.sleep(NO_ANSWER_S / 2)
        assert [sweep.provider for sweep in service.orphans.latest] == ["daily-eu"]
        await trio.sleep(NO_ANSWER_S)
        assert [sweep.provider for sweep in service.orphans.latest] == ["daily", "daily-eu"]
        assert service.orphans.completed == 1


async def test_an_extension_in_doubt_waits_for_its_connector(autojump_clock: MockClock, two: Two) -> None:
    """It broke off, and the next start has no connector to ask how it came out."""
    async with two.service() as service:
        session = (await service.create(at_eu())).session
    until = session.expires_at + timedelta(hours=1)
    stored = await two.world.journal.get(session.id)
    assert stored is not None
    intended, _ = extended(stored, ExtensionIntended(until=until))
    await two.world.journal.commit(Change(session=intended, expected_version=stored.version))
    await two.eu.extend_room(session.room.name, until)
    async with two.service(two.daily) as service:
        await trio.sleep(600)
        known = await service.get(session.id)
        assert (known.has_ended, known.extending_to) == (False, until)
        assert two.world.metric("transport_task_restarts_total", task="session") == 0
    async with two.service() as service:
        await trio.sleep(10)
        assert (await service.get(session.id)).expires_at == until
