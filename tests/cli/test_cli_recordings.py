"""`transport-trio recordings`: what it asks of the service, and how it tells the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from transport_trio.cli.entry import cli

ID = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
PATH = f"/sessions/{ID}/recordings"
ONE = {"recording_id": "c1", "status": "recording", "started_at": "2026-01-01T11:30:00Z", "duration_s": None}
READY = {**ONE, "status": "ready", "duration_s": 65.0, "error": None}
FAILED = {"recording_id": "c2", "status": "error", "error": "no\x1b[2Jdisk"}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, ["recordings", *args])


def asked(scripted: Any) -> tuple[str, str, Any]:
    (request,) = scripted.requests
    return request["method"], request["path"], request["body"]


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ((), {}),
        (("--type", "raw-tracks", "--max-duration-s", "60"), {"type": "raw-tracks", "max_duration_s": 60}),
        (("--additional",), {"additional": True}),
        (("--options", '{"fps": 10, "type": "cloud"}', "--type", "raw-tracks"), {"fps": 10, "type": "raw-tracks"}),
    ],
)
def test_start_asks_for_what_it_was_told(scripted: Any, options: tuple[str, ...], body: dict[str, Any]) -> None:
    scripted.answer = (201, ONE)
    result = invoke("start", "--url", scripted.url, ID, *options)
    assert asked(scripted) == ("POST", PATH, body)
    assert (result.exit_code, result.output) == (0, "c1  recording     since 2026-01-01T11:30:00Z\n")


def test_list_tells_each_on_a_line(scripted: Any) -> None:
    scripted.answer = (200, {"recordings": [READY, FAILED], "total": 2})
    result = invoke("list", "--url", scripted.url, ID)
    assert result.output.splitlines() == [
        "c1  ready         since 2026-01-01T11:30:00Z, 1 min 5 s long",
        "c2  error         no\\x1b[2Jdisk",
        "2 recordings",
    ]


@pytest.mark.parametrize(
    ("command", "method", "path"),
    [("stop", "POST", f"{PATH}/a%2Fb/stop"), ("delete", "DELETE", f"{PATH}/a%2Fb")],
)
def test_stop_and_delete_name_the_recording(scripted: Any, command: str, method: str, path: str) -> None:
    scripted.answer = (200, READY)
    result = invoke(command, "--url", scripted.url, "--json", ID, "a/b")
    assert asked(scripted)[:2] == (method, path)
    assert json.loads(result.output) == READY


def test_link_prints_nothing_else(scripted: Any) -> None:
    scripted.answer = (200, {"recording_id": "c1", "download_link": "https://x/y", "expires_at": None})
    result = invoke("link", "--url", scripted.url, ID, "c1", "--valid-for-s", "60")
    assert asked(scripted)[:2] == ("GET", f"{PATH}/c1/link?valid_for_s=60")
    assert result.output == "https://x/y\n"


def test_show_tells_all_that_is_known(scripted: Any) -> None:
    scripted.answer = (200, READY | {"error": "no\x1b[2Jdisk"})
    result = invoke("show", "--url", scripted.url, ID, "a/b")
    assert asked(scripted)[:2] == ("GET", f"{PATH}/a%2Fb")
    assert result.output.splitlines() == [
        "  recording id  c1",
        "  status        ready",
        "  started at    2026-01-01T11:30:00Z",
        "  duration      1 min 5 s",
        "  error         no\\x1b[2Jdisk",
    ]


def test_update_sends_what_changes(scripted: Any) -> None:
    scripted.answer = (200, ONE)
    options = ("--options", '{"fps": 10}', "--max-duration-s", "60")
    assert invoke("update", "--url", scripted.url, ID, "c1", *options).output.startswith("c1  recording ")
    assert asked(scripted) == ("POST", f"{PATH}/c1/update", {"fps": 10, "max_duration_s": 60})
    assert "say what changes" in invoke("update", "--url", scripted.url, ID, "c1").output
