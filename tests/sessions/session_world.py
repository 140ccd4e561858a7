"""A session service on Trio's clock: a journal in memory, a scripted provider, no I/O."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import attrs
import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from fakes import MemoryJournal
from fakes_connector import FakeConnector, OneConnector, trio_time
from transport_trio.concurrency import RestartPolicy
from transport_trio.events import RecordedEvent
from transport_trio.metrics import Metrics
from transport_trio.models import Room, RoomPlan, TokenPlan
from transport_trio.ports import Seen
from transport_trio.sessions import SessionService, open_sessions
from transport_trio.sessions.deps import Deps
from transport_trio.settings import Settings


class TrioTime:
    """A wall clock that goes exactly with Trio's."""

    def now(self) -> datetime:
        return trio_time()

    async def sleep_until(self, at: datetime) -> None:
        await trio.sleep((at - trio_time()).total_seconds())


class CrashingConnector(FakeConnector):
    """A provider whose answers about one room hit a bug of ours."""

    def __init__(self) -> None:
        super().__init__()
        self._bugs: dict[str, Exception] = {}
        self._token_bug: Exception | None = None

    def crash_token(self, bug: Exception) -> None:
        """Hit a bug in the next answer that holds a token."""
        self._token_bug = bug

    async def create_token(self, plan: TokenPlan) -> str:
        bug, self._token_bug = self._token_bug, None
        if bug is not None:
            raise bug
        return await super().create_token(plan)

    def crash(self, room_name: str, bug: Exception) -> None:
        self._bugs[room_name] = bug

    async def create_room(self, plan: RoomPlan) -> Room:
        if plan.name in self._bugs:
            raise self._bugs[plan.name]
        return await super().create_room(plan)

    def recover_room(self, room_name: str) -> None:
        del self._bugs[room_name]

    async def presence(self, room_name: str, *, fresh: bool = False) -> Seen:
        if room_name in self._bugs:
            raise self._bugs[room_name]
        return await super().presence(room_name, fresh=fresh)


@attrs.define(eq=False)
class World:
    """Everything around the service under test, and what it has told."""

    journal: MemoryJournal
    connector: CrashingConnector
    metrics: Metrics
    deps: Deps
    told: list[RecordedEvent]

    def types(self, session_id: str | None = None) -> list[str]:
        return [event.type.value for event in self.told if session_id in (None, event.session_id)]

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @asynccontextmanager
    async def service(self) -> AsyncIterator[SessionService]:
        async with open_sessions(self.deps) as service:
            yield service


@pytest.fixture
def settings() -> Settings:
    # Sweeps would ask the provider in tests that list what is asked.
    return Settings(orphan_sweep="off")


@pytest.fixture
async def world(autojump_clock: MockClock, settings: Settings) -> World:
    journal, connector = MemoryJournal(), CrashingConnector()
    metrics = Metrics.create(CollectorRegistry())
    told: list[RecordedEvent] = []
    journal.on_commit(told.extend)
    deps = Deps(
        journal=journal,
        connectors=OneConnector(connector),
        clock=TrioTime(),
        metrics=metrics,
        settings=settings,
        jitter=random.Random(1),
        restarts=RestartPolicy(max_restarts=2, base_delay_s=1),
    )
    return World(journal, connector, metrics, deps, told)
