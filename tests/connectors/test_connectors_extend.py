"""A room's later end: what every connector promises, and what Daily does with those inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio
from connectors_helpers import OpenDaily, Provider, room_plan

from transport_trio.errors import RoomNotFound
from transport_trio.sandbox import SandboxHandle

TEST_S = 60.0


async def test_the_room_ends_later(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        end = provider.now().replace(microsecond=0) + timedelta(hours=1)
        made = await provider.connector.create_room(room_plan("later", end))
        for _ in range(2):
            room = await provider.connector.extend_room("later", end + timedelta(hours=1))
            assert (room.expires_at, room.provider_id) == (end + timedelta(hours=1), made.provider_id)
        found = await provider.connector.find_room("later")
        assert found is not None
        assert found.expires_at == end + timedelta(hours=1)


async def test_there_is_no_such_room(provider: Provider) -> None:
    with trio.fail_after(TEST_S), pytest.raises(RoomNotFound):
        await provider.connector.extend_room("nowhere", provider.now() + timedelta(hours=1))


async def test_nothing_else_of_the_room_changes_and_who_is_inside_goes_at_the_old_end(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle
) -> None:
    """What `will_still_be_ejected` is about."""

    def names() -> list[str]:
        return [one["userName"] for one in daily_sandbox.participants("later")]

    with trio.fail_after(TEST_S):
        end = datetime.fromtimestamp(int(daily_sandbox.now()) + 100, UTC)
        async with open_sandbox_daily() as daily:
            made = await daily.create_room(room_plan("later", end))
            await trio.to_thread.run_sync(partial(daily_sandbox.join, "later", "Ada"))
            extended = await daily.extend_room("later", end + timedelta(seconds=100))
            await trio.to_thread.run_sync(partial(daily_sandbox.join, "later", "Bob"))
            before, after = made.metadata["config"], extended.metadata["config"]
            assert {**before, "exp": after["exp"]} == after
            await trio.to_thread.run_sync(daily_sandbox.advance, 101)
            assert await trio.to_thread.run_sync(names) == ["Bob"]
