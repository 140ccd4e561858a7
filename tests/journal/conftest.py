from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from journal_builders import Box

from transport_trio.journal import SqliteJournal


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "data")


@pytest.fixture
async def journal(box: Box) -> AsyncIterator[SqliteJournal]:
    async with box.open() as journal:
        yield journal
