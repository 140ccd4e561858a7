"""Opening: a whole file or none, one process, and nothing ever overwritten."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from journal_builders import Box, begins, tells

from transport_trio.errors import HistoryGone, JournalUnusable
from transport_trio.journal.ballast import BALLAST_BYTES
from transport_trio.journal.sqlite_file import open_file
from transport_trio.models import CheckStatus
from transport_trio.ports import EventQuery

HOLD = """
import os, sys, trio
from pathlib import Path
from transport_trio.journal.files import open_files
files = open_files(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def fingerprints(folder: Path) -> dict[str, str]:
    """What is in the folder's files, but for the lock and what SQLite rebuilds at will."""
    names = [path for path in folder.iterdir() if path.suffix != ".lock" and not path.name.endswith("-shm")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names if path.is_file()}


async def refusal(box: Box) -> str:
    """Why the journal does not open; after that its files are as they were."""
    before = fingerprints(box.folder) if box.folder.is_dir() else {}
    with pytest.raises(JournalUnusable) as refused:
        async with box.open():
            pytest.fail("opened")
    after = fingerprints(box.folder) if box.folder.is_dir() else {}
    assert {name: after.get(name) for name in before} == before
    message = str(refused.value)
    assert "\n" not in message
    return message


async def filled(box: Box) -> None:
    async with box.open() as journal, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(journal.commit, begins(number))


def edit(box: Box, sql: str) -> None:
    db = sqlite3.connect(box.file)
    db.executescript(sql)
    db.close()


# --- opening what is ours ------------------------------------------------------------------------------------


async def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    box = Box(tmp_path / "a" / "b c" / "ü?#%")
    await filled(box)
    async with box.open() as journal:
        assert journal.head == 50


async def test_everything_is_there_after_a_restart(box: Box) -> None:
    async with box.open() as journal:
        stored = await journal.commit(begins(1))
        assert stored is not None
        await journal.advance("nats", 1)
        epoch, page = journal.epoch, await journal.events(EventQuery())
    async with box.open() as journal:
        assert (journal.epoch, journal.head) == (epoch, 1)
        assert await journal.get(stored.id) == stored
        assert await journal.events(EventQuery()) == page
        assert await journal.bookmark("nats") == 1
        await journal.commit(tells(1))
        assert journal.head == 2


async def test_closing_leaves_one_whole_file(box: Box) -> None:
    await filled(box)
    assert {path.name for path in box.folder.iterdir()} == {
        "journal.sqlite3",
        "journal.lock",
        "journal.witness",
        "ballast",
    }
    assert (box.folder / "ballast").stat().st_size == BALLAST_BYTES


async def test_only_its_owner_may_read_the_file(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(begins(1))
        assert (box.file.stat().st_mode & 0o777, box.log.stat().st_mode & 0o777) == (0o600, 0o600)


async def test_every_journal_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    async with Box(tmp_path / "1").open() as one, Box(tmp_path / "2").open() as other:
        assert one.epoch != other.epoch


async def test_a_new_epoch_on_demand_numbers_on(box: Box) -> None:
    """For a restored backup: what was told after the backup had ids of the old epoch."""
    async with box.open() as journal:
        await journal.commit(tells(1))
        old = journal.epoch
    async with box.open(new_epoch=True) as journal:
        new = journal.epoch
        assert new != old
        assert journal.head == 1
        with pytest.raises(HistoryGone, match="epoch"):
            await journal.events(EventQuery(after=1, epoch=old))
    async with box.open() as journal:
        assert journal.epoch == new


async def test_a_new_epoch_begun_in_service_stays(box: Box) -> None:
    async with box.open() as journal:
        new = await journal.begin_new_epoch()
    async with box.open() as journal:
        assert journal.epoch == new


async def test_a_start_that_was_killed_while_building_is_begun_anew(box: Box) -> None:
    box.folder.mkdir()
    for name in ("journal.sqlite3.new", "journal.sqlite3.new-wal", "journal.sqlite3.new-journal"):
        (box.folder / name).write_bytes(b"half")
    await filled(box)
    assert not list(box.folder.glob("*.new*"))


async def test_a_check_ends_in_the_time_it_is_given(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(tells(*[1] * 5000))
    assert open_file(box.folder, check_s=0.0) == box.file


async def test_a_restored_copy_opens_whatever_made_it(box: Box, tmp_path: Path) -> None:
    """`VACUUM INTO` is the shortest way to a backup, and its file has no write-ahead log."""
    async with box.open() as journal:
        await journal.commit(begins(1))
        copy = Box(tmp_path / "copy")
        copy.folder.mkdir()
        db = sqlite3.connect(box.file)
        db.execute("VACUUM INTO ?", (str(copy.file),))
        db.close()
    async with copy.open(new_epoch=True) as journal:
        await journal.commit(begins(2))
        assert journal.head == 2
        assert copy.log.exists()


# --- refusing what is not fit --------------------------------------------------------------------------------


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_the_header(path: Path) -> None:
    os.truncate(path, 50)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def overwritten_inside(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 8 * 4096)


def without_a_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE journal")
    db.commit()
    db.close()


def without_its_record(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DELETE FROM journal")
    db.commit()
    db.close()


@pytest.mark.parametrize(
    "spoil",
    [garbage, emptied, cut_in_the_header, cut_in_half, overwritten_inside, without_a_table, without_its_record],
)
async def test_a_damaged_file_is_refused_and_left_alone(box: Box, spoil: Callable[[Path], None]) -> None:
    await filled(box)
    spoil(box.file)
    message = await refusal(box)
    assert message.startswith(f"{box.file} is damaged (")
    assert message.endswith("restore it from a backup, or move it away to begin a new journal")


async def test_damage_is_found_behind_a_log_that_a_crash_left(box: Box, tmp_path: Path) -> None:
    async with box.open() as journal:
        await journal.commit(begins(1))
        log = box.log.read_bytes()
    copy = Box(tmp_path / "copy")
    copy.folder.mkdir()
    garbage(copy.file)
    copy.log.write_bytes(log)
    assert "is damaged" in await refusal(copy)


async def test_a_log_without_its_file_is_not_taken_for_a_new_journals(box: Box) -> None:
    """SQLite would read the frames of another database into the new one."""
    async with box.open() as journal:
        await journal.commit(begins(1))
        log = box.log.read_bytes()
    box.file.unlink()
    box.log.write_bytes(log)
    assert "is missing but journal.sqlite3-wal is there" in await refusal(box)
    assert not box.file.exists()


async def test_another_programs_database_is_refused(box: Box) -> None:
    await filled(box)
    edit(box, "PRAGMA application_id = 7")
    assert "is a database of another program" in await refusal(box)


@pytest.mark.parametrize(("format_", "words"), [(2, "a newer transport-trio"), (0, "another transport-trio")])
async def test_a_file_of_another_format_is_refused(box: Box, format_: int, words: str) -> None:
    await filled(box)
    edit(box, f"PRAGMA user_version = {format_}")
    assert f"was written by {words} (format {format_}, this one reads 1); use that version" in await refusal(box)


async def test_a_file_that_sqlite_cannot_open_is_not_called_damaged(box: Box) -> None:
    await filled(box)
    (box.folder / "journal.sqlite3-wal").mkdir()
    assert f"{box.file} cannot be opened (" in await refusal(box)


async def test_a_folder_in_the_files_place_is_refused(box: Box) -> None:
    box.file.mkdir(parents=True)
    assert f"{box.file} cannot be used (Is a directory)" in await refusal(box)


async def test_a_file_in_the_folders_place_is_refused(box: Box) -> None:
    box.folder.write_text("mine")
    assert f"{box.folder} is no folder and cannot be made one (File exists)" in await refusal(box)
    assert box.folder.read_text() == "mine"


async def test_a_folder_that_cannot_be_made_is_refused() -> None:
    assert "cannot be made one" in await refusal(Box(Path("/dev/null/data")))


async def test_a_folder_that_takes_no_file_is_refused(box: Box) -> None:
    """What a missing right to write does; that one does not hold for root, a folder in the lock's place does."""
    (box.folder / "journal.lock").mkdir(parents=True)
    assert f"{box.folder} cannot be written to (Is a directory)" in await refusal(box)


# --- one process ---------------------------------------------------------------------------------------------


async def test_a_second_process_is_refused_by_the_first_ones_pid_until_it_is_killed(box: Box) -> None:
    command = [sys.executable, "-c", HOLD, str(box.folder)]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
        holder: trio.Process = await nursery.start(run)
        assert holder.stdout is not None
        with trio.fail_after(20):
            assert (await holder.stdout.receive_some()).startswith(b"held")
        message = await refusal(box)
        assert f"in use by another transport-trio (pid {holder.pid}); stop it" in message
        holder.kill()
        await holder.wait()
        await filled(box)


async def test_the_same_process_cannot_open_it_twice(box: Box) -> None:
    async with box.open() as journal:
        assert f"(pid {os.getpid()})" in await refusal(box)
        await journal.commit(begins(1))
        assert journal.health().status is CheckStatus.OK


async def test_a_refused_start_leaves_the_folder_free(box: Box) -> None:
    await filled(box)
    kept = box.file.read_bytes()
    garbage(box.file)
    await refusal(box)
    box.file.write_bytes(kept)
    async with box.open() as journal:
        assert journal.head == 50
