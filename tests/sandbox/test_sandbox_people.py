"""People who come and go by themselves, played on a clock that tests move."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

START = 1_800_000_000.0

MakeCore = Callable[..., Any]


def watch(core: Any, room: str, seconds: int, *, step: float = 1.0) -> list[tuple[float, list[str]]]:
    """Who was in the room at each look."""
    seen = []
    for _ in range(int(seconds / step)):
        core.clock.pass_s(step)
        core.sandbox.settle()
        found = core.sandbox.rooms.find(room)
        seen.append((core.clock.time - START, [one.user_name for one in found.call.present(core.clock())]))
    return seen


def test_somebody_comes_within_two_seconds_and_people_come_and_go(make_core: MakeCore) -> None:
    core = make_core(people=True, seed=1)
    core.do("create_room", {"name": "hello"})
    seen = watch(core, "hello", 120)
    first = next(at for at, present in seen if present)
    assert 1 <= first <= 2
    crowds = [len(present) for _, present in seen]
    changes = sum(before != after for before, after in itertools.pairwise(crowds))
    assert changes > 10
    assert max(crowds) > 1


def test_a_seed_repeats_the_whole_play(make_core: MakeCore) -> None:
    def play(seed: int) -> tuple[str, list[Any]]:
        core = make_core(people=True, seed=seed)
        core.do("create_room", {"name": "hello"})
        seen = watch(core, "hello", 60)
        return core.do("get_room", name="hello")["id"], [*seen, core.do("all_presence")]

    assert play(3) == play(3)
    assert play(3) != play(4)


def test_the_play_does_not_depend_on_who_looks_when(make_core: MakeCore) -> None:
    def after(step: float) -> Any:
        core = make_core(people=True, seed=5)
        core.do("create_room", {"name": "hello"})
        watch(core, "hello", 50, step=step)
        return core.do("all_presence")

    assert after(0.5) == after(50)


def test_after_a_long_time_unwatched_only_the_last_minute_is_played(make_core: MakeCore) -> None:
    core = make_core(people=True, seed=2)
    core.do("create_room", {"name": "hello"})
    core.clock.pass_s(30 * 86400)
    shown = core.do("room_presence", name="hello")["data"]
    assert all(entry["duration"] <= 60 for entry in shown)
    assert any(present for _, present in watch(core, "hello", 60))


def test_people_bring_user_ids_and_get_into_private_rooms(make_core: MakeCore) -> None:
    core = make_core(people=True, seed=1)
    core.do("create_room", {"name": "hello", "privacy": "private"})
    watch(core, "hello", 10)
    entries = core.do("room_presence", name="hello")["data"]
    assert entries
    assert all(entry["userId"] == f"user-{entry['userName'].lower()}" for entry in entries)


def test_nobody_comes_to_a_deleted_room_or_to_its_successor(make_core: MakeCore) -> None:
    core = make_core(people=True, seed=1)
    core.do("create_room", {"name": "hello"})
    watch(core, "hello", 10)
    core.do("delete_room", name="hello")
    core.sandbox.configure({"people": False})
    core.do("create_room", {"name": "hello"})
    assert not any(present for _, present in watch(core, "hello", 60))


def test_people_who_are_refused_stay_away(make_core: MakeCore) -> None:
    core = make_core(people=True, seed=1)
    core.do("create_room", {"name": "hello", "properties": {"exp": START + 5}})
    watch(core, "hello", 100)
    assert core.sandbox.crowd._timetable == []


def test_nobody_comes_by_himself_otherwise(make_core: MakeCore) -> None:
    core = make_core(seed=1)
    core.do("create_room", {"name": "hello"})
    assert not any(present for _, present in watch(core, "hello", 30))
