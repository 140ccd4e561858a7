"""What the journal holds of the disk, taken and released as a whole. Runs in a worker thread."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from transport_trio.errors import JournalUnusable
from transport_trio.journal.ballast import Ballast
from transport_trio.journal.codec import epoch_change
from transport_trio.journal.failures import DiskFailed
from transport_trio.journal.lock import FolderLock
from transport_trio.journal.sqlite_file import open_file
from transport_trio.journal.sqlite_pool import Reader, connect_readers
from transport_trio.journal.sqlite_writer import Writer
from transport_trio.journal.witness import Witness


@attrs.frozen(kw_only=True)
class Files:
    lock: FolderLock
    writer: Writer
    readers: Sequence[Reader]
    ballast: Ballast
    witness: Witness
    lost: tuple[str, int] | None = None  # the epoch and id that this journal had reached before it was put back

    def close(self) -> None:
        """Close what writes, then let others in. The readers are closed by their pool."""
        self.writer.close()
        self.witness.close()
        self.lock.release()


def open_files(folder: Path, *, new_epoch: bool = False) -> Files:
    """The folder's files, made if there are none. A journal that was rolled back begins a new epoch.

    Raises:
        JournalUnusable: one line that says what is wrong and what to do; nothing has been overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise JournalUnusable(
            f"{folder} is no folder and cannot be made one ({exc.strerror}); set DATA_DIR to a folder of ours"
        ) from exc
    with ExitStack() as undo:
        lock = FolderLock(folder)
        undo.callback(lock.release)
        ballast = Ballast(folder)
        ballast.free_if_full()
        path = open_file(folder)
        witness = Witness(folder)
        undo.callback(witness.close)
        try:
            writer = Writer(path, witness)
            undo.callback(writer.close)
            lost = witness.contradicts(writer.epoch, writer.last_id)
            if new_epoch or lost is not None:
                writer.write([epoch_change(str(uuid.uuid4()))])
            readers = connect_readers(path)
        except DiskFailed as failure:
            raise JournalUnusable(f"{path} cannot be used ({failure.detail}); see to its disk") from failure
        ballast.take()
        undo.pop_all()
        return Files(lock=lock, writer=writer, readers=readers, ballast=ballast, witness=witness, lost=lost)
