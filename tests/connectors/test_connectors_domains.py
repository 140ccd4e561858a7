"""Two connectors to two domains of one sandbox: whatever tells of one of them tells its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio
from connectors_helpers import daily_at, room_plan, token_plan
from prometheus_client import CollectorRegistry

from transport_trio.connectors import DailyConnector, DailyLimits, Limit
from transport_trio.errors import (
    ConnectorError,
    NobodyInCall,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnreachable,
    RoomNotFound,
    WebhookRefused,
)
from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus
from transport_trio.sandbox import SandboxHandle

TEST_S = 30.0
ONCE = DailyLimits(default=Limit(count=1, period_s=60.0), slow=Limit(count=1, period_s=60.0))


@attrs.frozen
class Two:
    daily: DailyConnector
    eu: DailyConnector
    metrics: Metrics

    def providers(self) -> set[str]:
        """Every value that the label `provider` has in any metric."""
        samples = (sample for family in self.metrics.registry.collect() for sample in family.samples)
        return {sample.labels["provider"] for sample in samples if "provider" in sample.labels}


@pytest.fixture
async def two(daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle, metrics: Metrics) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                daily_at(
                    one.api_url,
                    metrics,
                    name=name,
                    api_key=one.api_key,
                    domain=one.domain,
                    sign_tokens=True,
                    webhook_url="self",
                )
            )
            for name, one in (("daily", daily_sandbox), ("daily-eu", daily_sandbox_eu))
        ]
        yield Two(*opened, metrics)


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def test_rooms_people_and_tokens_are_of_the_connectors_own_domain(
    two: Two, daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle
) -> None:
    with trio.fail_after(TEST_S):
        plan = room_plan("demo", soon())
        rooms = [await one.create_room(plan) for one in (two.daily, two.eu)]
        assert rooms[0].url.startswith("https://sandbox.")
        assert rooms[1].url.startswith("https://sandbox-eu.")
        await two.eu.prove_signing()
        token = await two.eu.create_token(token_plan(plan, name="Ada"))
        await trio.to_thread.run_sync(lambda: daily_sandbox_eu.join("demo", token=token))
        assert (await two.daily.presence("demo")).participants == ()
        assert [one.name for one in (await two.eu.presence("demo")).participants] == ["Ada"]
        assert await two.daily.delete_room("demo")
        assert await two.eu.find_room("demo") is not None
        assert daily_sandbox.requests("create_meeting_token") == []


async def test_nothing_of_one_domain_is_told_under_anothers_name(two: Two) -> None:
    """All that a connector does, at one of two: its metrics have no other provider than its own."""
    with trio.fail_after(TEST_S):
        plan = room_plan("demo", soon())
        await two.eu.check()
        await two.eu.create_room(plan)
        await two.eu.prove_signing()
        await two.eu.presence("demo")
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            nursery.start_soon(two.eu.keep_webhook, "http://127.0.0.1:1/webhooks/daily-eu", stop)
            labels = {"provider": "daily-eu"}
            # It is refused: nobody answers the test.
            while two.metrics.registry.get_sample_value("transport_webhook_active", labels) is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
            stop.set()
        assert two.providers() == {"daily-eu"}
        assert two.eu.name == "daily-eu"


async def test_the_lines_of_ready_are_each_domains_own(two: Two, daily_sandbox_eu: SandboxHandle) -> None:
    with trio.fail_after(TEST_S):
        await trio.to_thread.run_sync(lambda: daily_sandbox_eu.add_fault("error", status=503))
        await two.daily.check()
        with pytest.raises(ProviderUnreachable, match="daily-eu answered 503"):
            await two.eu.check()
        checks = {check.name: check for one in (two.daily, two.eu) for check in one.checks()}
        kinds = ("provider", "webhook", "signing")
        assert set(checks) == {f"{kind}:{name}" for kind in kinds for name in ("daily", "daily-eu")}
        assert checks["provider:daily"].status is CheckStatus.OK
        assert checks["provider:daily-eu"].status is CheckStatus.DEGRADED


@pytest.mark.parametrize(
    ("fault", "call", "error"),
    [
        ({"kind": "error", "status": 400}, "create_room", ProviderRejected),
        ({"kind": "throttle", "retry_after_s": 60}, "create_room", ProviderThrottled),
        ({"kind": "hang_up"}, "create_room", ProviderUnreachable),
        ({"kind": "garbage"}, "create_room", ProviderUnreachable),
        (None, "presence", RoomNotFound),
    ],
)
async def test_an_error_names_the_connector(
    two: Two, daily_sandbox_eu: SandboxHandle, fault: dict[str, object] | None, call: str, error: type[ConnectorError]
) -> None:
    with trio.fail_after(TEST_S):
        if fault is not None:
            await trio.to_thread.run_sync(daily_sandbox_eu.set_faults, fault)
        with pytest.raises(error, match="daily-eu") as caught:
            await (two.eu.create_room(room_plan("demo", soon())) if call == "create_room" else two.eu.presence("demo"))
        assert vars(caught.value)["provider"] == "daily-eu"


async def test_an_empty_call_is_told_with_the_connector(two: Two) -> None:
    with trio.fail_after(TEST_S):
        await two.eu.create_room(room_plan("demo", soon()))
        with pytest.raises(NobodyInCall, match="daily-eu"):
            await two.eu.send_message("demo", "*", {})


async def test_what_is_to_be_set_right_is_named_by_the_connectors_own_variable(
    daily_sandbox_eu: SandboxHandle, metrics: Metrics
) -> None:
    with trio.fail_after(TEST_S):
        async with daily_at(daily_sandbox_eu.api_url, metrics, name="daily-eu", api_key="wrong") as eu:
            with pytest.raises(ProviderRejected):
                await eu.check()
            assert eu.health().message.endswith("check DAILY_EU_API_KEY")
        async with daily_at(daily_sandbox_eu.api_url, metrics, name="daily-eu", api_key="sandbox-eu") as eu:
            with pytest.raises(ProviderRejected, match="'sandbox-eu''s, but DAILY_EU_DOMAIN says 'sandbox'"):
                await eu.check()
            with pytest.raises(WebhookRefused, match="set DAILY_EU_WEBHOOK_HMAC or DAILY_EU_WEBHOOK_URL"):
                eu.door.read({}, b"{}", datetime.now(UTC))


async def test_a_connector_that_has_used_up_its_limit_holds_up_no_other(
    daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle
) -> None:
    metrics = Metrics.create(CollectorRegistry())
    async with AsyncExitStack() as stack:
        daily, eu = [
            await stack.enter_async_context(
                daily_at(one.api_url, metrics, name=name, api_key=one.api_key, domain=one.domain, rate_limits=ONCE)
            )
            for name, one in (("daily", daily_sandbox), ("daily-eu", daily_sandbox_eu))
        ]
        with trio.fail_after(TEST_S):
            await eu.check()
            with pytest.raises(ProviderThrottled):
                await eu.check()
            await daily.check()
