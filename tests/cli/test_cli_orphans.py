"""`transport-trio orphans`: what it asks of the service, and how it tells the answers."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from cli_children import COMMAND
from click.testing import CliRunner, Result

from transport_trio.cli.entry import cli

SWEEP = {
    "provider": "daily",
    "finished_at": "2026-01-01T11:00:40Z",
    "rooms_total": 1000,
    "foreign": 997,
    "known": 1,
    "left": {"empty": 0, "occupied": 1, "young": 0, "unproven": 0},
    "deleted": 1,
    "failure": None,
    "orphans": [
        {"room_name": "tt-a", "kind": "empty", "deleted": True, "expires_at": "2026-01-01T15:00:00Z"},
        {"room_name": "tt-b\x1b[2J", "kind": "occupied", "deleted": False, "expires_at": "2026-01-01T15:00:00Z"},
    ],
}
KNOWN = {"mode": "report", "completed": 3, "running": False, "sweeps": [SWEEP], "sweep": 3}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, ["orphans", *args])


def test_show_tells_the_latest_sweep_and_its_rooms(scripted: Any) -> None:
    scripted.answer = (200, KNOWN)
    result = invoke("show", "--url", scripted.url)
    assert result.exit_code == 0, result.output
    (request,) = scripted.requests
    assert (request["method"], request["path"]) == ("GET", "/orphans")
    assert result.output.splitlines() == [
        (
            "daily at 2026-01-01T11:00:40Z: 1000 rooms, 997 foreign, 1 of sessions;"
            " orphans left: 0 empty, 1 occupied, 0 young, 0 unproven; 1 deleted"
        ),
        "  deleted  tt-a  until  2026-01-01T15:00:00Z",
        "  occupied  tt-b\\x1b[2J  until  2026-01-01T15:00:00Z",
    ]


def test_show_says_why_there_is_nothing_and_why_a_sweep_broke_off(scripted: Any) -> None:
    scripted.answer = (200, {"mode": "off", "completed": 0, "sweeps": []})
    assert invoke("show", "--url", scripted.url).output == "no sweep is over yet (ORPHAN_SWEEP=off)\n"
    scripted.answer = (200, KNOWN | {"sweeps": [SWEEP | {"failure": "daily is down", "orphans": []}]})
    assert "  broke off: daily is down\n" in invoke("show", "--url", scripted.url).output


@pytest.mark.parametrize("delete", [False, True])
def test_sweep_asks_for_one_and_waits_for_its_end(scripted: Any, delete: bool) -> None:
    scripted.answer = (200, KNOWN)
    result = invoke("sweep", *(["--delete"] if delete else []), "--json", "--url", scripted.url)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == KNOWN
    first, second = scripted.requests
    assert (first["method"], first["path"], first["body"]) == ("POST", "/orphans/sweep", {"delete": delete})
    assert (second["method"], second["path"]) == ("GET", "/orphans")


def test_sweep_gives_up_waiting_when_told_to(scripted: Any) -> None:
    scripted.answer = (200, KNOWN | {"sweep": 4})
    result = invoke("sweep", "--wait-s", "0", "--url", scripted.url)
    assert result.exit_code == 1
    assert "not over after 0 s" in result.output


def test_a_long_sweep_shows_on_a_terminal_that_it_goes_on(scripted: Any, clean_environ: dict[str, str]) -> None:
    """Two looks lie half a minute apart: who sees nothing for so long takes the command for stuck."""
    scripted.answer = (200, KNOWN | {"sweep": 4})
    outer, inner = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "orphans", "sweep", "--delete", "--json", "--url", scripted.url],
        env=clean_environ,
        stdout=subprocess.PIPE,
        stderr=inner,
        text=True,
    )
    os.close(inner)
    shown = b""
    while b"waiting for the end of the sweep: " not in shown:
        shown += os.read(outer, 1000)
    scripted.answer = (200, KNOWN | {"completed": 4})
    stdout, _ = process.communicate(timeout=30)
    os.close(outer)
    assert (process.returncode, json.loads(stdout)["completed"]) == (0, 4)


def test_help_says_how_far_the_two_looks_lie_apart() -> None:
    assert "PRESENCE_CONFIRM_S" in invoke("sweep", "--help").output
