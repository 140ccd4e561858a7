"""The data folder proves which rooms were named in it, whatever became of its journal."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.lowlevel

from transport_trio.journal import Instance, open_instance
from transport_trio.journal.instance import INSTANCE_NAME
from transport_trio.models import Claim, Room, SessionId

TEST_S = 20.0  # bounds a test that hangs
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    async def sleep_until(self, at: datetime) -> None:
        raise NotImplementedError


@pytest.fixture
def clock() -> Clock:
    return Clock()


def room(session_id: SessionId, made_at: datetime, prefix: str = "tt") -> Room:
    return Room(
        name=f"{prefix}-{session_id}", url="", provider_id="r1", created_at=made_at, expires_at=made_at + timedelta(1)
    )


async def named(folder: Path, clock: Clock) -> Room:
    """A room named in a life of its own of this folder."""
    await trio.Path(folder).mkdir(exist_ok=True)
    async with open_instance(folder, clock) as instance:
        return room(instance.new_id("tt"), clock.now())


async def claim(folder: Path, clock: Clock, *rooms: Room) -> list[Claim]:
    async with open_instance(folder, clock) as instance:
        return [instance.claim(one) for one in rooms]


async def test_a_later_life_knows_the_rooms_of_all_former_ones(tmp_path: Path, clock: Clock) -> None:
    with trio.fail_after(TEST_S):
        rooms = []
        for _ in range(3):
            rooms.append(await named(tmp_path, clock))
            clock.time += timedelta(hours=1)
        assert await claim(tmp_path, clock, *rooms) == [Claim.OURS] * 3
    assert (tmp_path / INSTANCE_NAME).stat().st_mode & 0o777 == 0o600


async def test_another_folder_knows_none_of_them(tmp_path: Path, clock: Clock) -> None:
    with trio.fail_after(TEST_S):
        theirs = await named(tmp_path / "a", clock)
        await named(tmp_path / "b", clock)
        assert await claim(tmp_path / "b", clock, theirs) == [Claim.FOREIGN]


async def test_a_name_is_written_down_while_the_process_lives(tmp_path: Path, clock: Clock) -> None:
    """`kill -9` leaves what was written a moment after the name."""
    file = tmp_path / INSTANCE_NAME
    with trio.fail_after(TEST_S):
        async with open_instance(tmp_path, clock) as instance:
            ours = room(instance.new_id("tt"), clock.now())
            while not file.exists():  # noqa: ASYNC110
                await trio.sleep(0.01)
            left = file.read_bytes()
        file.write_bytes(left)
        assert await claim(tmp_path, clock, ours) == [Claim.OURS]


async def test_a_copy_of_the_folder_proves_nothing_of_what_was_before_it(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether a copy's journal is there or not: the original may be at work."""
    with trio.fail_after(TEST_S):
        before = await named(tmp_path / "a", clock)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        clock.time += timedelta(minutes=1)
        after = await named(tmp_path / "b", clock)
        assert await claim(tmp_path / "b", clock, before, after) == [Claim.UNPROVEN, Claim.OURS]
        assert await claim(tmp_path / "a", clock, before, after) == [Claim.OURS, Claim.FOREIGN]
    assert caplog.text.count("data folder was copied or moved") == 1


async def test_a_copy_in_the_root_of_another_volume_is_a_copy(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roots of two file systems have the same inode."""
    with trio.fail_after(TEST_S):
        before = await named(tmp_path, clock)
        assert await claim(tmp_path, clock, before) == [Claim.OURS]
        here = os.statvfs(tmp_path)
        elsewhere = SimpleNamespace(f_fsid=here.f_fsid ^ 1)
        monkeypatch.setattr("transport_trio.journal.instance.os.statvfs", lambda _path: elsewhere)
        assert await claim(tmp_path, clock, before) == [Claim.UNPROVEN]


async def test_a_clock_that_is_set_back_begins_another_run(tmp_path: Path, clock: Clock) -> None:
    """Names before the beginning of their run would be nobody's, and those before its end vouched for in advance."""
    with trio.fail_after(TEST_S):
        clock.time += timedelta(hours=1)
        async with open_instance(tmp_path, clock) as instance:
            early = room(instance.new_id("tt"), clock.now())
            clock.time -= timedelta(hours=1)
            right = room(instance.new_id("tt"), clock.now())
            await instance.close()
            copied = (tmp_path / INSTANCE_NAME).read_bytes()
            clock.time += timedelta(minutes=2)
            later = room(instance.new_id("tt"), clock.now())
        assert await claim(tmp_path, clock, early, right, later) == [Claim.OURS] * 3
        (tmp_path / INSTANCE_NAME).write_bytes(copied)
        assert await claim(tmp_path, clock, right, later) == [Claim.OURS, Claim.UNPROVEN]


async def test_a_clone_of_the_disk_does_not_prove_what_was_named_after_it(tmp_path: Path, clock: Clock) -> None:
    """There the folder has the number that it had."""
    file = tmp_path / INSTANCE_NAME
    with trio.fail_after(TEST_S):
        async with open_instance(tmp_path, clock) as instance:
            before = room(instance.new_id("tt"), clock.now())
            await instance.close()
            cloned = file.read_bytes()
            clock.time += timedelta(seconds=30)
            soon = room(instance.new_id("tt"), clock.now())
            clock.time += timedelta(seconds=60)
            later = room(instance.new_id("tt"), clock.now())
            assert [instance.claim(one) for one in (before, soon, later)] == [Claim.OURS] * 3
        assert await claim(tmp_path, clock, before, later) == [Claim.OURS] * 2
        file.write_bytes(cloned)
        async with open_instance(tmp_path, clock) as twin:
            assert [twin.claim(one) for one in (before, soon, later)] == [Claim.OURS, Claim.UNPROVEN, Claim.UNPROVEN]
            twin.doubt([before, soon])  # a crash can explain that much
            assert twin.claim(before) is Claim.OURS
            twin.doubt([before, soon, later])
            assert twin.claim(before) is Claim.UNPROVEN
        assert await claim(tmp_path, clock, before) == [Claim.UNPROVEN]  # it does not forget


async def test_what_both_name_after_the_copy_is_foreign_to_the_other(tmp_path: Path, clock: Clock) -> None:
    with trio.fail_after(TEST_S):
        await named(tmp_path / "a", clock)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        of_a, of_b = await named(tmp_path / "a", clock), await named(tmp_path / "b", clock)
        assert await claim(tmp_path / "a", clock, of_a, of_b) == [Claim.OURS, Claim.FOREIGN]
        assert await claim(tmp_path / "b", clock, of_a, of_b) == [Claim.FOREIGN, Claim.OURS]


async def test_a_run_that_somebody_else_goes_on_with_is_given_up(tmp_path: Path, clock: Clock) -> None:
    """A machine was cloned with its memory: both have the key, and neither can prove anything with it."""
    with trio.fail_after(TEST_S):
        async with open_instance(tmp_path, clock) as instance:
            ours = room(instance.new_id("tt"), clock.now())
            await instance.close()
            clone = Instance(tmp_path, clock, ())
            clone._run = instance._run
            clock.time += timedelta(minutes=2)
            theirs = room(clone.new_id("tt"), clock.now())
            instance.doubt([theirs])
            assert [instance.claim(one) for one in (ours, theirs)] == [Claim.UNPROVEN] * 2
            assert instance.claim(room(instance.new_id("tt"), clock.now())) is Claim.OURS


async def test_ids_are_uuids_and_never_twice(tmp_path: Path, clock: Clock) -> None:
    instance = Instance(tmp_path, clock, ())
    ids = [instance.new_id("tt") for _ in range(5000)]
    assert len(set(ids)) == len(ids)
    for one in (uuid.UUID(session_id) for session_id in ids):
        assert (one.version, one.variant) == (7, uuid.RFC_4122)
    assert all(str(uuid.UUID(session_id)) == session_id for session_id in ids)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"runs": [{}]}', b'{"runs": null}', b"\xff\xfe"])
async def test_a_file_that_makes_no_sense_is_put_aside(
    tmp_path: Path, clock: Clock, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / INSTANCE_NAME).write_bytes(content)
    with trio.fail_after(TEST_S):
        ours = await named(tmp_path, clock)
        assert await claim(tmp_path, clock, ours) == [Claim.OURS]
    assert (tmp_path / "instance.unreadable").read_bytes() == content
    assert "rooms of former runs are not known to be ours" in caplog.text


async def test_a_disk_that_takes_nothing_is_told_and_ends_nothing(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "instance.new").mkdir()
    with trio.fail_after(TEST_S):
        async with open_instance(tmp_path, clock) as instance:
            ours = room(instance.new_id("tt"), clock.now())
            while "could not be proven" not in caplog.text:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert instance.claim(ours) is Claim.OURS
            (tmp_path / "instance.new").rmdir()
        assert await claim(tmp_path, clock, ours) == [Claim.OURS]


async def test_old_runs_are_forgotten_and_the_latest_kept(tmp_path: Path, clock: Clock) -> None:
    with trio.fail_after(TEST_S):
        old = await named(tmp_path, clock)
        clock.time += timedelta(days=61)
        rooms = [await named(tmp_path, clock) for _ in range(70)]
        claims = await claim(tmp_path, clock, old, *rooms)
        assert claims[0] is Claim.FOREIGN
        assert claims[-64:] == [Claim.OURS] * 64
        await named(tmp_path, clock)
    assert len(json.loads((tmp_path / INSTANCE_NAME).read_bytes())["runs"]) == 65


async def test_a_start_that_names_nothing_leaves_no_run(tmp_path: Path, clock: Clock) -> None:
    with trio.fail_after(TEST_S):
        async with open_instance(tmp_path, clock):
            await trio.lowlevel.checkpoint()
    assert not (tmp_path / INSTANCE_NAME).exists()
