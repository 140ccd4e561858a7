"""The short form of every drill: the same program, peers and faults, a few times each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drills.__main__ import NAMES, ROOT
from drills.frame.launcher import own_environ

# What they need that is no Python: run by `make test-tools`.
NEEDS_TOOLS = {"clock_jumps"}
SHORT_S = 600.0  # bounds drills that hang; all of them take about a minute


def run(names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """The results of some drills, which run side by side as `make drills` has them: mostly they wait."""
    results = folder / "results.json"
    command = [sys.executable, "-m", "drills", "--short", "--json", str(results), *names]
    done = subprocess.run(
        command, cwd=ROOT, env=own_environ(), capture_output=True, text=True, check=False, timeout=SHORT_S
    )
    assert results.exists(), done.stdout + done.stderr
    found = {result["drill"]: result for result in json.loads(results.read_text())}
    assert done.returncode == (0 if all(result["passed"] for result in found.values()) else 1)
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run([name for name in NAMES if name not in NEEDS_TOOLS], tmp_path_factory.mktemp("drills"))


def check(result: dict[str, Any]) -> None:
    assert [claim for claim in result["claims"] if not claim["holds"]] == []
    assert result["passed"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_TOOLS])
def test_short_drill(name: str, results: dict[str, dict[str, Any]]) -> None:
    check(results[name])


@pytest.mark.tools
@pytest.mark.parametrize("name", sorted(NEEDS_TOOLS))
def test_short_drill_that_needs_a_tool(name: str, tmp_path: Path) -> None:
    check(run([name], tmp_path)[name])
