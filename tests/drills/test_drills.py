"""The short form of every drill: the same program, peers and faults, a few times each."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from drills.__main__ import NAMES, run_drill

SHORT_S = 120.0  # bounds a drill that hangs
# What takes more than Python, and Debian's package for it: `make test-tools` runs these, and fails where it is missing.
NEEDS_TOOLS = {"clock_jumps": "faketime"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.tools) if name in NEEDS_TOOLS else name for name in NAMES]
)
async def test_short_drill(name: str, tmp_path: Path) -> None:
    with trio.fail_after(SHORT_S):
        result = await run_drill(name, tmp_path, short=True, quiet=True)
    assert [claim for claim in result["claims"] if not claim["holds"]] == []
    assert result["passed"]
