"""`transport-trio sessions`: what it asks of the service, and how it tells the answers and refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_children import COMMAND
from click.testing import CliRunner, Result

from transport_trio.cli.client import Call, ask
from transport_trio.cli.entry import INTERRUPTED, cli
from transport_trio.cli.problems import ServiceFailure
from transport_trio.cli.target import Target

ID = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
CREATED = {
    "session_id": ID,
    "provider": "daily",
    "status": "Created",
    "room_url": "https://x.daily.co/r",
    "room_name": "r",
    "meeting_token": "eyJ.a.b",
    "expires_at": "2026-01-01T12:00:00Z",
    "session_expires_at": "2026-01-01T15:00:00Z",
    "created_at": "2026-01-01T11:00:00Z",
    "updated_at": "2026-01-01T11:00:00Z",
    "presence_checked_at": None,
    "participants": [],
}
ADA = {"id": "p-1", "user_id": "u-1", "name": "Ada", "joined_at": "2026-01-01T11:30:00Z"}


def invoke(*args: str, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli, ["sessions", *args], **kwargs)


def test_create_leaves_to_the_service_what_nobody_asked_for(scripted) -> None:
    scripted.answer = (201, CREATED)
    result = invoke("create", "--url", scripted.url + "/")
    assert result.exit_code == 0
    (request,) = scripted.requests
    assert (request["method"], request["path"], request["body"]) == ("POST", "/sessions", {"provider": "daily"})
    assert request["headers"]["content-type"] == "application/json"
    assert "authorization" not in request["headers"]
    assert result.output.splitlines() == [
        f"session {ID} created at daily",
        "  room          https://x.daily.co/r",
        "  session ends  2026-01-01T15:00:00Z",
        "  token         eyJ.a.b",
        "  token ends    2026-01-01T12:00:00Z",
        "  join          https://x.daily.co/r?t=eyJ.a.b",
    ]


def test_create_sends_every_option_to_its_place(scripted) -> None:
    scripted.answer = (201, CREATED)
    options = [
        *("--provider", "other", "--name", "my-room", "--participant-name", "Ada", "--user-id", "u-1", "--owner"),
        *("--session-ttl-s", "600", "--token-ttl-s", "60", "--idempotency-key", "key 1", "--api-key", "secret-key"),
    ]
    assert invoke("create", "--url", scripted.url, *options).exit_code == 0
    (request,) = scripted.requests
    assert request["body"] == {
        "provider": "other",
        "room_config": {"name": "my-room"},
        "participant_config": {"name": "Ada", "user_id": "u-1", "is_owner": True},
        "options": {"session_ttl_s": 600, "token_ttl_s": 60},
    }
    assert request["headers"]["idempotency-key"] == "key 1"
    assert request["headers"]["authorization"] == "Bearer secret-key"


def test_create_says_what_the_room_is_to_be(scripted) -> None:
    """A recording needs a room that was made for it, so the command line must be able to ask for one."""
    scripted.answer = (201, CREATED)
    flags = ("enable-recording", "enable-transcription", "auto-start-recording", "auto-start-transcription")
    switches = [f"--{flag}" for flag in flags]
    assert invoke("create", "--url", scripted.url, "--public", "--max-participants", "4", *switches).exit_code == 0
    assert invoke("create", "--url", scripted.url, "--private").exit_code == 0
    first, second = (request["body"]["room_config"] for request in scripted.requests)
    wanted = {flag.replace("-", "_"): True for flag in flags}
    assert first == {"privacy": "Public", "max_participants": 4, **wanted}
    assert second == {"privacy": "Private"}


def test_options_win_over_the_body_and_leave_the_rest_of_it(scripted, tmp_path: Path) -> None:
    scripted.answer = (201, CREATED)
    body = {"provider": "x", "room_config": {"name": "a", "privacy": "Public"}, "surprise": [1.5]}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    assert invoke("create", "--url", scripted.url, "--body", str(file), "--name", "b").exit_code == 0
    assert invoke("create", "--url", scripted.url, "--body", "-", input=json.dumps(body)).exit_code == 0
    first, second = (request["body"] for request in scripted.requests)
    assert first == {**body, "room_config": {"name": "b", "privacy": "Public"}}
    assert second == body


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        ("{nonsense", (), "this is no JSON"),
        ("[" * 100000, (), "this is no JSON"),
        ("[]", (), "a request is a JSON object"),
        ('{"options": 3}', ("--token-ttl-s", "5"), "options is no object"),
    ],
)
def test_a_body_that_makes_no_sense_is_wrong_usage(body: str, options: tuple[str, ...], words: str) -> None:
    result = invoke("create", "--url", "http://127.0.0.1:1", "--body", "-", *options, input=body)
    assert result.exit_code == 2
    assert words in result.output


def test_what_json_cannot_say_is_the_services_to_refuse(scripted) -> None:
    scripted.refuse(400, "invalid_request")
    body = '{"room_config": {"name": "\\ud800"}}'
    assert invoke("create", "--url", scripted.url, "--body", "-", input=body).exit_code == 1
    assert scripted.requests[0]["body"]["room_config"] == {"name": "\ud800"}


@pytest.mark.parametrize("key", ["", " key", "key ", "k\n", "k" * 256, "schlüssel"])
def test_an_idempotency_key_must_fit_into_its_header(key: str) -> None:
    result = invoke("create", "--idempotency-key", key)
    assert result.exit_code == 2
    assert "1 to 255 printable" in result.output


def test_a_replayed_creation_says_so(scripted) -> None:
    scripted.answer = (201, {**CREATED, "meeting_token": None})
    scripted.headers["Idempotency-Replayed"] = "true"
    result = invoke("create", "--url", scripted.url, "--idempotency-key", "k")
    assert "by an earlier request with this key" in result.output
    assert "none: it has expired" in result.output
    assert "join" not in result.output


def test_a_dry_run_shows_what_would_be_asked(scripted) -> None:
    plan = {"room": {"name": "r"}, "token": {"claims": {"r": "r"}}}
    scripted.answer = (200, plan)
    result = invoke("create", "--url", scripted.url, "--dry-run")
    assert scripted.requests[0]["path"] == "/sessions?dry_run=true"
    assert json.loads(result.output) == plan


def test_json_gives_the_answer_as_it_came(scripted) -> None:
    scripted.answer = (201, CREATED)
    assert json.loads(invoke("create", "--url", scripted.url, "--json").stdout) == CREATED
    scripted.answer = (200, CREATED)
    assert json.loads(invoke("show", ID, "--url", scripted.url, "--json").stdout) == CREATED
    assert json.loads(invoke("list", "--url", scripted.url, "--json").stdout) == CREATED
    assert json.loads(invoke("end", ID, "--url", scripted.url, "--json").stdout) == CREATED


def test_a_refusal_names_every_fault_with_its_path(scripted) -> None:
    faults = [
        {"path": "$.room_config.max_participants", "message": "must be at most 200"},
        {"path": "$.provider", "message": "is missing"},
    ]
    scripted.refuse(400, "invalid_request", "the request is wrong", errors=faults)
    result = invoke("create", "--url", scripted.url)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: 400 invalid_request: the request is wrong",
        "  $.room_config.max_participants: must be at most 200",
        "  $.provider: is missing",
    ]
    assert result.stdout == ""


ONE_FAULT = {"path": "$.provider", "message": "is wrong"}
MORE = {"path": "$.options", "message": "too"}


@pytest.mark.parametrize(
    ("detail", "faults", "lines"),
    [
        ("$.provider: is wrong", [ONE_FAULT], ["$.provider: is wrong"]),
        ("is wrong", [ONE_FAULT], ["$.provider: is wrong"]),
        (
            "$.provider: is wrong; $.options: too",
            [ONE_FAULT, MORE],
            ["2 faults", "  $.provider: is wrong", "  $.options: too"],
        ),
        ("something", [], ["something"]),
    ],
)
def test_a_fault_is_told_once(scripted, detail: str, faults: list[dict[str, str]], lines: list[str]) -> None:
    """The service makes the detail of the faults for those who read no further."""
    scripted.refuse(400, "invalid_request", detail, errors=faults)
    assert invoke("create", "--url", scripted.url).stderr.splitlines() == [
        f"Error: 400 invalid_request: {lines[0]}",
        *lines[1:],
    ]


def test_a_refusal_is_json_too_when_asked_for(scripted) -> None:
    scripted.refuse(409, "room_exists", "taken")
    result = invoke("create", "--url", scripted.url, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == "room_exists"
    assert "409 room_exists: taken" in result.stderr


def test_retry_after_is_told(scripted) -> None:
    scripted.refuse(429, "busy", "too much at once")
    scripted.headers["Retry-After"] = "3"
    assert "try again in 3 s" in invoke("create", "--url", scripted.url).stderr


def test_401_tells_how_to_give_a_key(scripted) -> None:
    scripted.refuse(401, "unauthorized", "a key is needed")
    result = invoke("list", "--url", scripted.url)
    assert result.exit_code == 1
    assert "TRANSPORT_TRIO_API_KEY" in result.stderr


@pytest.mark.parametrize("answer", [(404, b"<html>nginx</html>"), (404, {"error": "x"}), (200, b"<html>")])
def test_somebody_else_on_the_port_is_recognised(scripted, answer: tuple[int, Any]) -> None:
    scripted.answer = answer
    result = invoke("list", "--url", scripted.url, "--json")
    assert result.exit_code == 1
    assert "something else may listen there" in result.stderr
    assert result.stdout == ""


def test_nobody_on_the_port_is_told_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = invoke("list", "--url", url)
    assert result.exit_code == 1
    assert f"nothing answers at {url} (Connection refused)" in result.stderr
    assert "serve --sandbox" in result.stderr


def test_a_connection_that_breaks_before_the_answer_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen(
            [*COMMAND, "sessions", "list", "--url", f"http://127.0.0.1:{server.getsockname()[1]}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        server.settimeout(30)
        server.accept()[0].close()
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "broke before the answer" in stderr


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(scripted) -> None:
    scripted.go_on.clear()
    with pytest.raises(ServiceFailure, match=r"did not answer within 0\.2 s"):
        ask(Target(url=scripted.url), Call(method="GET", path="/sessions"), answer_s=0.2)


def test_list_is_a_table_with_the_way_to_the_next_page(scripted) -> None:
    second = {**CREATED, "session_id": "s-2", "status": "Ended", "room_name": "a-room"}
    scripted.answer = (200, {"sessions": [CREATED, second], "total": 7, "next_cursor": "c2"})
    result = invoke(
        "list", "--url", scripted.url, "--status", "active", "--provider", "daily", "--limit", "2", "--cursor", "c 1"
    )
    assert scripted.requests[0]["path"] == "/sessions?status=Active&provider=daily&limit=2&cursor=c+1"
    lines = result.output.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["SESSION", "STATUS", "PROVIDER", "CREATED", "ROOM"],
        [ID, "Created", "daily", "2026-01-01T11:00:00Z", "r"],
        ["s-2", "Ended", "daily", "2026-01-01T11:00:00Z", "a-room"],
    ]
    assert len({line.index("daily") for line in lines[1:3]}) == 1
    assert lines[3] == "2 of 7; more with --cursor c2"


def test_an_empty_list_and_a_last_page_say_what_they_are(scripted) -> None:
    scripted.answer = (200, {"sessions": [], "total": 0, "next_cursor": None})
    assert invoke("list", "--url", scripted.url).output == "no sessions\n"
    assert scripted.requests[0]["path"] == "/sessions"
    scripted.answer = (200, {"sessions": [CREATED], "total": 1, "next_cursor": None})
    assert invoke("list", "--url", scripted.url).output.splitlines()[-1] == "1 of 1"


def test_show_tells_of_the_room_and_who_is_there(scripted) -> None:
    scripted.answer = (200, {**CREATED, "participants": [ADA | {"is_owner": True}]})
    output = invoke("show", ID, "--url", scripted.url).output
    assert scripted.requests[0]["path"] == f"/sessions/{ID}"
    assert "looked into room  not yet" in output
    assert output.splitlines()[-1] == "    Ada, user u-1, since 2026-01-01T11:30:00Z, owner"
    assert "ended" not in output


def test_show_tells_what_was_set_and_what_may_end_it_early(scripted) -> None:
    options = {
        "empty_timeout_s": 20,
        "bot_user_id_prefix": "bot-\x1b",
        "events_after_end": True,
        "max_duration_s": 7200,
    }
    times = {"room_expires_at": "t1", "empty_since": "t2", "ends_empty_at": "t3"}
    scripted.answer = (200, {**CREATED, **times, "options": options})
    lines = invoke("show", ID, "--url", scripted.url).output.splitlines()
    rows = dict(part.strip().split("  ", 1) for part in lines)
    assert {name: value.strip() for name, value in rows.items()}.items() >= {
        "room ends": "t1",
        "lasts at most": "2 h 0 min",
        "empty timeout": "20 s",
        "bots' prefix": "bot-\\x1b",
        "events after end": "yes",
        "empty since": "t2",
        "ends empty at": "t3",
    }.items()


def test_show_tells_how_a_session_ended(scripted) -> None:
    end = {"ended_at": "2026-01-01T12:00:00Z", "end_reason": "expired", "provider_cleanup": "pending"}
    scripted.answer = (200, {**CREATED, **end})
    output = invoke("show", ID, "--url", scripted.url).output
    assert "2026-01-01T12:00:00Z (expired)" in output
    assert "pending" in output
    assert output.rstrip().endswith("nobody")


def test_end_says_what_was_ended(scripted) -> None:
    scripted.answer = (200, {"message": "Session ended successfully", "session_id": ID})
    assert invoke("end", ID, "--url", scripted.url).output == f"session {ID} ended\n"
    assert scripted.requests[0]["method"] == "DELETE"


def test_an_odd_id_stays_one_part_of_the_path(scripted) -> None:
    scripted.refuse(404, "session_not_found", "no such session")
    assert invoke("show", "../health?x=#é", "--url", scripted.url).exit_code == 1
    assert scripted.requests[0]["path"] == "/sessions/..%2Fhealth%3Fx%3D%23%C3%A9"


def test_address_and_key_come_from_the_environment(scripted, run_command) -> None:
    scripted.answer = (200, {"sessions": [], "total": 0})
    environ = {"TRANSPORT_TRIO_URL": scripted.url, "TRANSPORT_TRIO_API_KEY": "from-environ"}
    # A proxy of the environment must not swallow what is meant for this machine.
    assert run_command("sessions", "list", **environ, HTTP_PROXY="http://127.0.0.1:1").returncode == 0
    assert scripted.requests[0]["headers"]["authorization"] == "Bearer from-environ"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8084",
        "ftp://x",
        "http://",
        "http://u:p@x",
        "http://x/?a=1",
        "http://x/#f",
        "http://[::1",
        "http://x:y",
    ],
)
def test_an_address_that_is_none_is_wrong_usage(url: str) -> None:
    result = invoke("list", "--url", url)
    assert result.exit_code == 2
    assert "no address of a service" in result.output


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\tb"])
def test_a_key_that_is_none_is_refused_without_being_shown(key: str) -> None:
    result = invoke("list", "--api-key", key)
    assert result.exit_code == 2
    assert key not in result.output
    assert key not in repr(result.output)


def test_ctrl_c_while_waiting_ends_with_130(scripted, clean_environ: dict[str, str], adopt) -> None:
    scripted.go_on.clear()
    process = subprocess.Popen(
        [*COMMAND, "sessions", "list", "--url", scripted.url], env=clean_environ, stderr=subprocess.PIPE, text=True
    )
    adopt(process)
    assert scripted.arrived.wait(30)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in stderr


def test_a_long_wait_shows_that_it_waits_on_a_terminal_only(scripted, clean_environ: dict[str, str]) -> None:
    scripted.go_on.clear()
    scripted.answer = (200, {"sessions": [], "total": 0})
    outer, inner = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, "sessions", "list", "--url", scripted.url],
        env=clean_environ,
        stdout=subprocess.PIPE,
        stderr=inner,
        text=True,
    )
    os.close(inner)
    shown = b""
    while b"waiting for " not in shown:
        shown += os.read(outer, 1000)
    scripted.go_on.set()
    stdout, _ = process.communicate(timeout=30)
    while chunk := _read_terminal(outer):
        shown += chunk
    os.close(outer)
    assert (process.returncode, stdout) == (0, "no sessions\n")
    assert scripted.url.encode() in shown
    assert shown.endswith(b"\r\x1b[K"), "the line is wiped before the answer"


def test_a_failure_on_a_terminal_is_as_readable(clean_environ: dict[str, str]) -> None:
    outer, inner = os.openpty()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        command = [*COMMAND, "sessions", "list", "--url", url]
        done = subprocess.run(command, env=clean_environ, stderr=inner, timeout=30, check=False)
    os.close(inner)
    shown = b""
    while chunk := _read_terminal(outer):
        shown += chunk
    os.close(outer)
    assert done.returncode == 1
    assert shown.startswith(f"Error: nothing answers at {url}".encode())


def _read_terminal(fd: int) -> bytes:
    try:
        return os.read(fd, 1000)
    except OSError:  # how Linux tells that the other end is closed
        return b""


EXTENDED = {
    "session_id": "s",
    "session_expires_at": "2026-01-01T17:00:00Z",
    "will_still_be_ejected": [{"participant": {"name": "Ada\x1b"}, "at": "2026-01-01T15:00:00Z", "source": "room"}],
    "tokens": [{"participant": {"name": "Ada"}, "meeting_token": "eyJ"}],
}


@pytest.mark.parametrize(
    ("options", "body"),
    [
        (["--session-ttl-s", "60"], {"session_ttl_s": 60, "reissue_tokens": False}),
        (
            ["--until", "2026-01-01T17:00:00Z", "--reissue-tokens"],
            {"session_expires_at": "2026-01-01T17:00:00Z", "reissue_tokens": True},
        ),
    ],
)
def test_extend_names_who_is_put_out_before(scripted, options: list[str], body: dict[str, Any]) -> None:
    scripted.answer = (200, EXTENDED)
    result = CliRunner().invoke(cli, ["sessions", "extend", "--url", scripted.url, "s", *options])
    (request,) = scripted.requests
    assert (request["method"], request["path"], request["body"]) == ("POST", "/sessions/s/extend", body)
    assert result.output.splitlines() == [
        "session s ends at 2026-01-01T17:00:00Z",
        "  put out before: Ada\\x1b at 2026-01-01T15:00:00Z",
        "  new token: Ada eyJ",
    ]


def test_extend_wants_one_end(scripted) -> None:
    for options in ([], ["--session-ttl-s", "60", "--until", "2026-01-01T17:00:00Z"]):
        assert CliRunner().invoke(cli, ["sessions", "extend", "--url", scripted.url, "s", *options]).exit_code == 2
    assert scripted.requests == []


def test_a_summary_names_everybody_with_their_visits(scripted) -> None:
    span = {"joined_at": "2026-01-01T11:00:05Z", "left_at": None, "duration_s": 25.0, "source": "both"}
    ada = {"name": "Ada\x1b", "user_id": "u", "duration_s": 25.0, "visits": [span]}
    scripted.answer = (200, {"people": [ada], "people_at_most": 1, "reconciled": "pending"})
    result = CliRunner().invoke(cli, ["sessions", "summary", "--url", scripted.url, "s"])
    (request,) = scripted.requests
    assert (request["method"], request["path"]) == ("GET", "/sessions/s/summary")
    assert result.output.splitlines() == [
        "Ada\\x1b: 25 s",
        "    2026-01-01T11:00:05Z to now, 25 s (both)",
        "1 altogether, 1 at once at most; the provider's account: pending",
    ]


def test_help_says_that_a_short_longest_length_makes_a_short_session() -> None:
    words = " ".join(invoke("create", "--help").output.split())
    assert "The longest that it can be extended to; shortens the default of --session-ttl-s." in words
