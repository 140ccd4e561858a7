"""`make check-metrics` fails on whatever promtool finds, and says so when there is no promtool.

That promtool itself finds nothing is what `make check-metrics` shows; here a stand-in plays its part.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service_process import child_process

SCRIPT = Path(__file__).parents[2] / "deploy" / "prometheus" / "check_metrics.py"


async def test_finding_of_promtool_fails_the_check(tmp_path: Path) -> None:
    tool = tmp_path / "promtool"
    tool.write_text(f'#!/bin/sh\ncat > "{tmp_path}/metrics"\necho "some_metric no help text"\nexit 3\n')
    tool.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    async with child_process([sys.executable, str(SCRIPT)], {"PATH": path}) as check:
        await check.line("some_metric no help text")
        assert await check.ended() == 1
    shown = (tmp_path / "metrics").read_text()
    assert "\nactive_sessions 0.0\n" in shown
    assert 'status="404"' in shown, "refusals are among the traffic"


async def test_missing_promtool_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    async with child_process([sys.executable, str(SCRIPT)], {"PATH": str(tmp_path)}) as check:
        await check.line("promtool is not installed; on Debian: apt-get install prometheus")
        assert await check.ended() == 1
