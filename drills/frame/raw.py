"""HTTP requests as bytes over a socket of one's own: to be broken off anywhere, or never read."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import Any

import attrs
import trio

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
HEAD_END = b"\r\n\r\n"


def request(method: str, path: str, body: Any = None, key: str | None = None) -> bytes:
    """The whole of a request, with an Idempotency-Key if there is one."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    content = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + HEAD_END + content


async def connected(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


async def hang_up(stream: trio.SocketStream, *, reset: bool) -> None:
    """Close the connection: with FIN, or with RST."""
    if reset:
        with suppress(OSError):  # the peer may have been faster
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    else:
        await stream.aclose()


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: Any


async def answer_on(stream: trio.SocketStream) -> Answer | None:
    """The JSON answer on this connection; None when it ends before that."""
    data = b""
    with suppress(*GONE):
        while not _is_whole(data):
            more = await stream.receive_some()
            if not more:
                return None
            data += more
        head, _, body = data.partition(HEAD_END)
        return Answer(int(head.split()[1]), _headers(head), json.loads(body))
    return None


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(HEAD_END)
    return bool(end) and len(body) >= int(_headers(head)["content-length"])


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.decode().lower(): value.decode().strip() for name, _, value in pairs}
