from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import nats.js.errors
import pytest
import trio_asyncio
from bus_rig import PATIENT, until_ready
from prometheus_client import CollectorRegistry

from nats_server import NatsServer, Onlooker
from transport_trio.bus import NatsBus, open_nats
from transport_trio.metrics import Metrics


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """For tests that stop, freeze or kill it."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def onlooker(shared_server: NatsServer) -> Onlooker:
    """Looks at the shared server, on which there is no stream yet."""
    onlooker = Onlooker(shared_server.url)
    with suppress(nats.js.errors.NotFoundError):
        await onlooker.delete_stream()
    return onlooker


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(CollectorRegistry())


@pytest.fixture
async def asyncio_loop() -> AsyncIterator[None]:
    async with trio_asyncio.open_loop():
        yield


@pytest.fixture
async def bus(asyncio_loop: None, shared_server: NatsServer, onlooker: Onlooker) -> AsyncIterator[NatsBus]:
    """A bus on the shared server, ready, with an empty stream."""
    async with open_nats(shared_server.url, settings=PATIENT) as bus:
        await until_ready(bus)
        yield bus
