"""`transport-trio tokens`: what it asks of the service, and how it tells the answers."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from transport_trio.cli.entry import cli

ID = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
TOKEN_ID = "6426c3bc-1779-44d3-a970-00f6d43b3da5"
MINTED = {
    "token_id": TOKEN_ID,
    "session_id": ID,
    "status": "valid",
    "expires_at": "2026-01-01T12:00:00Z",
    "participant": {"name": "Bob\x1b[2J", "user_id": None},
    "meeting_token": "eyJ.a.b",
}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, ["tokens", *args])


def told_of(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_create_asks_for_what_the_options_say_and_no_more(scripted: Any) -> None:
    scripted.answer = (201, MINTED)
    options = ["--participant-name", "Bob", "--ttl-s", "600", "--eject-at-expiry", "--idempotency-key", "k"]
    lines = told_of(invoke("create", ID, "--url", scripted.url, *options))
    (request,) = scripted.requests
    assert (request["method"], request["path"]) == ("POST", f"/sessions/{ID}/tokens")
    assert request["body"] == {
        "participant_config": {"name": "Bob"},
        "options": {"token_ttl_s": 600, "eject_at_expiry": True},
    }
    assert request["headers"]["idempotency-key"] == "k"
    assert lines == [
        f"token {TOKEN_ID} for Bob\\x1b[2J",
        "  token       eyJ.a.b",
        "  token ends  2026-01-01T12:00:00Z",
    ]


def test_list_shows_a_line_for_each_token(scripted: Any) -> None:
    scripted.answer = (200, {"tokens": [MINTED, MINTED | {"participant": {}, "status": "expired"}]})
    lines = told_of(invoke("list", ID, "--url", scripted.url))
    assert scripted.requests[0]["path"] == f"/sessions/{ID}/tokens"
    assert lines == [
        f"{TOKEN_ID}  valid  2026-01-01T12:00:00Z  Bob\\x1b[2J",
        f"{TOKEN_ID}  expired  2026-01-01T12:00:00Z  anybody",
    ]


def test_renew_names_the_token_and_the_length_that_was_asked_for(scripted: Any) -> None:
    scripted.answer = (200, MINTED)
    result = invoke("renew", ID, "a/b", "--ttl-s", "60", "--json", "--url", scripted.url)
    assert json.loads("\n".join(told_of(result))) == MINTED
    (request,) = scripted.requests
    assert request["path"] == f"/sessions/{ID}/tokens/a%2Fb/renew"
    assert request["body"] == {"options": {"token_ttl_s": 60}}


def test_a_token_that_is_not_good_yet_says_when_it_begins(scripted: Any) -> None:
    """Otherwise its bearer is turned away and nobody knows why."""
    later = MINTED | {"options": {"not_before": "2026-01-01T11:55:00Z"}}
    scripted.answer = (201, later)
    lines = told_of(invoke("create", ID, "--url", scripted.url, "--not-before-s", "60"))
    assert lines[2:] == ["  token begins  2026-01-01T11:55:00Z", "  token ends    2026-01-01T12:00:00Z"]
    scripted.answer = (200, {"tokens": [later]})
    (line,) = told_of(invoke("list", ID, "--url", scripted.url))
    assert line.endswith("  not before 2026-01-01T11:55:00Z")
