from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fakes_hub import Rig, open_rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        yield rig
