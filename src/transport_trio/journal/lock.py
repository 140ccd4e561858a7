"""One process for each folder: a lock that the kernel frees, also after `kill -9`."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from transport_trio.errors import JournalUnusable

LOCK_NAME = "journal.lock"


class FolderLock:
    """Holds the folder from its making until `release`."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            JournalUnusable: another process holds it (the message says which), or the file cannot be made.
        """
        path = folder / LOCK_NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise JournalUnusable(
                f"{folder} cannot be written to ({exc.strerror}); set DATA_DIR to a folder of ours"
            ) from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise JournalUnusable(
                f"{folder} is in use by another transport-trio (pid {holder}); stop it, or set another DATA_DIR"
            ) from None
        except OSError as exc:
            os.close(self._fd)
            raise JournalUnusable(f"{path} cannot be locked ({exc.strerror}); use a local disk for DATA_DIR") from exc

    def release(self) -> None:
        # The file stays: removing it would let two processes lock two files of one name.
        os.close(self._fd)
