"""A service in front of the sandbox, quick to notice who comes and goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from examples_support import OpenService

from service_process import Service, service_process
from transport_trio.sandbox import SandboxHandle


@pytest.fixture
def open_service(daily_sandbox: SandboxHandle, tmp_path: Path) -> OpenService:
    return partial(
        service_process,
        tmp_path / "data",
        DAILY_API_URL=daily_sandbox.api_url,
        DAILY_API_KEY=daily_sandbox.api_key,
        DAILY_DOMAIN=daily_sandbox.domain,
        PRESENCE_POLL_S="0.2",
        PRESENCE_CONFIRM_S="0.2",
    )


@pytest.fixture
async def service(open_service: OpenService) -> AsyncIterator[Service]:
    async with open_service() as service:
        yield service
