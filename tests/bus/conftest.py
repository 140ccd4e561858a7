from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio_asyncio
from bus_rig import PATIENT, until_ready
from prometheus_client import CollectorRegistry

from nats_server import NatsServer, Onlooker, Place, SharedServer
from transport_trio.bus import NatsBus, open_nats
from transport_trio.metrics import Metrics


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Place]]:
    server = SharedServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server.places()
    server.stop()


@pytest.fixture
def place(places: Iterator[Place]) -> Place:
    """On a server that all tests share, with no stream in it yet."""
    return next(places)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """For tests that stop, freeze or kill it."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def onlooker(place: Place) -> Onlooker:
    return Onlooker(place.url)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(CollectorRegistry())


@pytest.fixture
async def asyncio_loop() -> AsyncIterator[None]:
    async with trio_asyncio.open_loop():
        yield


@pytest.fixture
async def bus(asyncio_loop: None, place: Place) -> AsyncIterator[NatsBus]:
    """A bus that is ready, with an empty stream."""
    async with open_nats(place.url, settings=PATIENT) as bus:
        await until_ready(bus)
        yield bus
