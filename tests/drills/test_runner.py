"""What `python -m drills` does around the drills: it is asked, refused and interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def refused(*args: str) -> str:
    """Why the command was refused; it has run nothing then."""
    done = drills(*args)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


def test_a_folder_that_a_drill_has_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hang_up").mkdir()
    (tmp_path / "kill_between").mkdir()  # empty: as good as none
    (tmp_path / "hang_up" / "service.log").touch()
    reason = refused("kill_between", "hang_up", "--keep", str(tmp_path))
    assert f"{tmp_path / 'hang_up'} is not empty: remove it" in reason


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hang_up").touch()
    assert "cannot be used" in refused("hang_up", "--keep", str(tmp_path))
    assert "is a file" in refused("hang_up", "--keep", str(tmp_path / "hang_up"))


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("hang_up", "--json", str(tmp_path))
    assert "cannot be written" in refused("hang_up", "--json", str(tmp_path / "file" / "results.json"))
