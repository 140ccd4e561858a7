"""What connections ask of their sockets beyond sending and receiving."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import Protocol

NOTHING = struct.pack("i", 0)
AT_ONCE = struct.pack("ii", 1, 0)


class AnySocket(Protocol):
    """The standard library's, or Trio's."""

    def fileno(self) -> int: ...
    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


def has_unread(sock: AnySocket) -> bool:
    """Whether the kernel holds something of the peer that we have not read yet."""
    number = sock.fileno()
    return number >= 0 and fcntl.ioctl(number, termios.FIONREAD, NOTHING) != NOTHING


def reset_on_close(sock: AnySocket) -> None:
    """Have closing drop what the peer has not read, so that nothing waits for it."""
    with suppress(OSError):  # it may be closed already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
