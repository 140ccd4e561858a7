"""Services in front of the sandbox, quick to notice who comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from examples_support import OpenService

from service_process import Service, in_thread, service_process
from transport_trio.sandbox import SandboxHandle


def before(sandbox: SandboxHandle, data_dir: Path) -> OpenService:
    return partial(
        service_process,
        data_dir,
        DAILY_API_URL=sandbox.api_url,
        DAILY_API_KEY=sandbox.api_key,
        DAILY_DOMAIN=sandbox.domain,
        PRESENCE_POLL_S="0.2",
        PRESENCE_CONFIRM_S="0.2",
    )


@pytest.fixture
def open_service(daily_sandbox: SandboxHandle, tmp_path: Path) -> OpenService:
    """Opens services that a test has for itself, one after the other on the same journal."""
    return before(daily_sandbox, tmp_path / "data")


@pytest.fixture(scope="module")
def _shared_service(
    _daily_sandbox_server: SandboxHandle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    # Not for the whole run: it looks at the provider, whose requests the sandbox's own tests count.
    with in_thread(before(_daily_sandbox_server, tmp_path_factory.mktemp("examples"))) as service:
        yield service


@pytest.fixture
def service(_shared_service: Service, daily_sandbox: SandboxHandle) -> Service:
    """A service that other tests use as well: their sessions may still be there, or be ending."""
    return _shared_service
