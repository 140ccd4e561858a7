"""A server that plays prepared bytes over a real socket: for answers that the sandbox would never give."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import attrs
import trio

Play = Callable[[trio.SocketStream], Awaitable[None]]


@attrs.frozen
class Received:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(status: int = 200, body: Any = None, headers: Mapping[str, str] | None = None) -> Play:
    """A whole answer; a body of bytes goes out as it is, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(_head(status, len(content), headers or {}) + content)


def cut_answer(status: int = 200, body: Any = None) -> Play:
    """The connection ends in the middle of the body."""
    content = json.dumps(body).encode()
    return raw(_head(status, len(content), {}) + content[: len(content) // 2])


def raw(content: bytes) -> Play:
    async def play(stream: trio.SocketStream) -> None:
        await stream.send_all(content)

    return play


async def hang_up(stream: trio.SocketStream) -> None:
    """Close without an answer."""


async def reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def silence(stream: trio.SocketStream) -> None:
    """Say nothing until the client gives up."""
    await stream.receive_some(1)


async def flood(stream: trio.SocketStream) -> None:
    """A body without an end."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send_all(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


async def trickle(stream: trio.SocketStream) -> None:
    """A body that never ends, and never pauses for long enough to time out by itself."""
    await stream.send_all(_head(200, 10_000, {}))
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.01)


class ScriptedServer:
    """Each request gets the next part of the script, on a connection of its own; then there is nobody any more."""

    def __init__(self, url: str, script: list[Play]) -> None:
        self.url = url
        self.script = script
        self.received: list[Received] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                received = await _read(stream)
                if received is None:
                    return
                self.received.append(received)
                assert self.script, f"nobody expected {received.method} {received.target}"
                await self.script.pop(0)(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


async def play(nursery: trio.Nursery, *script: Play) -> ScriptedServer:
    """A server on a free port, until the nursery ends."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    server = ScriptedServer(f"http://127.0.0.1:{port}/v1", list(script))
    nursery.start_soon(partial(trio.serve_listeners, server.serve, [listener]))
    return server


def _head(status: int, length: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Scripted",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def _read(stream: trio.SocketStream) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive_some()
    method, target, _ = first.split(" ")
    return Received(method, target, headers, body)
