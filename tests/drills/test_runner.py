"""What `python -m drills` does around the drills: it is asked, refused and interrupted."""

from __future__ import annotations

import subprocess
import sys

from drills.__main__ import NAMES, ROOT
from drills.frame.launcher import own_environ

REFUSED_S = 30.0  # nothing here runs a drill to its end


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "drills", *args]


def environ(**more: str) -> dict[str, str]:
    """As in a shell: without our path to the tests."""
    return {name: value for name, value in own_environ().items() if name != "PYTHONPATH"} | more


def drills(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=ROOT, env=environ(), capture_output=True, text=True, check=False, timeout=REFUSED_S
    )


def test_the_list_says_what_each_drill_is_about() -> None:
    listed = drills("--list")
    assert listed.returncode == 0, listed.stderr
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    assert [name for name, *about in lines if about] == list(NAMES)
