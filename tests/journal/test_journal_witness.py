"""A journal that was put back from a backup is noticed by the file beside it, also without NATS."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path

import pytest
from journal_builders import Box, tells

from transport_trio.errors import HistoryGone
from transport_trio.journal.witness import WITNESS_NAME
from transport_trio.ports import EventQuery


def back_up(box: Box, copy: Path) -> None:
    """As an operator would, while the journal is in use."""
    db = sqlite3.connect(box.file)
    db.execute("VACUUM INTO ?", (str(copy),))
    db.close()


async def test_a_restored_copy_begins_a_new_epoch_before_it_tells_anything(
    box: Box, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with box.open() as journal:
        await journal.commit(tells(1))
        back_up(box, tmp_path / "copy")
        await journal.commit(tells(1, 1))
        old = journal.epoch
    shutil.copy(tmp_path / "copy", box.file)
    async with box.open() as journal:
        new = journal.epoch
        assert (new != old, journal.head) == (True, 1)
        await journal.commit(tells(1, 1, 1))
        with pytest.raises(HistoryGone, match="epoch"):  # although there are as many events again
            await journal.events(EventQuery(after=3, epoch=old))
    async with box.open() as journal:
        assert journal.epoch == new  # it is noticed once
    (line,) = [record for record in caplog.records if record.message == "journal was rolled back"]
    assert (line.levelno, line.__dict__["head"], line.__dict__["known_id"]) == (logging.ERROR, 1, 3)


async def test_a_copy_of_before_an_epoch_began_is_noticed_too(box: Box, tmp_path: Path) -> None:
    """It has as many events, but their successors were told under another name."""
    async with box.open() as journal:
        await journal.commit(tells(1))
        back_up(box, tmp_path / "copy")
        old = journal.epoch
        new = await journal.begin_new_epoch()
    shutil.copy(tmp_path / "copy", box.file)
    async with box.open() as journal:
        assert journal.epoch not in (old, new)


async def test_a_journal_that_was_cut_off_keeps_its_epoch(box: Box, tmp_path: Path) -> None:
    """What a crash leaves: file, log and witness as they are in mid-life, or the witness a little behind."""
    async with box.open() as journal:
        await journal.commit(tells(1))
        behind = (box.folder / WITNESS_NAME).read_bytes()
        await journal.commit(tells(1))
        epoch = journal.epoch
        crashed = Box(tmp_path / "crashed")
        shutil.copytree(box.folder, crashed.folder)
    for witness in (behind, b"", b"half a li", b"no number at all\n", None):
        if witness is None:
            (crashed.folder / WITNESS_NAME).unlink()
        else:
            (crashed.folder / WITNESS_NAME).write_bytes(witness)
        async with crashed.open() as journal:
            assert (journal.epoch, journal.head) == (epoch, 2)


async def test_a_crash_while_an_epoch_begins_is_no_rollback(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(tells(1))
        new = await journal.begin_new_epoch()
        assert (box.folder / WITNESS_NAME).read_bytes() == b"%s %020d\n" % (new.encode(), 1)
    (box.folder / WITNESS_NAME).write_bytes(b"")  # forgotten first, and not yet written again
    async with box.open() as journal:
        assert journal.epoch == new


async def test_a_new_journal_in_an_old_folder_is_no_rollback(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    async with box.open() as journal:
        await journal.commit(tells(1))
    box.file.unlink()
    async with box.open() as journal:
        assert journal.head == 0
        await journal.commit(tells(1))
        epoch = journal.epoch
    async with box.open() as journal:
        assert journal.epoch == epoch
    assert "rolled back" not in caplog.text


async def test_a_folder_put_back_as_a_whole_has_its_witness_with_it(box: Box, tmp_path: Path) -> None:
    """Nothing in it can tell: `serve --new-epoch` is for this, or NATS."""
    async with box.open() as journal:
        await journal.commit(tells(1))
        epoch = journal.epoch
    shutil.copytree(box.folder, tmp_path / "copy")
    async with box.open() as journal:
        await journal.commit(tells(1))
    async with Box(tmp_path / "copy").open() as journal:
        assert journal.epoch == epoch
