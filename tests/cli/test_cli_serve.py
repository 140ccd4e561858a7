"""`transport-trio serve` as a process: the start, the banner, the stop, and every way in which a start can fail."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_children import CHILD_S, COMMAND, ServerChild

from transport_trio.cli.service import at_sandbox, sandbox_domain
from transport_trio.settings import Settings

StartServer = Callable[..., ServerChild]
ACCOUNT = {"DAILY_API_KEY": "key", "DAILY_DOMAIN": "team", "DAILY_API_URL": "http://127.0.0.1:1/v1"}


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=CHILD_S) as answer:
        return json.load(answer)


def test_serve_with_sandbox_needs_nothing_and_its_banner_tells_the_truth(
    start_server: StartServer, clean_environ: dict[str, str], tmp_path: Path, adopt: Callable[..., None]
) -> None:
    """What a newcomer does: start it, paste the curl line, follow the events, stop it."""
    child = start_server("serve", "--sandbox")
    banner = child.read_banner()
    curl, follow = (
        line[line.index(start) :]
        for line, start in zip(banner.splitlines()[2:4], ("curl", sys.executable), strict=True)
    )
    created = json.loads(subprocess.check_output(["bash", "-c", curl.replace("curl", "curl -s", 1)], timeout=CHILD_S))
    assert created["status"] == "Created"

    follower = subprocess.Popen(
        ["bash", "-c", f"exec {follow} --after 0 --json"], stdout=subprocess.PIPE, text=True, env=clean_environ
    )
    adopt(follower)
    assert follower.stdout is not None
    kinds: list[str] = []
    while "session_updated" not in kinds:
        kinds.append(json.loads(follower.stdout.readline())["type"])
    assert kinds == ["welcome", "session_created", "participant_joined", "session_updated"]

    shown = subprocess.check_output(
        [*COMMAND, "sessions", "show", created["session_id"], "--url", child.url], text=True, timeout=CHILD_S
    )
    assert created["room_url"] in shown
    (nats_url,) = re.findall(r"nats://\S+(?=, stream TRANSPORT_EVENTS)", banner)
    host, port = nats_url.removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=CHILD_S) as nats:
        assert nats.recv(4096).startswith(b"INFO ")

    assert child.stop() == 0
    assert "Traceback" not in child.errors.read_text()
    assert (tmp_path / "data" / "journal.sqlite3").exists()


def test_ctrl_c_stops_it_in_order_with_0(start_server: StartServer) -> None:
    child = start_server("serve", "--sandbox")
    child.read_banner()
    assert child.stop(signal.SIGINT) == 0
    child_log = child.errors.read_text()
    assert "service stopped" in child_log
    assert "Traceback" not in child_log


def test_a_second_signal_ends_it_at_once(start_server: StartServer) -> None:
    """A request that never comes to its end would hold the stop for DRAIN_S."""
    child = start_server("serve", "--sandbox", DRAIN_S="300", BODY_TIMEOUT_S="300")
    child.read_banner()
    host, port = child.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=CHILD_S) as slow:
        slow.sendall(b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 100"), "the request is under way"
        child.process.send_signal(signal.SIGTERM)
        child.wait_for_log("service stopping")
        assert child.process.poll() is None
        assert child.stop(signal.SIGTERM) == 128 + signal.SIGTERM


def test_with_an_account_it_runs_without_a_banner_and_logs_json(start_server: StartServer, daily_sandbox: Any) -> None:
    child = start_server(
        "serve",
        DAILY_API_KEY=daily_sandbox.api_key,
        DAILY_DOMAIN=daily_sandbox.domain,
        DAILY_API_URL=daily_sandbox.api_url,
    )
    url = child.wait_for_log("service started")["url"]
    assert ask(f"{url}/health")["status"] == "healthy"
    nats = next(check for check in ask(f"{url}/ready")["checks"] if check["name"] == "nats")
    assert nats["status"] == "off"
    assert child.stop() == 0
    assert child.process.stdout is not None
    assert child.process.stdout.read() == ""
    assert all(json.loads(line) for line in child.errors.read_text().splitlines())
    assert daily_sandbox.api_key not in child.errors.read_text()


def test_on_a_terminal_it_tells_people_what_to_do_next(start_server: StartServer) -> None:
    outer, inner = os.openpty()
    child = start_server("serve", stdout=inner, HOST="0.0.0.0", API_KEYS="a-long-secret-key", **ACCOUNT)
    os.close(inner)
    shown = b""
    while b"Ctrl-C stops it" not in shown:
        shown += os.read(outer, 1000)
    os.close(outer)
    banner = shown.decode()
    assert re.search(r"listens at http://0\.0\.0\.0:\d+", banner)
    assert re.search(r"curl -X POST http://127\.0\.0\.1:\d+/sessions -H 'Authorization: Bearer ONE-OF", banner)
    assert "a-long-secret-key" not in banner
    assert child.stop() == 0


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "DAILY_API_KEY and DAILY_DOMAIN are not set"),
        ({"DAILY_API_KEY": "key"}, "DAILY_DOMAIN is not set"),
        ({"DAILY_DOMAIN": "team", "DAILY_API_KEY": ""}, "DAILY_API_KEY is not set"),
    ],
)
def test_without_an_account_one_line_says_both_ways(run_command, environ: dict[str, str], named: str) -> None:
    done = run_command("serve", **environ)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert named in line
    assert "DAILY_API_KEY and DAILY_DOMAIN of your Daily account" in line
    assert "serve --sandbox" in line


def test_every_connector_has_its_domain_in_the_sandbox() -> None:
    environ = {
        "DAILY_CONNECTORS": "daily,daily-eu",
        "DAILY_EU_API_KEY": "a-real-one",
        "DAILY_EU_API_URL": "https://real",
    }
    settings = at_sandbox(Settings.from_environ(environ), "http://127.0.0.1:1")
    shown = [settings.of(name) for name in ("daily", "daily-eu")]
    assert [one.daily_domain for one in shown] == ["sandbox", "sandbox-eu"]
    assert [one.daily_api_key for one in shown] == [sandbox_domain(name) for name in ("daily", "daily-eu")]
    assert {one.daily_api_url for one in shown} == {"http://127.0.0.1:1/v1"}
    assert {one.daily_webhook_url for one in shown} == {"self"}


def test_a_connector_without_a_domain_is_named_in_one_line(run_command) -> None:
    environ = {"DAILY_CONNECTORS": "daily,daily-eu", "DAILY_API_KEY": "key", "DAILY_DOMAIN": "team"}
    done = run_command("serve", **environ, DAILY_EU_API_KEY="other")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: DAILY_EU_DOMAIN is not set: each connector that DAILY_CONNECTORS names needs key and domain of its own"
    ]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PORT": "http"}, "PORT: 'http' is not a whole number from 0 to 65535; give one"),
        ({"HEARTBEAT_S": "0"}, "HEARTBEAT_S: '0' is out of range"),
        ({"API_KEYS": "short"}, "API_KEYS: (hidden) must be"),
    ],
)
def test_a_wrong_setting_is_one_line_and_code_2(run_command, environ: dict[str, str], words: str) -> None:
    done = run_command("serve", "--sandbox", **environ)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line
    assert "short" not in done.stderr


def test_a_taken_port_is_one_readable_line_and_code_1(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        child = start_server("serve", PORT=port, **ACCOUNT)
        assert child.process.wait(CHILD_S) == 1
    text = child.errors.read_text()
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith(f"Error: HOST=127.0.0.1 PORT={port}: cannot listen there (Address already in use)")


def test_a_second_service_on_the_same_data_is_refused_in_one_line(start_server: StartServer) -> None:
    first = start_server("serve", **ACCOUNT)
    first.wait_for_log("service started")
    second = start_server("serve", **ACCOUNT)
    assert second.process.wait(CHILD_S) == 1
    text = second.errors.read_text()
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("Error: ")
    assert first.stop() == 0


def test_a_file_that_is_no_journal_is_refused_and_left_alone(start_server: StartServer, tmp_path: Path) -> None:
    journal = tmp_path / "data" / "journal.sqlite3"
    journal.parent.mkdir()
    with sqlite3.connect(journal) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    before = journal.read_bytes()
    child = start_server("serve", **ACCOUNT)
    assert child.process.wait(CHILD_S) == 1
    text = child.errors.read_text()
    assert "Traceback" not in text
    assert str(journal) in text
    assert journal.read_bytes() == before


def test_sandbox_defaults_give_way_to_settings_and_survive_empty_ones(
    start_server: StartServer, tmp_path: Path
) -> None:
    child = start_server("serve", "--sandbox", DATA_DIR="", NATS_URL="")
    banner = child.read_banner()
    assert "stream TRANSPORT_EVENTS" in banner
    assert (tmp_path / "data" / "sandbox" / "journal.sqlite3").exists()
    assert child.stop() == 0


def test_a_bug_is_shown_with_its_traceback(clean_environ: dict[str, str]) -> None:
    code = """
import sys, types
broken = types.ModuleType("transport_trio.cli.service")
def run_service(settings, **_):
    raise ExceptionGroup("nursery", [TypeError("a bug"), OSError(98, "in use")])
broken.run_service = run_service
sys.modules["transport_trio.cli.service"] = broken
from transport_trio.cli import main
main(["serve", "--sandbox"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=CHILD_S, env=clean_environ
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "TypeError: a bug" in done.stderr


def test_a_stop_before_the_service_has_begun_is_obeyed() -> None:
    """As the first process of a container nothing else would end it: the kernel drops signals that nobody handles."""
    code = """
import sys, time, types
slow = types.ModuleType("transport_trio.cli.service")
def run_service(settings, **_):
    print("starting", flush=True)
    time.sleep(60)
slow.run_service = run_service
sys.modules["transport_trio.cli.service"] = slow
from transport_trio.cli import main
main(["serve", "--sandbox"])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "starting\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(CHILD_S) == 128 + signal.SIGTERM
