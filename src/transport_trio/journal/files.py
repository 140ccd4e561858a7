"""What the journal holds of the disk, taken and released as a whole. Runs in a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from transport_trio.errors import JournalUnusable
from transport_trio.journal.ballast import Ballast
from transport_trio.journal.failures import DiskFailed
from transport_trio.journal.lock import FolderLock
from transport_trio.journal.sqlite_file import open_file
from transport_trio.journal.sqlite_pool import Reader, connect_readers
from transport_trio.journal.sqlite_writer import Writer


@attrs.frozen(kw_only=True)
class Files:
    lock: FolderLock
    writer: Writer
    readers: Sequence[Reader]
    ballast: Ballast

    def close(self) -> None:
        """Close what writes, then let others in. The readers are closed by their pool."""
        self.writer.close()
        self.lock.release()


def open_files(folder: Path) -> Files:
    """The folder's files, made if there are none.

    Raises:
        JournalUnusable: one line that says what is wrong and what to do; nothing has been overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise JournalUnusable(f"{folder} is no folder and cannot be made ({exc.strerror}); set DATA_DIR") from exc
    ballast = Ballast(folder)
    with ExitStack() as undo:
        lock = FolderLock(folder)
        undo.callback(lock.release)
        if not ballast.return_():
            ballast.free()  # SQLite needs a little space even to read what a crash left
        path = open_file(folder)
        try:
            writer = Writer(path)
            undo.callback(writer.close)
            readers = connect_readers(path)
        except DiskFailed as failure:
            raise JournalUnusable(
                f"{path} cannot be opened ({failure.detail}); see to its disk and permissions"
            ) from failure
        undo.pop_all()
        return Files(lock=lock, writer=writer, readers=readers, ballast=ballast)
