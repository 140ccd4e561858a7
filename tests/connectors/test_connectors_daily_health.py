"""What operators learn of Daily: its health, its domain, its clock."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
import trio
from daily_calls import NOT_FOUND, ROOM, TEST_S, Scripted
from scripted_http import answer

from transport_trio.connectors.health import Health
from transport_trio.errors import ProviderRejected
from transport_trio.models import CheckStatus


async def test_another_domains_key_is_told_until_it_is_right(scripted: Scripted) -> None:
    other, mine = answer(200, {"domain_name": "other"}), answer(200, {"domain_name": "mINE"})
    daily, _ = await scripted(other, answer(200, ROOM), mine)
    with trio.fail_after(TEST_S):
        with pytest.raises(ProviderRejected, match="'other'"):
            await daily.check()
        await daily.find_room("lobby")  # works, in the wrong domain
        assert daily.health().status is CheckStatus.DEGRADED
        assert "'other'" in daily.health().message
        assert "'Mine'" in daily.health().message
        await daily.check()
    assert daily.health().status is CheckStatus.OK


async def test_a_check_without_domain_and_date_passes(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(200, {}), answer(200, {"domain_name": "mine"}, {"Date": "soon"}))
    with trio.fail_after(TEST_S):
        assert await daily.check() is None
        assert await daily.check() is None
    assert daily.health().status is CheckStatus.OK


async def test_a_room_expires_by_dailys_clock(scripted: Scripted) -> None:
    room = {**ROOM, "config": {"exp": (datetime.now(UTC) + timedelta(days=1)).timestamp()}}
    daily, _ = await scripted(
        answer(200, room),
        answer(200, room, {"Date": "Fri, 31 Dec 2100 00:00:00 GMT"}),
        answer(200, {**ROOM, "config": {}}),
    )
    with trio.fail_after(TEST_S):
        assert await daily.find_room("lobby") is not None
        assert await daily.find_room("lobby") is None
        assert await daily.find_room("lobby") is not None  # never expires


async def test_changes_of_health_are_logged_once(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refused = answer(401, {"error": "authentication-error"})
    daily, _ = await scripted(refused, refused, NOT_FOUND, NOT_FOUND)
    with trio.fail_after(TEST_S):
        for _ in range(2):
            with pytest.raises(ProviderRejected):
                await daily.find_room("lobby")
        for _ in range(2):
            assert await daily.find_room("lobby") is None
    told = [record.message for record in caplog.records if record.name.endswith("health")]
    assert told == ["provider is degraded", "provider is well"]


def test_a_wrong_configuration_and_an_outage_are_both_told() -> None:
    health = Health("daily")
    health.configured("wrong domain")
    health.ill("unreachable")
    assert health.check().message == "wrong domain; unreachable"
    health.well()
    assert health.check().message == "wrong domain"
    health.configured()
    assert health.check().status is CheckStatus.OK
