"""Several domains in one service, and what they are together: which of them tells the time, and when a start waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from fakes_connector import at, trio_time
from transport_trio.concurrency import SystemClock
from transport_trio.domains import Domains, first_answer
from transport_trio.errors import ConnectorError, ProviderUnreachable

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DOWN = ProviderUnreachable("daily", "down")
Ask = Callable[[], Awaitable[datetime | None]]


def says(answer: datetime | ConnectorError | None, after_s: float = 0.0) -> Ask:
    async def ask() -> datetime | None:
        await trio.sleep(after_s)
        if isinstance(answer, ConnectorError):
            raise answer
        return answer

    return ask


@attrs.define
class OneOfThem:
    """What `Domains` needs of a connector at a start."""

    ask: Ask
    proof_s: float = 0.0
    proved_at: float | None = None

    async def check(self) -> datetime | None:
        return await self.ask()

    async def prove_signing(self) -> None:
        await trio.sleep(self.proof_s)
        self.proved_at = trio.current_time()


@pytest.mark.parametrize(
    ("asked", "answer", "at_s"),
    [
        ([says(NOON)], NOON, 0),
        ([says(NOON, 25), says(at(1), 1)], at(1), 1),
        ([says(DOWN, 1), says(NOON, 3)], NOON, 3),
        ([says(None, 1), says(NOON, 3)], None, 1),
        ([says(NOON, 3), says(DOWN, 1), says(DOWN, 2)], NOON, 3),
    ],
)
async def test_the_first_answer_counts_and_failures_do_not(
    autojump_clock: MockClock, asked: list[Ask], answer: datetime | None, at_s: float
) -> None:
    assert await first_answer(asked) == answer
    assert trio.current_time() == at_s


async def test_a_failure_of_all_is_one(autojump_clock: MockClock) -> None:
    last = ProviderUnreachable("daily-eu", "down, too")
    with pytest.raises(ProviderUnreachable) as caught:
        await first_answer([says(last, 2), says(DOWN, 1)])
    assert caught.value is last


async def test_a_bug_in_one_is_no_failure(autojump_clock: MockClock) -> None:
    async def bug() -> datetime | None:
        raise TypeError

    with pytest.RaisesGroup(TypeError):
        await first_answer([bug, says(NOON, 1)])


async def test_a_silent_domain_holds_up_no_start(autojump_clock: MockClock) -> None:
    wrong = timedelta(hours=1)
    clock = SystemClock(wall=lambda: trio_time() - wrong)
    silent, well = OneOfThem(says(NOON, 25)), OneOfThem(lambda: says(trio_time())())
    await domains(silent, well).prepare(clock)
    assert trio.current_time() == 0
    assert clock.now() == trio_time()
    assert well.proved_at == 0


async def test_a_domain_that_proves_nothing_holds_up_the_start_for_two_seconds(autojump_clock: MockClock) -> None:
    silent, well = OneOfThem(says(NOON), proof_s=25), OneOfThem(says(NOON))
    await domains(silent, well).prepare(SystemClock(wall=trio_time))
    assert trio.current_time() == 2
    assert well.proved_at == 0


def domains(*connectors: Any) -> Domains:
    return Domains(connectors)
