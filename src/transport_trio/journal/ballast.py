"""A file that only takes up space: freed when the disk is full, so that what must be written still can be."""

from __future__ import annotations

import os
from pathlib import Path

BALLAST_NAME = "ballast"
# Room for some hundred ends of sessions, and for a checkpoint.
BALLAST_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 256 * 1024


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

    def hold(self) -> bool:
        """Take up the space if it is not yet taken; False, with nothing taken, when the disk has too little."""
        if self.is_held:
            return True
        try:
            with self._path.open("wb") as file:
                for _ in range(self._size // CHUNK_BYTES):
                    # Random, so that no file system stores it in less than its size.
                    file.write(os.urandom(CHUNK_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.free()
            return False
        return True

    def free(self) -> None:
        """Give the space back."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            # A file system that has become read-only: the next `hold` or `free` tries again.
            return

    def return_(self) -> bool:
        """Take up the space again, if that leaves as much: else a full disk and a freed ballast would alternate."""
        return self._has_room_for_two() and self.hold()

    def _has_room_for_two(self) -> bool:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= 2 * self._size
