"""Answers that many rooms share are not of this instant, and serve more than one look."""

from __future__ import annotations

import json
import logging

import pytest
import trio
from session_builders import a_request
from session_world import World
from trio.testing import MockClock

from fakes_connector import at, trio_time
from transport_trio.errors import ProviderUnreachable
from transport_trio.models import News
from transport_trio.settings import Settings


async def test_what_is_known_is_as_old_as_the_answer(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(6)
        world.connector.share()
        await trio.sleep(10)
        assert (await service.get(session.id)).presence_checked_at == at(6)
        assert world.metric("transport_presence_age_seconds") == 10
        assert json.loads(world.told[1].body)["type"] == "participant_joined"


class TestOneAnswerTwice:
    """Looks are closer together than the leave takes to be confirmed, so they find the same answer."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(presence_poll_s=20, presence_confirm_s=5)

    async def test_it_is_no_second_proof_of_a_leave(self, autojump_clock: MockClock, world: World) -> None:
        async with world.service() as service:
            session = (await service.create(a_request())).session
            ada = world.connector.join(session.room.name, "Ada", "u1")
            world.connector.share()
            await trio.sleep(21)  # Ada is told, from the answer of 0 s
            world.connector.leave(session.room.name, ada)
            world.connector.share()
            await trio.sleep(70)  # the look at 40 s finds her missing since 21 s; no other answer comes
            assert "participant_left" not in world.types()
            assert world.metric("transport_presence_polls_total", provider="daily", outcome="unchanged") > 0
            assert world.connector.count("presence") < 10  # what can settle nothing is not looked at in a spin
            world.connector.share()
            await trio.sleep(21)
            assert "participant_left" in world.types()

    async def test_an_older_answer_than_the_one_told_is_no_news(self, autojump_clock: MockClock, world: World) -> None:
        async with world.service() as service:
            session = (await service.create(a_request())).session
            world.connector.share()
            await trio.sleep(3)
            ada = world.connector.join(session.room.name, "Ada", "u1")
            service.hear("daily", session.room.name, News(participant=ada, came=True, occurred_at=trio_time()))
            await trio.sleep(37)  # what was shared at 0 s knows nothing of Ada
            assert (await service.get(session.id)).presence_checked_at == at(3)
            assert world.types()[1:] == ["participant_joined", "session_updated"]


async def test_a_push_asks_for_this_room_now(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.share()
        await trio.sleep(3)
        assert world.connector.fresh_looks == 0
        service.hear("daily", session.room.name, None)
        await trio.sleep(1)
        assert world.connector.fresh_looks == 1
        await trio.sleep(20)
        assert world.connector.fresh_looks == 1  # the beat is not in such a hurry


async def test_a_failure_that_was_told_for_all_is_not_told_by_each(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    failure = ProviderUnreachable("daily", "down")
    failure.told = True
    async with world.service() as service:
        for _ in range(3):
            await service.create(a_request())
        world.connector.fail("presence", failure, times=3)
        await trio.sleep(60)
        assert world.metric("transport_presence_polls_total", provider="daily", outcome="provider_unreachable") == 3
    assert not [record for record in caplog.records if record.message.startswith("presence is")]
