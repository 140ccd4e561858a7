"""REST callers that cost less than what they ask; a client library would not."""

from __future__ import annotations

import re
from typing import Self

import trio

LENGTH = re.compile(rb"content-length: ([0-9]+)\r\n(?:.*\r\n)*\r\n")


class Callers:
    """Connections that ask and wait for the answer. Who asks while all of them wait has to wait, too."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._connections = connections
        self._back, self._idle = trio.open_memory_channel[trio.SocketStream](connections)
        self.waits_s: list[float] = []
        self.failures = 0

    async def __aenter__(self) -> Self:
        for _ in range(self._connections):
            await self._back.send(await trio.open_tcp_stream("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for _ in range(self._connections):
            await (await self._idle.receive()).aclose()

    async def ask(self, path: str, due: float) -> None:
        """Ask; the wait counts from when it was due."""
        answer = await self._get(path)
        self.waits_s.append(trio.current_time() - due)
        self.failures += not answer.startswith(b"HTTP/1.1 200 ")

    async def _get(self, path: str) -> bytes:
        """The whole answer."""
        stream = await self._idle.receive()
        try:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = b""
            while not (head := LENGTH.search(answer)) or len(answer) < answer.index(b"\r\n\r\n") + 4 + int(head[1]):
                if not (data := await stream.receive_some(65536)):
                    raise SystemExit(f"GET {path}: the connection was closed after {len(answer)} bytes of the answer")
                answer += data
            return answer
        finally:
            self._back.send_nowait(stream)
