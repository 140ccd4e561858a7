"""Commands as child processes, and a scripted stand-in for the service's REST side on a real socket."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import attrs

COMMAND = [sys.executable, "-m", "transport_trio"]
CHILD_S = 30.0  # far more than a command takes on a busy machine


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
