"""`transport-trio participants`: what it asks of the service, and how it tells the answers and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from transport_trio.cli.entry import cli

ID = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
ADA = {"id": "p-1", "user_id": "u-1", "name": "Ada\x1b[2J", "joined_at": "2026-01-01T11:30:00Z"}
EVE = {"id": "p-2", "user_id": None, "name": None, "joined_at": "2026-01-01T11:31:00Z"}
LISTED = {"participants": [ADA, EVE], "total": 2, "presence_checked_at": "2026-01-01T11:32:00Z"}
SENT = {"recipient": "*", "data_bytes": 12}


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, ["participants", *args])


def asked(scripted: Any) -> tuple[str, str, Any]:
    (request,) = scripted.requests
    return request["method"], request["path"], request["body"]


def test_list_names_everybody_and_says_how_old_that_is(scripted) -> None:
    scripted.answer = (200, LISTED)
    result = invoke("list", "--url", scripted.url, ID)
    assert result.exit_code == 0
    assert asked(scripted)[:2] == ("GET", f"/sessions/{ID}/participants")
    assert result.output.splitlines() == [
        "p-1  Ada\\x1b[2J, user u-1, since 2026-01-01T11:30:00Z",
        "p-2  guest p-2, since 2026-01-01T11:31:00Z",
        "2 in the room, as looked up: 2026-01-01T11:32:00Z",
    ]


def test_list_tells_what_people_may_do_and_when_they_are_put_out(scripted) -> None:
    """That is what somebody looks for who wants to permit or extend."""
    sends = {"can_admin": False} | {f"can_send_{kind}": True for kind in ("video", "audio", "screen_video")}
    mute = dict.fromkeys(sends, False) | {"can_admin": True}
    people = [
        ADA | {"is_owner": True, "permissions": sends | {"can_send_screen_audio": True}},
        EVE | {"is_owner": False, "permissions": sends, "will_eject_at": "2026-01-01T12:00:00Z"},
        EVE | {"is_owner": False, "permissions": mute},
    ]
    scripted.answer = (200, LISTED | {"participants": people})
    lines = invoke("list", "--url", scripted.url, ID).output.splitlines()
    assert [line.partition("Z, ")[2] for line in lines[:3]] == [
        "owner, sends all",
        "sends video and audio and screen_video, put out at 2026-01-01T12:00:00Z",
        "admin, sends nothing",
    ]


def test_eject_names_whom_it_was_told_and_tells_who_is_out(scripted) -> None:
    scripted.answer = (200, {"ejected": ["p-1", "p-2"]})
    result = invoke("eject", "--url", scripted.url, ID, "--id", "p-1", "--id", "p-9", "--user-id", "u-2", "--ban")
    body = {"participant_ids": ["p-1", "p-9"], "user_ids": ["u-2"], "ban": True}
    assert asked(scripted) == ("POST", f"/sessions/{ID}/eject", body)
    assert (result.exit_code, result.output) == (0, "put out: p-1, p-2\n")


def test_eject_says_when_nobody_was_there(scripted) -> None:
    scripted.answer = (200, {"ejected": []})
    result = invoke("eject", "--url", scripted.url, ID, "--id", "p-9")
    assert asked(scripted)[2]["ban"] is False
    assert result.output == "nobody with that id is there\n"


SEND_NOTHING = {f"can_send_{kind}": False for kind in ("video", "audio", "screen_video", "screen_audio")}


@pytest.mark.parametrize(
    ("options", "who", "permissions"),
    [
        (["p-1", "--admin"], "p-1", {"can_admin": True}),
        (["p-1", "--no-admin", "--send", "none"], "p-1", {"can_admin": False, **SEND_NOTHING}),
        (["all", "--send", "all"], "*", dict.fromkeys(SEND_NOTHING, True)),
        (
            ["all", "--send", "audio,screen-video"],
            "*",
            {**SEND_NOTHING, "can_send_audio": True, "can_send_screen_video": True},
        ),
    ],
)
def test_permit_changes_what_is_named(scripted, options: list[str], who: str, permissions: dict[str, bool]) -> None:
    scripted.answer = (200, {})
    result = invoke("permit", "--url", scripted.url, ID, *options)
    body = {"participant_id": who, "permissions": permissions}
    assert asked(scripted) == ("POST", f"/sessions/{ID}/permissions", body)
    assert (result.exit_code, result.output) == (0, "permissions changed\n")


@pytest.mark.parametrize(("options", "recipient"), [([], "*"), (["--to", "p-1"], "p-1"), (["--to", "all"], "*")])
def test_message_goes_to_all_or_to_one(scripted, options: list[str], recipient: str) -> None:
    scripted.answer = (200, SENT)
    result = invoke("message", "--url", scripted.url, ID, '{"say": "hi"}', *options)
    body = {"data": {"say": "hi"}, "recipient": recipient}
    assert asked(scripted) == ("POST", f"/sessions/{ID}/messages", body)
    assert (result.exit_code, result.output) == (0, "sent 12 bytes\n")


@pytest.mark.parametrize(
    "args",
    [
        ("eject", ID),
        ("permit", ID, "all"),
        ("permit", ID, "all", "--send", "smell"),
        ("message", ID, "hello"),
        ("message", ID, "[1]"),
    ],
)
def test_what_makes_no_sense_is_not_sent(scripted, args: tuple[str, ...]) -> None:
    result = invoke(args[0], "--url", scripted.url, *args[1:])
    assert result.exit_code == 2
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (("list", ID), LISTED),
        (("eject", ID, "--id", "p-1"), {"ejected": ["p-1"]}),
        (("permit", ID, "all", "--admin"), {"participant_id": "*", "permissions": {"can_admin": True}}),
        (("message", ID, "{}"), SENT),
    ],
)
def test_json_is_the_services_own_answer(scripted, args: tuple[str, ...], answer: Any) -> None:
    scripted.answer = (200, answer)
    result = invoke(args[0], "--url", scripted.url, *args[1:], "--json")
    assert json.loads(result.output) == answer


def test_a_refusal_is_told(scripted) -> None:
    scripted.answer = (409, {"code": "nobody_in_call", "detail": "nobody is there", "title": "x", "status": 409})
    result = invoke("message", "--url", scripted.url, ID, "{}")
    assert result.exit_code == 1
    assert "nobody is there" in result.output
