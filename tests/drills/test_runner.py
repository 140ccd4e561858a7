"""What `python -m drills` does around the drills: it is asked, refused and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drills.__main__ import NAMES, ROOT
from drills.frame.launcher import own_environ

WITHIN_S = 30.0  # bounds a test that hangs; nothing here runs a drill to its end


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "drills", *args]


def environ(**more: str) -> dict[str, str]:
    """As in a shell: without our path to the tests."""
    return {name: value for name, value in own_environ().items() if name != "PYTHONPATH"} | more


def drills(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=ROOT, env=environ(), capture_output=True, text=True, check=False, timeout=WITHIN_S
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


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started(folder: Path, name: str = "disk_full") -> subprocess.Popen[str]:
    """A drill in the middle of its work, with its temporary folder in this one. By default one that mounts a disk."""
    run = subprocess.Popen(
        command(name, "--short"),
        cwd=ROOT,
        env=environ(TMPDIR=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: any(b"service started" in log.read_bytes() for log in folder.glob(f"*/{name}/service.log")))
    return run


def processes_of(folder: Path) -> list[str]:
    """Whoever has been started, at whatever remove, with that temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(f"TMPDIR={folder}") in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """The signal goes to the whole group, as a terminal and `timeout` send it, and some send it twice."""
    run = started(tmp_path)
    os.killpg(run.pid, number)
    os.killpg(run.pid, number)
    printed, told = run.communicate(timeout=WITHIN_S)
    assert run.returncode == 128 + number, told
    assert printed == ""
    begin, first, *_, last = told.splitlines()
    assert begin == "1 drill; logs are kept only with --keep"
    assert first.endswith(" s  started disk_full (1 of 1)")
    assert last == "interrupted"
    assert "Traceback" not in told
    assert processes_of(tmp_path) == []
    assert list(tmp_path.glob("transport-trio-drills-*")) == []


def test_a_drill_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    run = started(tmp_path)
    assert processes_of(tmp_path)
    run.kill()
    _, told = run.communicate(timeout=WITHIN_S)  # at the end of the last process that can write there
    assert "Traceback" not in told
    until(lambda: not processes_of(tmp_path))
    assert not list(tmp_path.glob("*/disk_full/result.json")), "it came to its own end"
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_who_sees_a_drill_fail_is_told_how_to_have_its_logs(tmp_path: Path) -> None:
    run = started(tmp_path, "hang_up")
    [drill] = [pid for pid in processes_of(tmp_path) if b"--here" in (Path("/proc") / pid / "cmdline").read_bytes()]
    os.kill(int(drill), signal.SIGKILL)
    printed, _ = run.communicate(timeout=WITHIN_S)
    assert run.returncode == 1
    assert "it ended with code -9" in printed
    assert "python -m drills hang_up --short --keep FOLDER" in printed.splitlines()[-1]
