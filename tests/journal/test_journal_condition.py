"""What the journal takes in and what it says of itself, on the clock alone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from transport_trio.errors import StorageUnavailable
from transport_trio.journal.condition import MIB, STUCK_S, Condition
from transport_trio.models import CheckStatus


def condition(**fields: object) -> Condition:
    return Condition(**({"max_bytes": 2 * MIB, "used_bytes": MIB} | fields))  # type: ignore[arg-type]


async def test_a_good_journal_takes_everything() -> None:
    good = condition()
    good.admit(begins_session=True)
    assert good.check().status is CheckStatus.OK
    assert good.check().message == ""


async def test_exactly_its_largest_size_is_not_too_large() -> None:
    assert condition(used_bytes=2 * MIB).check().status is CheckStatus.OK
    assert condition(used_bytes=2 * MIB + 1).check().status is CheckStatus.FAILED


async def test_a_shortage_refuses_beginnings_only() -> None:
    for short in (condition(used_bytes=3 * MIB), condition(ballast_freed=True)):
        short.admit(begins_session=False)
        with pytest.raises(StorageUnavailable, match="none can begin"):
            short.admit(begins_session=True)
        assert short.check().status is CheckStatus.FAILED


async def test_a_failed_disk_refuses_everything_in_its_own_words() -> None:
    failed = condition(failure="the journal's disk failed: no", ballast_freed=True)
    with pytest.raises(StorageUnavailable, match="the journal's disk failed: no"):
        failed.admit(begins_session=False)
    assert failed.check().message == "the journal's disk failed: no"


async def test_a_disk_that_does_not_answer_is_not_ready(autojump_clock: MockClock) -> None:
    writing = condition(writing_since=trio.current_time())
    await trio.sleep(STUCK_S)
    assert writing.check().status is CheckStatus.OK
    await trio.sleep(1)
    check = writing.check()
    assert (check.status, check.message) == (CheckStatus.FAILED, "the disk has not answered for 11 s")
    writing.admit(begins_session=True)  # who waits too long is told by the commit loop
    writing.writing_since = None
    assert writing.check().status is CheckStatus.OK
