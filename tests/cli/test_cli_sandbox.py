"""`transport-trio sandbox`: options, banner, signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from cli_children import ServerChild
from click.testing import CliRunner

from transport_trio.cli.entry import cli

StartServer = Callable[..., ServerChild]


def ask(url: str, key: str = "sandbox", method: str = "GET", body: Any = None) -> Any:
    request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_it_says_where_it_is_and_the_curl_line_makes_a_room(start_server: StartServer) -> None:
    child = start_server("sandbox", "--port", "0")
    banner = child.read_banner()
    (line,) = [line for line in banner.splitlines() if "curl -X POST" in line]
    curl = line[line.index("curl") :].replace("curl", "curl -s", 1)
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True, timeout=30)
    room = json.loads(done.stdout)
    assert room["url"] == f"https://sandbox.daily.co/{room['name']}"
    assert ask(f"{child.url}/v1/rooms")["total_count"] == 1


def test_options_become_its_settings(start_server: StartServer) -> None:
    fault = {"kind": "error", "operation": "get_domain", "count": 1, "status": 503}
    child = start_server(
        *("sandbox", "--port", "0", "--domain", "my-team", "--no-rate-limits", "--people", "--free-plan"),
        *("--lag-s", "1.5", "--ghost-s", "2", "--seed", "7", "--fault", json.dumps(fault)),
        DAILY_API_KEY="a-real-looking-key",
    )
    banner = child.read_banner()
    assert "a-real-looking-key" not in banner, "secrets never print"
    assert "$DAILY_API_KEY" in banner
    told = ask(f"{child.url}/sandbox")
    settings = told["settings"]
    assert told["domain"] == "my-team"
    assert (settings["rate_limits"], settings["people"], settings["free_plan"]) == (False, True, True)
    assert (settings["presence_lag_s"], settings["ghost_s"]) == (1.5, 2)
    (armed,) = ask(f"{child.url}/sandbox/faults")["faults"]
    assert fault.items() <= armed.items()
    assert ask(f"{child.url}/v1/rooms", key="a-real-looking-key")["total_count"] == 0


def test_further_domains_have_a_key_each_and_are_in_the_banner(start_server: StartServer) -> None:
    child = start_server(
        *("sandbox", "--port", "0", "--domain", "my-team"),
        *("--further-domain", "my-team-eu", "--further-domain", "my-team-us=a-key"),
    )
    banner = child.read_banner()
    assert "the domain 'my-team-eu', its control at /sandbox/domains/my-team-eu\n" in banner
    assert "a-key" not in banner
    named = [ask(f"{child.url}/v1/", key=key)["domain_name"] for key in ("sandbox", "my-team-eu", "a-key")]
    assert named == ["my-team", "my-team-eu", "my-team-us"]


@pytest.mark.parametrize(
    "given", [["my team"], ["=key"], ["sandbox"], ["eu=sandbox"], ["eu", "eu=other"], ["eu=key", "us=key"]]
)
def test_domains_that_could_not_be_told_apart_are_wrong_usage(given: list[str]) -> None:
    options = [part for one in given for part in ("--further-domain", one)]
    result = CliRunner().invoke(cli, ["sandbox", *options])
    assert result.exit_code == 2
    assert "--further-domain" in result.output
    assert "domain" in result.output


def test_a_seed_makes_two_sandboxes_alike(start_server: StartServer) -> None:
    names = []
    for _ in range(2):
        child = start_server("sandbox", "--port", "0", "--seed", "3")
        child.read_banner()
        names.append(ask(f"{child.url}/v1/rooms", method="POST", body={})["name"])
    assert names[0] == names[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_0(start_server: StartServer, number: int) -> None:
    child = start_server("sandbox", "--port", "0")
    child.read_banner()
    assert child.stop(number) == 0
    assert child.errors.read_text() == ""


def test_a_taken_port_is_one_readable_line(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start_server("sandbox", "--port", str(port))
        assert child.process.wait(30) == 1
    assert child.errors.read_text() == (
        f"Error: cannot listen on 127.0.0.1:{port}: something else listens there already; choose another port\n"
    )


@pytest.mark.parametrize(
    "fault", ["{", "[]", '"error"', '{"kind": "explosion"}', '{"kind": "error", "chance": 2}', '{"colour": 1}']
)
def test_a_fault_that_is_none_is_wrong_usage_with_an_example(fault: str) -> None:
    result = CliRunner().invoke(cli, ["sandbox", "--fault", fault])
    assert result.exit_code == 2
    assert 'give one like {"kind": "error"' in result.output


def test_a_second_signal_does_not_wait_for_a_stop_in_order() -> None:
    code = """
import trio
from transport_trio.cli.sandbox import _stop_on_signal

async def main():
    async def signals():
        yield 15
        yield 15
    await _stop_on_signal(signals(), trio.CancelScope())

trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert done.returncode == 128 + signal.SIGTERM
