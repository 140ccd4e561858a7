"""Peers that speak bytes, right or wrong: they drip, stop reading, vanish, and tell how their connection ended."""

from __future__ import annotations

import base64
import ctypes
import os
import re
import resource
import socket
import struct
from typing import Any

import attrs
import trio

HOST = "127.0.0.1"
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
# Linux; not in Python's socket module.
SO_ATTACH_FILTER = 26
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # a BPF program: return 0


@attrs.frozen
class Ending:
    """What came back on a connection, and how it ended: `closed`, `reset`, or `open` when we waited no longer."""

    received: bytes
    end: str
    after_s: float

    @property
    def statuses(self) -> list[int]:
        """Of the answers on it. An answer's body holds no status line."""
        return [int(status) for status in STATUS.findall(self.received)]


async def talk(port: int, sent: bytes, within_s: float, *, then: bytes = b"", drip_s: float = 0) -> Ending:
    """Connect, send it, `then` that, a byte each `drip_s` if that is given, and read to the end."""
    began = trio.current_time()
    received = bytearray()
    end = "open"
    with trio.move_on_after(within_s):
        async with await trio.open_tcp_stream(HOST, port) as stream, trio.open_nursery() as nursery:

            async def send() -> None:
                try:
                    await stream.send_all(sent)
                    while then and not received and not drip_s:
                        await trio.sleep(0.01)  # for the answer to an upgrade: nothing may come before it
                    for piece in [then[at : at + 1] for at in range(len(then))] if drip_s else [then]:
                        await stream.send_all(piece)
                        await trio.sleep(drip_s)
                except trio.BrokenResourceError:
                    pass  # the reader tells how it ended

            nursery.start_soon(send)
            end = await _read_to_end(stream, received)
            nursery.cancel_scope.cancel()
    return Ending(bytes(received), end, trio.current_time() - began)


async def _read_to_end(stream: trio.SocketStream, received: bytearray) -> str:
    try:
        while data := await stream.receive_some(65536):
            received += data
    except trio.BrokenResourceError:
        return "reset"
    return "closed"


def upgrade_request(query: str = "", extra: str = "") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /ws{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    ).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, reserved: int = 0) -> bytes:
    """A client's frame; its mask is zero, so that the payload is itself."""
    first, bit, size = (fin << 7) | (reserved << 4) | opcode, 0x80 * mask, len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + b"\0\0\0\0" * mask + payload


def close_code(received: bytes) -> int | None:
    """The code of the close frame that ends what a server has sent after the upgrade's answer; None without one."""
    data = received.partition(b"\r\n\r\n")[2]
    while len(data) >= 2:
        opcode, size, start = data[0] & 0xF, data[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        if opcode == CLOSE and size >= 2:
            return int.from_bytes(data[start : start + 2])
        data = data[start + size :]
    return None


def vanish(peer: Any) -> None:
    """From here on the peer's kernel sees nothing that is sent to it: no ack, no reset, no FIN, as if unplugged."""
    program = ctypes.create_string_buffer(DROP_ALL)
    peer.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def may_open(files: int) -> int:
    """How many of these files this process may open, its limit raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = files + 500 if hard == resource.RLIM_INFINITY else min(files + 500, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return min(files, max(soft, allowed) - 500)
