"""The service put together as `runtime.py` does, on a fake provider and a fake bus, without the web."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio
from machine_provider import Provider
from prometheus_client import CollectorRegistry

from fakes_bus import FakeBus
from fakes_connector import OneConnector, trio_time
from transport_trio.bus import READER, Relay
from transport_trio.concurrency import SystemClock
from transport_trio.hub import Hub, open_hub
from transport_trio.journal import SqliteJournal, open_journal
from transport_trio.metrics import Metrics
from transport_trio.sessions import SessionService, open_sessions
from transport_trio.sessions.deps import Deps
from transport_trio.settings import Settings

A_MONTH_S = 30 * 86400
SETTINGS = Settings(token_warning_s=20.0, events_keep_s=A_MONTH_S, sessions_keep_s=A_MONTH_S)


@attrs.define(eq=False)
class Service:
    """One run of the service."""

    journal: SqliteJournal
    hub: Hub
    relay: Relay
    sessions: SessionService
    metrics: Metrics
    began: float
    stop: trio.Event = attrs.field(factory=trio.Event)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@asynccontextmanager
async def open_service(folder: Path, provider: Provider, bus: FakeBus) -> AsyncIterator[Service]:
    """As `runtime.py` opens and stops it, without the web; leaving it stops it in order."""
    metrics = Metrics.create(CollectorRegistry())
    clock = SystemClock(wall=trio_time)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            open_journal(
                folder,
                metrics=metrics,
                clock=clock,
                max_mib=SETTINGS.journal_max_mib,
                events_keep_s=SETTINGS.events_keep_s,
                sessions_keep_s=SETTINGS.sessions_keep_s,
                readers=frozenset({READER}),
                tidy_every_s=60.0,
            )
        )
        hub = await stack.enter_async_context(open_hub(journal, metrics, SETTINGS))
        journal.on_commit(hub.tell)
        relay = await stack.enter_async_context(_relaying(journal, hub, bus, metrics))
        deps = Deps(
            journal=journal,
            connectors=OneConnector(provider),
            clock=clock,
            metrics=metrics,
            settings=SETTINGS,
            jitter=random.Random(1),
        )
        sessions = await stack.enter_async_context(open_sessions(deps))
        yield Service(journal, hub, relay, sessions, metrics, trio.current_time())
        hub.close()
        await sessions.drain(SETTINGS.drain_s)


@asynccontextmanager
async def _relaying(journal: SqliteJournal, hub: Hub, bus: FakeBus, metrics: Metrics) -> AsyncIterator[Relay]:
    async def begin_new_epoch() -> None:
        await journal.begin_new_epoch()
        hub.tell(())

    relay = Relay(journal, bus, metrics, on_rollback=begin_new_epoch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.run, name="relay")
        yield relay
        with trio.move_on_after(SETTINGS.drain_s):
            await relay.drain()
        nursery.cancel_scope.cancel(reason="the service is stopping")
