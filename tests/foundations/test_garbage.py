"""Long pauses of the garbage collector happen once, not every time, and not for what is there from the beginning."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from transport_trio.concurrency import short_pauses


class Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_frozen_before_or_after() -> Iterator[None]:
    gc.unfreeze()
    yield
    assert gc.get_freeze_count() == 0


def nodes_looked_at() -> int:
    """How many a full collection looks at."""
    return sum(isinstance(one, Node) for one in gc.get_objects())


def test_what_is_there_from_the_beginning_is_left_out() -> None:
    kept = [Node() for _ in range(1000)]
    assert nodes_looked_at() == len(kept)
    with short_pauses():
        assert nodes_looked_at() == 0
    assert nodes_looked_at() == len(kept)


def test_garbage_of_before_is_not_kept() -> None:
    gc.collect()
    Node()
    with short_pauses():
        gc.unfreeze()
        assert nodes_looked_at() == 0


def test_what_outlives_a_long_collection_is_left_out_of_the_next() -> None:
    with short_pauses(long_s=0):
        kept = [Node() for _ in range(1000)]
        assert nodes_looked_at() == len(kept)
        gc.collect()
        assert nodes_looked_at() == 0


def test_a_short_one_and_those_of_the_young_change_nothing() -> None:
    with short_pauses(long_s=60) as pauses:
        kept = [Node() for _ in range(1000)]
        gc.collect()
        assert 0 < pauses.latest_s < 60
        assert nodes_looked_at() == len(kept)
    with short_pauses(long_s=0):
        kept = [Node() for _ in range(1000)]
        gc.collect(1)
        assert nodes_looked_at() == len(kept)


@pytest.mark.parametrize(("look_again_s", "expected"), [(0, ["it"]), (60, [])])
def test_what_was_set_aside_and_is_garbage_now_is_found_in_the_end(look_again_s: float, expected: list[str]) -> None:
    with short_pauses(long_s=0, look_again_s=look_again_s):
        found: list[str] = []

        class Left(Node):
            def __del__(self) -> None:
                found.append("it")

        left = Left()
        gc.collect()
        del left
        assert found == []
        gc.collect()
        assert found == expected


def test_garbage_among_what_is_set_aside_is_found_when_that_has_grown() -> None:
    with short_pauses(long_s=0):
        gc.disable()  # what it finds by itself meanwhile is set aside, too
        nodes = [Node() for _ in range(3 * gc.get_freeze_count())]
        gc.enable()
        gc.collect()
        assert nodes_looked_at() == 0
        del nodes
        gc.collect()
        gc.unfreeze()
        assert nodes_looked_at() == 0
