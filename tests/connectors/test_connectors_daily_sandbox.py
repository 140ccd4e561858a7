"""The connector under load, cancellation and outages, against the sandbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import trio
import trio.testing
from connectors_helpers import OpenDaily, room_plan
from daily_calls import TEST_S

from transport_trio.connectors import DailyConnector
from transport_trio.connectors.daily.client import SLOTS
from transport_trio.errors import ProviderThrottled, ProviderUnreachable
from transport_trio.metrics import Metrics
from transport_trio.sandbox import SandboxHandle


async def test_more_callers_than_daily_allows_are_served_without_a_429(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle, metrics: Metrics
) -> None:
    """Two bursts over the slow tier: the second is refused by us, not by Daily."""
    refused: list[ProviderThrottled] = []

    async def delete(daily: DailyConnector) -> None:
        try:
            await daily.delete_room("nowhere")
        except ProviderThrottled as exc:
            refused.append(exc)

    async with open_sandbox_daily(timeout_s=5.0) as daily:
        with trio.fail_after(TEST_S):
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(delete, daily)
        requests = await trio.to_thread.run_sync(daily_sandbox.requests, "delete_room")
    assert [request["status"] for request in requests] == [404] * 45
    assert len(refused) == 15
    assert all(15 < exc.retry_after_s <= 30 for exc in refused)


async def test_a_cancelled_creation_leaves_no_connection_behind_that_confuses_the_next(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle
) -> None:
    """Cancelled at any moment, before, during and after sending; more often than there are connections."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    daily_sandbox.configure(rate_limits=False)
    async with open_sandbox_daily() as daily:
        with trio.fail_after(TEST_S):
            for number in range(120):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(daily.create_room, room_plan(f"room-{number}", soon))
                        for _ in range(number % 30):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(daily.create_room, room_plan(f"after-{number}", soon))
    names = {room["name"] for room in await trio.to_thread.run_sync(daily_sandbox.rooms)}
    assert {f"after-{number}" for number in range(40)} <= names


async def test_a_slow_kind_of_request_does_not_delay_the_others(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle
) -> None:
    daily_sandbox.add_fault("delay", operation="room_presence", delay_s=60)
    async with open_sandbox_daily(timeout_s=60) as daily:
        with trio.fail_after(TEST_S):
            async with trio.open_nursery() as nursery:
                for _ in range(2 * SLOTS):
                    nursery.start_soon(daily.presence, "lobby")
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert await daily.find_room("lobby") is None
                nursery.cancel_scope.cancel()


async def test_an_outage_leaves_no_doubt_and_passes(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle, metrics: Metrics
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    errors: list[ProviderUnreachable] = []
    async with open_sandbox_daily() as daily:
        await trio.to_thread.run_sync(daily_sandbox.outage, 0.5)
        with trio.fail_after(TEST_S):
            await until_refused(daily_sandbox)
            while True:
                try:
                    room = await daily.create_room(room_plan("lobby", soon))
                    break
                except ProviderUnreachable as exc:
                    errors.append(exc)
    assert room.name == "lobby"
    assert not any(error.in_doubt for error in errors)
    labels = {"provider": "daily", "operation": "create_room", "outcome": "unreachable"}
    assert (metrics.registry.get_sample_value("transport_provider_requests_total", labels) or 0) > 0


async def until_refused(sandbox: SandboxHandle) -> None:
    port = urlsplit(sandbox.url).port
    assert port
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        await stream.aclose()
        await trio.sleep(0.01)
