from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from web_rig import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running


@pytest.fixture
def errors_expected() -> None:
    """For tests in which something breaks on purpose."""


@pytest.fixture(autouse=True)
def nothing_breaks_unseen(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An answer may look right while its handler failed behind it; the log knows."""
    yield
    if "errors_expected" not in request.fixturenames:
        assert [each.message for each in caplog.get_records("call") if each.levelno >= logging.ERROR] == []
