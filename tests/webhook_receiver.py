"""Somebody who is sent webhooks: a plain HTTP server in a thread, of the standard library."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any

import attrs

WITHIN_S = 10.0


@attrs.frozen
class Received:
    headers: dict[str, str]  # their names in lower case
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


class Receiver:
    """`status` is what the next requests are answered with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.came: SimpleQueue[Received] = SimpleQueue()

    def next(self) -> Received:
        return self.came.get(timeout=WITHIN_S)

    def next_of(self, type_: str) -> dict[str, Any]:
        """The next event of this type; others before it are passed over."""
        while (event := self.next().event).get("type") != type_:
            pass
        return event

    def none_within(self, seconds: float) -> bool:
        try:
            self.came.get(timeout=seconds)
        except Empty:
            return True
        return False


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.status  # as it is now: who takes what came may change it at once
            receiver.came.put(Received({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
