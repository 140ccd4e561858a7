"""The short form of every drill: the same program, peers and faults, a few times each."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from drills.__main__ import NAMES, run_drill

SHORT_S = 120.0  # bounds a drill that hangs


@pytest.mark.parametrize("name", NAMES)
async def test_short_drill(name: str, tmp_path: Path) -> None:
    with trio.fail_after(SHORT_S):
        result = await run_drill(name, tmp_path, short=True, quiet=True)
    assert [claim for claim in result["claims"] if not claim["holds"]] == []
    assert result["passed"]
