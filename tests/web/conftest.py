from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from web_rig import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running
