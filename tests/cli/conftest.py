"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_children import CHILD_S, COMMAND, ScriptedService, ServerChild, children, handler

# What a child keeps of our environment, beside what coverage puts there: none of our settings.
KEPT = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR"})
RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def scripted() -> Iterator[ScriptedService]:
    service = ScriptedService()
    service.go_on.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(service))
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    service.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def clean_environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a child: none of our settings in it, its data in a folder of the test."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("COV")}
    return {**kept, "DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def run_command(clean_environ: dict[str, str]) -> RunCommand:
    """Run a command to its end."""

    def run(*args: str, stdin: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=CHILD_S,
            check=False,
            env={**clean_environ, **environ},
        )

    return run


@pytest.fixture
def start_server(clean_environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., ServerChild]]:
    """Start `serve` or `sandbox`; whatever still runs at the end is stopped."""
    started = 0

    def start(*args: str, stdout: int = subprocess.PIPE, **environ: str) -> ServerChild:
        nonlocal started
        started += 1
        errors = tmp_path / f"errors-{started}"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [*COMMAND, *args],
                stdout=stdout,
                stderr=stderr,
                text=True,
                env={**clean_environ, "PORT": "0", "NATS_PORT": "0", **environ},
                cwd=tmp_path,
            )
        adopt(process)
        return ServerChild(process, errors)

    with children(signal.SIGTERM) as adopt:
        yield start


@pytest.fixture
def adopt() -> Iterator[Callable[[subprocess.Popen[str]], None]]:
    """Takes a child into care that a test starts itself."""
    with children(signal.SIGINT) as take:
        yield take
