"""HTTP at the least cost: kept connections and answers parsed by hand, for drills whose load must not be the limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

CHUNK_BYTES = 65536
IDLE_S = 2.0  # servers close what is idle for longer; ours and the sandbox's after five seconds


class Line:
    """A connection that is kept, and made anew when the server has closed it. One request at a time."""

    def __init__(self, port: int, headers: str = "") -> None:
        self._port, self._headers = port, headers
        self._stream: trio.SocketStream | None = None
        self._used_at = 0.0

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            trio.BrokenResourceError, OSError: there was none.
        """
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: drill\r\n{self._headers}Content-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        if trio.current_time() - self._used_at > IDLE_S:
            self.close()
        if self._stream is None:
            self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        try:
            await self._stream.send_all(request)
            return await self._answer(self._stream)
        except BaseException:
            self.close()
            raise

    async def _answer(self, stream: trio.SocketStream) -> tuple[int, bytes]:
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += await self._more(stream)
        head, body = got[:end].decode("latin-1").lower(), got[end + 4 :]
        status = int(head[9:12])
        length = 0 if status == 204 else int(head.partition("\r\ncontent-length:")[2].partition("\r\n")[0])
        while len(body) < length:
            body += await self._more(stream)
        self._used_at = trio.current_time()
        if "\r\nconnection: close" in head:
            self.close()
        return status, body

    @staticmethod
    async def _more(stream: trio.SocketStream) -> bytes:
        chunk = await stream.receive_some(CHUNK_BYTES)
        if not chunk:
            raise trio.BrokenResourceError("the server closed the connection")
        return bytes(chunk)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.socket.close()  # plainly: a cancelled request is no reason to leave half a connection
            self._stream = None


class Lines:
    """Some lines to one server; who asks waits for a free one."""

    def __init__(self, port: int, count: int, headers: str = "") -> None:
        self._back, self._idle = trio.open_memory_channel[Line](count)
        for _ in range(count):
            self._back.send_nowait(Line(port, headers))
        self._count = count

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """As `Line.ask`."""
        line = await self._idle.receive()
        try:
            return await line.ask(method, path, body)
        finally:
            self._back.send_nowait(line)

    async def close(self) -> None:
        for _ in range(self._count):
            (await self._idle.receive()).close()


@asynccontextmanager
async def open_lines(port: int, count: int, headers: str = "") -> AsyncIterator[Lines]:
    """Closed at the end of the block, when nobody asks any more."""
    lines = Lines(port, count, headers)
    try:
        yield lines
    finally:
        with trio.CancelScope(shield=True):
            await lines.close()
