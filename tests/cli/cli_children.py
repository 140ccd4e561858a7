"""Commands as child processes, and a scripted stand-in for the service's REST side on a real socket."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import attrs

COMMAND = [sys.executable, "-m", "transport_trio"]
CHILD_S = 30.0  # far more than a command takes on a busy machine
LIFE_S = 60.0  # after which a child is killed, so that no test waits for its words for ever


@attrs.define(eq=False)
class ScriptedService:
    """Answers every request with what the test has put into `answer`, and keeps the requests."""

    url: str = ""
    answer: tuple[int, Any] = (200, {})
    headers: dict[str, str] = attrs.field(factory=dict)
    requests: list[dict[str, Any]] = attrs.field(factory=list)
    arrived: threading.Event = attrs.field(factory=threading.Event)
    go_on: threading.Event = attrs.field(factory=threading.Event)  # cleared: requests wait for their answer

    def refuse(self, status: int, code: str, detail: str = "so it is", **more: Any) -> None:
        self.answer = (status, {"type": f"urn:transport-trio:error:{code}", "code": code, "detail": detail, **more})
        self.headers["Content-Type"] = "application/problem+json"


def handler(service: ScriptedService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service.requests.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": json.loads(body) if body else None,
                }
            )
            service.arrived.set()
            service.go_on.wait(CHILD_S)
            status, document = service.answer
            payload = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **service.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Handler


@attrs.define(eq=False)
class ServerChild:
    """`serve` or `sandbox` as a child; what it says on standard error goes into a file, so that it never blocks."""

    process: subprocess.Popen[str]
    errors: Path
    url: str = ""

    def read_banner(self) -> str:
        """All up to the line that says how to stop it; `url` is known then."""
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line.lstrip("\n") if not text else line
            if "Ctrl-C stops it" in line:
                break
        else:
            raise AssertionError(f"no banner:\n{text}\n{self.errors.read_text()}")
        (self.url,) = re.findall(r"(http://\S+?)(?:/v1)?(?:$| for )", text.splitlines()[0])
        return text

    def wait_for_log(self, words: str) -> dict[str, Any]:
        """The first log line with these words in its event."""
        deadline = time.monotonic() + CHILD_S
        while time.monotonic() < deadline:
            for line in self.errors.read_text().splitlines():
                if line.startswith("{") and words in (record := json.loads(line))["event"]:
                    return dict(record)
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.02)
        raise AssertionError(f"{words!r} never logged:\n{self.errors.read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(CHILD_S)


@contextmanager
def children(number: int) -> Iterator[Callable[[subprocess.Popen[str]], None]]:
    """Takes children into care: each is killed after `LIFE_S`, and ended with this signal at the end."""
    with ExitStack() as stack:

        def adopt(child: subprocess.Popen[str]) -> None:
            watchdog = threading.Timer(LIFE_S, child.kill)
            watchdog.start()
            stack.callback(watchdog.cancel)
            stack.callback(_end, child, number)

        yield adopt


def _end(child: subprocess.Popen[str], number: int) -> None:
    """In order if it can: coverage is written then."""
    child.send_signal(number)
    try:
        child.communicate(timeout=CHILD_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
