"""The fixture `daily_sandbox`, for any test suite: a fresh sandbox domain on a real port.

pytest imports this at each of its starts, so it imports nothing heavy before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transport_trio.sandbox.handle import SandboxHandle


FURTHER = "sandbox-eu"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "daily_sandbox(**settings): settings of the Daily sandbox for this test, like presence_lag_s=15"
    )


@pytest.fixture(scope="session")
def _daily_sandbox_server() -> Iterator[SandboxHandle]:
    from transport_trio.sandbox.config import SandboxConfig
    from transport_trio.sandbox.thread import sandbox_in_thread

    with sandbox_in_thread(SandboxConfig(further_domains={FURTHER: FURTHER})) as handle:
        yield handle


@pytest.fixture
def daily_sandbox(_daily_sandbox_server: SandboxHandle, request: pytest.FixtureRequest) -> SandboxHandle:
    """A Daily look-alike on a free port of this machine, without rooms, people, faults or used-up rate limits."""
    marker = request.node.get_closest_marker("daily_sandbox")
    _daily_sandbox_server.reset(**(marker.kwargs if marker else {}))
    return _daily_sandbox_server


@pytest.fixture
def daily_sandbox_eu(daily_sandbox: SandboxHandle) -> SandboxHandle:
    """Another domain, `sandbox-eu`, behind the port of `daily_sandbox`: with a key, rooms and limits of its own."""
    further = daily_sandbox.further[FURTHER]
    further.reset()
    return further
