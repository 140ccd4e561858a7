"""A small file beside the journal that remembers how far it had got: it survives when the journal is put back.

A restored backup does not know the events that came after it, and would give their ids to other events. The witness
is written after each commit and never before, so it can lag behind the journal it belongs to but never be ahead of it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

WITNESS_NAME = "journal.witness"
# Of one length, so that each overwrites the one before in place, on a full disk too.
_LINE = re.compile(rb"(\S+) ([0-9]{20})\n")
READ_BYTES = 256


class Witness:
    """What was told under which epoch. A disk that does not take it only keeps it from noticing a rollback."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / WITNESS_NAME
        self._fd: int | None = None

    def contradicts(self, epoch: str, last_id: int) -> tuple[str, int] | None:
        """The epoch and id that the journal of this folder had reached, if this journal does not know of them."""
        with suppress(OSError):
            if match := _LINE.fullmatch(os.pread(self._file(), READ_BYTES, 0)):
                known_epoch, known_id = match[1].decode("ascii", "replace"), int(match[2])
                # A journal that has told nothing yet may be anybody's first one in this folder.
                lost = known_id > last_id if known_epoch == epoch else last_id > 0
                return (known_epoch, known_id) if lost else None
        return None

    def remember(self, epoch: str, last_id: int) -> None:
        """The journal holds this, durably. Not synced: who restores a backup does so long after."""
        with suppress(OSError):
            os.pwrite(self._file(), b"%s %020d\n" % (epoch.encode(), last_id), 0)

    def forget(self) -> None:
        """The epoch is about to change: a crash in mid-change must not look like a rollback."""
        with suppress(OSError):
            os.ftruncate(self._file(), 0)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _file(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fd
