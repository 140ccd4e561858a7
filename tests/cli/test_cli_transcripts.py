"""`transport-trio transcripts`: what it asks of the service, and how it tells the answers."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from transport_trio.cli.entry import cli

ID = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
ONE = {"transcript_id": "t1", "status": "transcribing", "started_at": "2026-01-01T11:30:00Z"}
SPOKEN = ("start", "--language", "de", "--options", '{"punctuate": true}')


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, ["transcripts", *args])


@pytest.mark.parametrize(
    ("args", "asked", "body"),
    [
        (SPOKEN, "POST transcription/start", {"language": "de", "punctuate": True}),
        (("stop",), "POST transcription/stop", {}),
        (("stop", "t1"), "POST transcription/stop", {"transcript_id": "t1"}),
        (("update", "--participant-id", "p1"), "POST transcription/update", {"participant_ids": ["p1"]}),
        (
            ("update", "t1", "--participant-id", "p1", "--participant-id", "p2"),
            "POST transcription/update",
            {"participant_ids": ["p1", "p2"], "transcript_id": "t1"},
        ),
        (("delete", "t1"), "DELETE transcripts/t1", None),
    ],
)
def test_each_asks_for_what_it_was_told(scripted: Any, args: tuple[str, ...], asked: str, body: Any) -> None:
    scripted.answer = (200, ONE)
    result = invoke(args[0], "--url", scripted.url, ID, *args[1:])
    (request,) = scripted.requests
    assert f"{request['method']} {request['path'].removeprefix(f'/sessions/{ID}/')}" == asked
    assert request["body"] == body
    assert result.output == "t1  transcribing  since 2026-01-01T11:30:00Z\n"


def test_start_says_at_once_when_nothing_will_be_kept(scripted: Any) -> None:
    """Who learns it after the call has lost what was said."""
    scripted.answer = (201, ONE | {"stored": False})
    lines = invoke("start", "--url", scripted.url, ID).output.splitlines()
    assert lines[0].startswith("t1  transcribing")
    assert lines[1].startswith("nothing is kept: the session was made without --enable-transcription")
    assert "nothing is kept" not in invoke("start", "--url", scripted.url, "--json", ID).output
    scripted.answer = (201, ONE | {"stored": True})
    assert "nothing is kept" not in invoke("start", "--url", scripted.url, ID).output


def test_list_and_link_print_what_there_is(scripted: Any) -> None:
    scripted.answer = (200, {"transcripts": [ONE], "total": 1, "download_link": "https://x/y"})
    assert invoke("list", "--url", scripted.url, ID).output.splitlines()[-1] == "1 transcript"
    assert invoke("link", "--url", scripted.url, ID, "t1").output == "https://x/y\n"


def test_show_tells_all_that_is_known(scripted: Any) -> None:
    scripted.answer = (200, ONE | {"stored": False, "error": None})
    assert invoke("show", "--url", scripted.url, ID, "t1").output.splitlines() == [
        "  transcript id  t1",
        "  status         transcribing",
        "  started at     2026-01-01T11:30:00Z",
        "  stored         no",
    ]
    assert scripted.requests[0]["path"] == f"/sessions/{ID}/transcripts/t1"
