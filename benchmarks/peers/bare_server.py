"""The floor of the machine: one `send` to each socket, one after the other, and nothing else.

Published to through lines on standard input; a burst is one `send`, too. It reads nothing from its listeners, and ends
with a traceback when one of them lags.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import selectors
import socket
import sys

KEY = re.compile(rb"(?i)\r\nsec-websocket-key: *(\S+)")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


def frame(text: bytes) -> bytes:
    """A whole text frame; its length is written in two bytes."""
    assert 126 <= len(text) < 65536
    return b"\x81\x7e" + len(text).to_bytes(2, "big") + text


def upgraded(connection: socket.socket) -> bool:
    """Whether a listener has come; it may also be somebody who looks whether the port is open."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := connection.recv(4096)):
            return False
        head += data
    key = KEY.search(head)
    assert key is not None
    connection.sendall(UPGRADED % base64.b64encode(hashlib.sha1(key[1] + GUID).digest()))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return True


def publish(listeners: list[socket.socket], data: bytes) -> None:
    for listener in listeners:
        listener.send(data)


def main(port: int, text: bytes) -> None:
    listeners: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port), backlog=4096) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is server:
                    connection, _ = server.accept()
                    if upgraded(connection):
                        listeners.append(connection)
                elif lines := os.read(0, 4096):
                    for count in lines.split():
                        publish(listeners, frame(text) * int(count))
                else:
                    return


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].encode())
