"""Fixtures of the connectors' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio
from connectors_helpers import FakeProvider, OpenDaily, Provider, SandboxProvider, daily_at
from daily_calls import Scripted
from prometheus_client import CollectorRegistry

from transport_trio.metrics import Metrics
from transport_trio.sandbox import SandboxHandle


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(CollectorRegistry())


@pytest.fixture
def open_sandbox_daily(daily_sandbox: SandboxHandle, metrics: Metrics) -> OpenDaily:
    return partial(daily_at, daily_sandbox.api_url, metrics)


@pytest.fixture(params=["fake", "daily"])
async def provider(
    request: pytest.FixtureRequest, daily_sandbox: SandboxHandle, metrics: Metrics
) -> AsyncIterator[Provider]:
    if request.param == "fake":
        yield FakeProvider()
        return
    async with daily_at(daily_sandbox.api_url, metrics) as connector:
        yield SandboxProvider(connector, daily_sandbox)


@pytest.fixture
async def scripted(nursery: trio.Nursery, metrics: Metrics) -> AsyncIterator[Scripted]:
    async with AsyncExitStack() as stack:
        yield Scripted(nursery, metrics, stack)
