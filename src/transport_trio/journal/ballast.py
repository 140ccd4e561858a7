"""A file that only takes up space: freed when the disk is full, so that what must be written still can be."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

BALLAST_NAME = "ballast"
# Room for some hundred ends of sessions, and for a checkpoint.
BALLAST_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
LEAST_BYTES = 1024 * 1024


class Ballast:
    def __init__(self, folder: Path, size: int = BALLAST_BYTES) -> None:
        self._path = folder / BALLAST_NAME
        self._size = size

    @property
    def is_held(self) -> bool:
        try:
            return self._path.stat().st_size == self._size
        except OSError:
            return False

    def take(self) -> bool:
        """Take up the space, if that leaves as much again: else a full disk and a freed ballast would alternate.

        False when it is not held afterwards.
        """
        if self.is_held:
            return True
        return self._space() >= 2 * self._size and self._fill()

    def free(self) -> None:
        """Give the space back."""
        # A file system that has become read-only keeps it; then nothing else works either, which is told elsewhere.
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def free_if_full(self) -> None:
        """Give the space back where there is no other: SQLite needs a little even to read what a crash left."""
        if self._space() < LEAST_BYTES:
            self.free()

    def _space(self) -> int:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return 0  # a disk that does not answer has none for us
        return disk.f_bavail * disk.f_frsize

    def _fill(self) -> bool:
        try:
            with self._path.open("wb") as file:
                for _ in range(self._size // CHUNK_BYTES):
                    # Random, so that no file system stores it in less than its size. Written is enough: what is
                    # still in memory has its place reserved.
                    file.write(os.urandom(CHUNK_BYTES))
        except OSError:
            self.free()
            return False
        return True
