"""`transport-trio live-streams`: what it asks of the service, and how it tells the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from transport_trio.cli.entry import cli

ID = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
ONE = {"stream_id": "s1", "status": "running", "started_at": "2026-01-01T11:30:00Z", "destinations": ["a.example"]}


def invoke(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["live-streams", *args], input=stdin)


@pytest.mark.parametrize(
    ("args", "asked", "body"),
    [
        (("start", "--endpoint", "tv", "--endpoint", "radio"), "", {"endpoints": ["tv", "radio"]}),
        (("start", "--rtmp-urls-file", "-", "--max-duration-s", "60"), "", {"rtmp_urls": ["u1"], "max_duration_s": 60}),
        (("start", "--options", '{"endpoints": ["tv"], "fps": 5}'), "", {"endpoints": ["tv"], "fps": 5}),
        (("start", "--endpoint", "tv", "--additional"), "", {"endpoints": ["tv"], "additional": True}),
        (("stop", "s1"), "/s1/stop", {}),
    ],
)
def test_each_asks_for_what_it_was_told(scripted: Any, args: tuple[str, ...], asked: str, body: Any) -> None:
    scripted.answer = (200, ONE)
    result = invoke(args[0], "--url", scripted.url, ID, *args[1:], stdin="u1\n\n")
    (request,) = scripted.requests
    assert (request["method"], request["path"]) == ("POST", f"/sessions/{ID}/live-streams{asked}")
    assert request["body"] == body
    assert result.output == "s1  running       since 2026-01-01T11:30:00Z  to a.example\n"


def test_addresses_come_from_a_file_so_that_no_list_of_processes_shows_them(scripted: Any, tmp_path: Path) -> None:
    scripted.answer = (201, ONE)
    urls = tmp_path / "urls"
    urls.write_text("rtmp://a/1\n rtmp://b/2 \n")
    invoke("start", "--url", scripted.url, ID, "--rtmp-urls-file", str(urls))
    assert scripted.requests[0]["body"] == {"rtmp_urls": ["rtmp://a/1", "rtmp://b/2"]}


def test_list_prints_what_there_is(scripted: Any) -> None:
    scripted.answer = (200, {"live_streams": [ONE], "total": 1})
    assert invoke("list", "--url", scripted.url, ID).output.splitlines()[-1] == "1 live stream"
