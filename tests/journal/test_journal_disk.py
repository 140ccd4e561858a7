"""A disk that fills up or fails: nothing half-stored, nothing announced, and it goes on by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from journal_builders import WEEK_S, Box, a_session, at, begins, ended, ended_event, sid, tells, until
from loop_rig import open_loop
from small_disk import KINDS, SmallDisk, limited_files

from transport_trio.errors import JournalUnusable, StorageUnavailable
from transport_trio.journal import SqliteJournal
from transport_trio.journal.ballast import BALLAST_BYTES, Ballast
from transport_trio.journal.failures import DiskFailed, DiskFault
from transport_trio.journal.files import open_files
from transport_trio.journal.sqlite_errors import disk_errors
from transport_trio.journal.sqlite_file import connect_reader
from transport_trio.models import CheckStatus
from transport_trio.ports import Change, EventQuery, SessionQuery


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    with request.param(tmp_path) as disk:
        yield disk


def ends(number: int) -> Change:
    return Change(session=ended(a_session(number)), expected_version=1, events=(ended_event(number),))


# Housekeeping takes the ballast back, so it has to come by often here.
OFTEN_S = 0.05


async def until_healthy(journal: SqliteJournal) -> None:
    await until(lambda: journal.health().status is CheckStatus.OK)


async def until_stored(journal: SqliteJournal, change: Change) -> int:
    """Try as the owner of a session does; how often it was refused."""
    refused = 0
    while True:
        try:
            await journal.commit(change)
        except StorageUnavailable:
            refused += 1
            await trio.sleep(0.02)
        else:
            return refused


async def test_a_full_disk_refuses_whole_changes_and_tells_nothing_of_them(disk: SmallDisk) -> None:
    box, told = Box(disk.folder, tidy_every_s=OFTEN_S), list[int]()
    async with box.open() as journal:
        journal.on_commit(lambda events: told.extend(event.id for event in events))
        await journal.commit(begins(1))
        disk.fill()
        with pytest.raises(StorageUnavailable, match="the journal's disk"):
            await journal.commit(begins(2))
        assert told == [1]
        assert journal.head == 1
        assert await journal.get(sid(2)) is None
        assert (await journal.events(EventQuery())).last_event_id == 1
        assert box.metric("transport_journal_commit_failures_total", reason=disk.fault) == 1
        disk.empty()
        await until_stored(journal, begins(2))
        assert told == [1, 2]
    async with box.open() as journal:
        assert journal.head == 2


async def test_on_a_full_disk_sessions_can_end_but_not_begin(disk: SmallDisk) -> None:
    box = Box(disk.folder, tidy_every_s=OFTEN_S)
    async with box.open() as journal:
        for number in (1, 2, 3):
            await journal.commit(begins(number))
        disk.fill()
        with pytest.raises(StorageUnavailable):
            await journal.commit(ends(1))
        disk.grant_what_the_ballast_freed()
        await until_stored(journal, ends(1))
        await journal.commit(ends(2))
        for change in (begins(4), Change(add_intent=None, session=a_session(5))):
            with pytest.raises(StorageUnavailable, match="sessions go on, but none can begin"):
                await journal.commit(change)
        health = journal.health()
        assert (health.status, health.message) == (CheckStatus.FAILED, "the journal's disk is full")
        # Nothing fails any more, so a count of failures would not show it.
        assert box.metric("transport_journal_writable") == 0
        assert not (disk.folder / "ballast").exists()


async def test_when_there_is_space_the_ballast_comes_back_and_sessions_begin(disk: SmallDisk) -> None:
    box = Box(disk.folder, tidy_every_s=OFTEN_S)
    async with box.open() as journal:
        await journal.commit(begins(1))
        disk.fill()
        with pytest.raises(StorageUnavailable):
            await journal.commit(begins(2))
        disk.empty()
        await until_healthy(journal)
        assert box.metric("transport_journal_writable") == 1
        await journal.commit(begins(2))
        assert Ballast(disk.folder).is_held


async def test_a_disk_that_was_full_for_long_is_taken_up_again_as_soon_as_there_is_space(disk: SmallDisk) -> None:
    box = Box(disk.folder)
    async with box.open() as journal:
        await journal.commit(begins(1))
        for _ in range(5):
            await journal.prune()  # in turn with the first tidying, which is over then: it has no part in what follows
        while not journal.health().message.startswith("the journal's disk failed"):
            disk.fill()
            with suppress(StorageUnavailable):
                await journal.commit(tells(1))
        disk.empty()
        await until_healthy(journal)
        assert Ballast(disk.folder).is_held
        await journal.commit(begins(2))


async def test_who_waits_behind_a_failed_commit_is_refused_at_once(tmp_path: Path) -> None:
    with limited_files(tmp_path) as disk:
        async with open_loop(Box(disk.folder)) as loop:
            refused: list[str] = []

            async def write() -> None:
                with pytest.raises(StorageUnavailable) as exc:
                    await loop.write(tells(1))
                refused.append(str(exc.value))

            async with trio.open_nursery() as nursery, loop.hanging_disk():
                nursery.start_soon(write)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(200):  # more than one group takes
                    nursery.start_soon(write)
                await trio.testing.wait_all_tasks_blocked()
                disk.fill()
            assert set(refused) == {"the journal's disk failed: disk I/O error"}
            assert loop.told == []
            assert loop.groups() == (0, 0)
            disk.empty()


async def test_while_nothing_can_be_written_everything_can_be_read(disk: SmallDisk) -> None:
    box = Box(disk.folder, tidy_every_s=OFTEN_S)
    async with box.open() as journal:
        for number in range(1, 4):
            await journal.commit(begins(number))
        disk.fill()
        refused = 0
        while refused < 20:  # the ballast's space is taken by others as soon as it is freed
            try:
                await journal.commit(tells(1))
            except StorageUnavailable:
                refused += 1
            disk.fill()
            await trio.sleep(0.02)
        assert journal.health().status is CheckStatus.FAILED
        head = journal.head
        assert [event.id for event in (await journal.events(EventQuery())).events] == list(range(1, head + 1))
        assert len((await journal.snapshot()).sessions) == 3
        disk.empty()
        await until_healthy(journal)
        await journal.commit(tells(1))
        assert journal.head == head + 1


async def test_a_disk_that_stays_full_does_not_hold_up_the_closing(disk: SmallDisk) -> None:
    box = Box(disk.folder, tidy_every_s=OFTEN_S)
    async with box.open() as journal:
        await journal.commit(begins(1))
        disk.fill()
        with pytest.raises(StorageUnavailable):
            await journal.commit(tells(1))
        disk.fill()
    disk.empty()
    async with box.open() as journal:
        assert journal.head == 1


async def test_a_start_on_a_full_disk_opens_for_what_goes_on(disk: SmallDisk) -> None:
    box = Box(disk.folder, tidy_every_s=OFTEN_S)
    async with box.open() as journal:
        await journal.commit(begins(1))
    disk.fill()
    disk.grant_what_the_ballast_freed()
    async with box.open() as journal:
        assert journal.health().message == "the journal's disk is full"
        await until_stored(journal, ends(1))
        disk.empty()
        await until_healthy(journal)


async def test_a_journal_cannot_be_made_on_a_full_disk(disk: SmallDisk) -> None:
    disk.folder.mkdir()
    disk.fill()
    with pytest.raises(JournalUnusable, match="cannot be"):
        async with Box(disk.folder).open():
            pytest.fail("opened")
    disk.empty()
    async with Box(disk.folder).open() as journal:
        await journal.commit(begins(1))


async def test_a_journal_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    with limited_files(tmp_path) as disk:
        disk.allow(8192)
        with pytest.raises(JournalUnusable, match=r"journal\.sqlite3 cannot be made \(disk I/O error\)"):
            async with Box(disk.folder).open():
                pytest.fail("opened")
        assert not Box(disk.folder).file.exists()


async def test_a_database_locked_from_outside_is_waited_for(box: Box) -> None:
    """An operator's shell in the middle of a transaction."""
    async with box.open() as journal:
        await journal.commit(begins(1))
        other = sqlite3.connect(box.file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            await journal.commit(tells(1))
        assert box.metric("transport_journal_commit_failures_total", reason="other") == 1
        other.execute("ROLLBACK")
        other.close()
        await until_stored(journal, tells(1))
        await until_healthy(journal)


async def test_a_new_epoch_that_cannot_be_written_stops_the_start(box: Box) -> None:
    async with box.open() as journal:
        epoch = journal.epoch
    other = sqlite3.connect(box.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnusable, match=r"cannot be used \(database is locked\)"):
        async with box.open(new_epoch=True):
            pytest.fail("opened")
    other.close()
    async with box.open() as journal:
        assert journal.epoch == epoch


async def test_a_log_that_somebody_removed_is_no_reason_to_stop(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(begins(1))
        box.log.unlink()
        await journal.commit(begins(2))
        assert journal.head == 2


async def test_damage_while_open_is_told_and_ends_nothing(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    async with box.open() as journal:
        await journal.commit(tells(*[1] * 500))
    async with box.open() as journal:
        with box.file.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (box.file.stat().st_size - 4096))
        with pytest.raises(StorageUnavailable):
            await journal.events(EventQuery())
        assert "journal not readable" in caplog.messages
        with pytest.raises(StorageUnavailable):
            await journal.commit(tells(1))
        assert journal.health().status is CheckStatus.FAILED
        assert box.metric("transport_journal_commit_failures_total", reason="damaged") == 1


async def test_a_record_that_is_no_session_is_told_as_such(box: Box) -> None:
    async with box.open() as journal:
        await journal.commit(begins(1))
    db = sqlite3.connect(box.file)
    db.execute("UPDATE sessions SET body = '{\"id\": 1}'")
    db.commit()
    db.close()
    async with box.open() as journal:
        with pytest.raises(StorageUnavailable, match="a record of the journal is damaged"):
            await journal.get(sid(1))


async def test_housekeeping_tells_once_that_it_fails_and_goes_on(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box(disk.folder, tidy_every_s=0.02)
    async with box.open() as journal:
        await journal.commit(tells(*[1] * 2000))
        disk.fill()
        box.clock.time = at(2 * WEEK_S)
        await until(lambda: "journal not tidied" in caplog.messages)
        with pytest.raises(StorageUnavailable):
            await journal.prune()
        disk.empty()
        await until(lambda: box.metric("transport_journal_events_pruned_total") == 2000)
        assert caplog.messages.count("journal not tidied") == 1


async def test_what_is_forgotten_while_the_disk_is_full_makes_room(disk: SmallDisk) -> None:
    """Else a disk that stays as it is would stay full for us, however much we forget."""
    box = Box(disk.folder, tidy_every_s=OFTEN_S)
    async with box.open() as journal, trio.open_nursery() as nursery:
        for number in range(30):
            bulky = a_session(number, departed=("x" * 1000,) * 100)
            nursery.start_soon(journal.commit, Change(session=ended(bulky)))
    assert box.file.stat().st_size > BALLAST_BYTES // 2
    async with box.open() as journal:
        disk.fill()
        with pytest.raises(StorageUnavailable):
            await journal.commit(tells(1))
        disk.grant_what_the_ballast_freed()
        box.clock.time = at(2 * WEEK_S)
        await until(lambda: box.file.stat().st_size < BALLAST_BYTES // 8)
        assert (await journal.sessions(SessionQuery())).total == 0


def test_what_sqlite_says_is_sorted(box: Box) -> None:
    files = open_files(box.folder)
    try:
        with pytest.raises(DiskFailed) as failed, disk_errors():
            files.readers[0].execute("UPDATE journal SET epoch = ''")
        assert failed.value.fault is DiskFault.READ_ONLY
        with pytest.raises(DiskFailed) as failed, disk_errors():
            connect_reader(box.folder / "none")
        assert failed.value.fault is DiskFault.IO
    finally:
        for db in files.readers:
            db.close()
        files.close()


# --- the ballast itself --------------------------------------------------------------------------------------


def test_the_ballast_takes_its_space_and_gives_it_back(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path)
    assert not ballast.is_held
    assert ballast.take()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= BALLAST_BYTES
    assert ballast.take()
    ballast.free()
    ballast.free()
    assert not ballast.is_held


def test_a_ballast_that_does_not_fit_leaves_nothing_behind(disk: SmallDisk) -> None:
    disk.folder.mkdir()
    disk.fill()
    ballast = Ballast(disk.folder)
    assert not ballast.take()
    assert not (disk.folder / "ballast").exists()
    disk.empty()
    assert ballast.take()


def test_half_a_ballast_is_none(tmp_path: Path) -> None:
    (tmp_path / "ballast").write_bytes(b"x")
    ballast = Ballast(tmp_path)
    assert not ballast.is_held
    assert ballast.take()


def test_a_folder_that_is_gone_holds_no_ballast(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "gone")
    assert not ballast.take()
    ballast.free()
