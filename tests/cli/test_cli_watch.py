"""`transport-trio watch` as a process: pipes, terminals, signals, options."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from cli_children import CHILD_S, COMMAND, children
from click.testing import CliRunner
from socket_service import SocketService, ended, open_socket_service, says, welcome

from transport_trio.cli.entry import INTERRUPTED, cli

JOINED = {
    "type": "participant_joined",
    "id": 2,
    "time": "2026-01-01T12:00:01Z",
    "session_id": "s-1",
    "participant": {"id": "p", "user_id": None, "name": "Zo\u00eb", "joined_at": "2026-01-01T12:00:00Z"},
}
PING = {"type": "ping", "last_event_id": 2}


@contextmanager
def serving(*scripts: Any) -> Iterator[SocketService]:
    """The scripted service in a thread of its own, for children that a plain test waits for."""
    opened: queue.Queue[tuple[SocketService, trio.lowlevel.TrioToken, trio.Event]] = queue.Queue()

    async def serve() -> None:
        async with open_socket_service(*scripts) as service:
            done = trio.Event()
            opened.put((service, trio.lowlevel.current_trio_token(), done))
            await done.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    service, token, done = opened.get(timeout=CHILD_S)
    try:
        yield service
    finally:
        token.run_sync_soon(done.set)
        thread.join()


Watch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def watch(clean_environ: dict[str, str]) -> Iterator[Watch]:
    """Start `watch`; whatever is left of it at the end is ended."""

    def start(url: str, *options: str, stdout: int = subprocess.PIPE, **environ: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*COMMAND, "watch", "--url", url, *options],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**clean_environ, **environ},
        )
        adopt(child)
        return child

    with children(signal.SIGINT) as adopt:
        yield start


def lines_of(child: subprocess.Popen[str], count: int) -> list[str]:
    assert child.stdout is not None
    return [child.stdout.readline().rstrip("\n") for _ in range(count)]


def test_json_is_flushed_line_by_line_and_pings_are_left_out(watch: Watch) -> None:
    with serving(says(welcome(1), PING, JOINED, PING, ended(3))) as service:
        child = watch(service.url, "--json")
        messages = [json.loads(line) for line in lines_of(child, 3)]
    assert messages == [welcome(1), JOINED, ended(3)]


def test_json_lines_are_ascii_so_that_no_name_breaks_a_line(watch: Watch) -> None:
    evil = {**JOINED, "participant": {"id": "p", "name": "a\u2028b\x9b\nc"}}
    with serving(says(welcome(1), evil)) as service:
        child = watch(service.url, "--json", PYTHONIOENCODING="latin-1")
        _, line = lines_of(child, 2)
    assert line.isascii()
    assert json.loads(line) == evil


def test_ctrl_c_ends_at_once_with_130_and_without_a_traceback(watch: Watch) -> None:
    with serving(says(welcome(1), ended(2))) as service:
        child = watch(service.url)
        lines_of(child, 2)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=CHILD_S)
    assert child.returncode == INTERRUPTED
    assert (stdout, stderr) == ("", f"following {service.url}\n")


def test_ctrl_c_ends_the_wait_for_a_service_that_is_away(watch: Watch) -> None:
    with serving(says(welcome(1), ended(2))) as service:
        child = watch(service.url)
        lines_of(child, 2)
    assert child.stderr is not None
    assert child.stderr.readline() == f"following {service.url}\n"
    assert "trying again in" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=CHILD_S)
    assert child.returncode == INTERRUPTED


def test_a_pipe_that_nobody_reads_any_more_ends_it_well_even_without_events(watch: Watch) -> None:
    with serving(says(welcome(1), ended(2))) as service:
        child = watch(service.url)
        lines_of(child, 2)
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        stderr = child.stderr.read()
        child.wait(CHILD_S)
    assert child.returncode == 0
    assert stderr == f"following {service.url}\n"


def test_a_pipe_that_is_closed_amid_events_ends_it_well(clean_environ: dict[str, str]) -> None:
    flood = [ended(number) for number in range(2, 3000)]
    with serving(says(welcome(1), *flood)) as service:
        shell = f"set -o pipefail; {' '.join(COMMAND)} watch --json --url {service.url} | head -2"
        done = subprocess.run(
            ["bash", "-c", shell], capture_output=True, text=True, check=False, env=clean_environ, timeout=CHILD_S
        )
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["welcome", "session_ended"]
    assert (done.returncode, done.stderr) == (0, f"following {service.url}\n")


def test_options_become_the_query(watch: Watch) -> None:
    options = ["--after", "7", "--epoch", "e", "--session", "s-1", "--session", "s-2", "--snapshot"]
    types = ["--types", "session_ended, participant_joined"]
    with serving(says(welcome(9), ended(8))) as service:
        lines_of(watch(service.url, *options, *types, TRANSPORT_TRIO_API_KEY="the-key"), 2)
    assert service.queries == [
        [
            ("session_id", "s-1"),
            ("session_id", "s-2"),
            ("types", "session_ended,participant_joined"),
            ("after", "7"),
            ("epoch", "e"),
            ("snapshot", "true"),
        ]
    ]
    assert service.headers[0]["authorization"] == "Bearer the-key"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--types", "session_endet"], "session_endet: give some of session_created"),
        (["--types", " , "], "nothing: give some of"),
        (["--after", "-1"], "-1 is not in the range"),
        (["--after", "x"], "not a valid integer"),
    ],
)
def test_wrong_options_are_wrong_usage(options: list[str], words: str) -> None:
    result = CliRunner().invoke(cli, ["watch", *options])
    assert result.exit_code == 2
    assert words in result.output


def test_nobody_there_is_one_readable_error(run_command) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = run_command("watch", "--url", url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: nothing answers at {url} (Connection refused)\n")
    assert "Traceback" not in done.stderr


def test_a_missing_key_is_one_readable_error(run_command) -> None:
    with serving((401, {"code": "unauthorized", "detail": "a key is needed"})) as service:
        done = run_command("watch", "--url", service.url)
    assert done.returncode == 1
    assert "401 unauthorized: a key is needed" in done.stderr
    assert "TRANSPORT_TRIO_API_KEY" in done.stderr


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(watch: Watch, environ: dict[str, str], coloured: bool) -> None:
    outer, inner = os.openpty()
    with serving(says(welcome(1), JOINED)) as service:
        watch(service.url, stdout=inner, **environ)
        os.close(inner)
        shown = b""
        while b"joined\r\n" not in shown:
            shown += os.read(outer, 1000)
    os.close(outer)
    assert (b"\x1b[" in shown) is coloured
    assert "Zo\u00eb joined".encode() in shown


def test_a_pipe_gets_no_colours(watch: Watch) -> None:
    with serving(says(welcome(1), JOINED)) as service:
        _, line = lines_of(watch(service.url, TERM="xterm"), 2)
    assert line == "12:00:01      #2  participant_joined     s-1       Zo\u00eb joined"
