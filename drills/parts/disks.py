"""Disks that fail while a program runs: a small tmpfs to fill, and a gate that answers its writes with an error."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import trio

from drills.frame.world import Program
from drills.parts import disk_gate
from transport_trio.journal.ballast import BALLAST_NAME

TMPFS_MIB = 24
ACCEPT_S = 30.0
LOOK_MS = 100

Verdict = Callable[[str, str], int]  # (call, file name) -> an errno, or 0 to let it pass


class Shortage(Protocol):
    """A disk that can be made full."""

    def fill(self) -> None:
        """From now on nothing fits, until somebody frees something."""

    def crowded(self) -> AbstractAsyncContextManager[None]:
        """During the block whatever is freed is taken by others."""

    def empty(self) -> None:
        """There is space again."""

    def set_read_only(self, read_only: bool) -> None:
        """Turn the disk; only while nobody has a file open for writing."""


class Tmpfs:
    """A real one of `TMPFS_MIB`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for chunk in (b"x" * 65536, b"x" * 4096):
                with suppress(OSError):
                    while file.write(chunk) == len(chunk):
                        pass

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_what_is_freed)
            yield
            nursery.cancel_scope.cancel()

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    def set_read_only(self, read_only: bool) -> None:
        how = f"remount,{'ro' if read_only else 'rw'}"
        subprocess.run(["mount", "-o", how, str(self._root)], capture_output=True, check=True)

    async def _take_what_is_freed(self) -> None:
        while True:
            self.fill()
            await trio.sleep(0.002)


@contextmanager
def tmpfs(root: Path) -> Iterator[Tmpfs | None]:
    """A small disk at `root`; None where this process may not mount one."""
    root.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(root)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield Tmpfs(root)
    finally:
        subprocess.run(["umount", str(root)], capture_output=True, check=True)


class Gate:
    """Decides on every write and sync of a program, which the kernel asks about (see `disk_gate`).

    `verdict` can be changed at any time. What was refused is counted by (call, file).
    """

    def __init__(self) -> None:
        self.verdict: Verdict = lambda call, name: 0
        self.refused: Counter[tuple[str, str]] = Counter()
        self._name = f"transport-trio-drill-{uuid4()}"  # no file: paths of sockets must be short
        self._over = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(f"\0{self._name}")
        self._server.listen()
        self._server.settimeout(LOOK_MS / 1000)
        self._thread = threading.Thread(target=self._accept, name="disk gate")
        self._watchers: list[threading.Thread] = []

    def put_before(self, program: Program) -> None:
        """From its next start on the program's writes pass through here."""
        program.through([sys.executable, "-I", "-S", disk_gate.__file__, self._name])

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                connection, _ = self._server.accept()
                with connection:
                    _, (asks, *_), _, _ = socket.recv_fds(connection, 1, 1)
                watcher = threading.Thread(target=self._watch, args=(asks,), name="disk gate of a process")
                self._watchers.append(watcher)
                watcher.start()

    def _watch(self, asks: int) -> None:
        """Answer the kernel's questions about one process until it has ended."""
        poll = select.poll()
        poll.register(asks, select.POLLIN)
        try:
            while not self._over.is_set():
                for _, events in poll.poll(LOOK_MS):
                    if events & select.POLLIN:
                        self._answer(asks)
                    else:
                        return
        finally:
            os.close(asks)

    def _answer(self, asks: int) -> None:
        question = bytearray(disk_gate.QUESTION.size)
        with suppress(FileNotFoundError):  # whoever asked has been killed meanwhile
            fcntl.ioctl(asks, disk_gate.RECEIVE, question)
            number, pid, _, call, _, _, fd, *_ = disk_gate.QUESTION.unpack(question)
            name = Path(f"/proc/{pid}/fd/{fd}").readlink().name
            code = self.verdict(disk_gate.NAMES[call], name)
            if code:
                self.refused[disk_gate.NAMES[call], name] += 1
            answer = struct.pack("QqiI", number, 0, -code, 0 if code else disk_gate.GO_ON)
            fcntl.ioctl(asks, disk_gate.ANSWER, answer)


@contextmanager
def open_gate() -> Iterator[Gate]:
    """A gate that is manned during the block; what runs behind it must have ended by then."""
    gate = Gate()
    gate._thread.start()
    try:
        yield gate
    finally:
        gate._over.set()
        for thread in (gate._thread, *gate._watchers):
            thread.join()
        gate._server.close()


class Simulated:
    """The same by a gate, for where no tmpfs may be mounted: what the ballast frees is what there is."""

    def __init__(self, gate: Gate, folder: Path) -> None:
        self._gate, self._folder = gate, folder

    def fill(self) -> None:
        self._gate.verdict = lambda call, file: self._full(call, file) if self._is_full(file) else 0

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[None]:
        self._gate.verdict = self._full
        yield
        self.fill()

    def empty(self) -> None:
        self._gate.verdict = lambda call, file: 0

    def set_read_only(self, read_only: bool) -> None:
        self._gate.verdict = lambda call, file: errno.EROFS if read_only and file.startswith("journal") else 0

    def _is_full(self, file: str) -> bool:
        return file == BALLAST_NAME or (self._folder / BALLAST_NAME).exists()

    @staticmethod
    def _full(call: str, file: str) -> int:
        grows = call in {"write", "pwrite"} and (file == BALLAST_NAME or file.startswith("journal.sqlite3"))
        return errno.ENOSPC if grows else 0
