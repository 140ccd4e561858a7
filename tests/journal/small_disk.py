"""A disk that can be filled: a small tmpfs where we may mount one, and everywhere a limit on the size of files."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from transport_trio.journal.ballast import BALLAST_BYTES

TMPFS_MIB = 24


class SmallDisk(Protocol):
    folder: Path
    fault: str  # what a write to the full disk is called

    def fill(self) -> None:
        """From now on nothing fits."""

    def grant_what_the_ballast_freed(self) -> None:
        """Where files are limited, freeing one does not make room for others: do it by hand."""

    def empty(self) -> None:
        """There is space again."""


class Tmpfs:
    fault = "full"

    def __init__(self, root: Path) -> None:
        self.folder = root / "data"
        self._filler = root / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def grant_what_the_ballast_freed(self) -> None:
        pass

    def empty(self) -> None:
        self._filler.unlink()


class LimitedFiles:
    """RLIMIT_FSIZE: no file of this process may grow past a size, which SQLite sees as an I/O error."""

    fault = "io"

    def __init__(self, root: Path) -> None:
        self.folder = root / "data"

    def fill(self) -> None:
        log = self.folder / "journal.sqlite3-wal"
        self.allow(log.stat().st_size if log.exists() else 0)

    def grant_what_the_ballast_freed(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)
        self.allow(BALLAST_BYTES - 1)  # too little for the ballast itself

    def empty(self) -> None:
        self.allow(resource.getrlimit(resource.RLIMIT_FSIZE)[1])

    @staticmethod
    def allow(size: int) -> None:
        """How large files may be."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextmanager
def tmpfs(root: Path) -> Iterator[Tmpfs]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(root)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    try:
        yield Tmpfs(root)
    finally:
        subprocess.run(["umount", str(root)], capture_output=True, check=True)


@contextmanager
def limited_files(root: Path) -> Iterator[LimitedFiles]:
    disk = LimitedFiles(root)
    try:
        yield disk
    finally:
        disk.empty()


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder, suppress(OSError), tmpfs(Path(folder)):
        return True
    return False


KINDS = [limited_files, tmpfs] if os.geteuid() == 0 and _may_mount() else [limited_files]
