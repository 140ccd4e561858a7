"""Ports for servers of tests and drills, each for one process of ours at a time."""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# Below those that the kernel gives to whoever asks for any.
FIRST, LAST = 10_000, 32_000
_held: list[IO[bytes]] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other process gets from here for as long as this one lives.

    Else another test run or drill could get it while our server is stopped or has not begun to listen, and our clients
    would speak to its server.
    """
    folder = Path(tempfile.gettempdir()) / "transport-trio-ports"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.randrange(FIRST, LAST)
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if _nobody_listens(port):
            _held.append(lock)
            return port
        lock.close()


def _nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
