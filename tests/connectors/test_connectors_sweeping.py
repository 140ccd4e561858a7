"""What of Daily's lists and bulk deletions is believed, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from transport_trio.connectors.daily.operations import DAILY_LIMITS, DELETE_ROOMS, LIST_ROOMS
from transport_trio.connectors.daily.reading import BrokenAnswer, parse_deleted_count
from transport_trio.connectors.daily.sweeping import count_of, page_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOM = {"id": "r-1", "name": "lobby", "created_at": "2026-01-01T00:00:00.000Z", "config": {"exp": 1767229200}}


def test_a_page_holds_what_makes_sense_and_counts_the_rest() -> None:
    odd: list[Any] = [None, "lobby", {}, {"name": 7}, {"name": "nameless", "id": 3}]
    page = page_of({"total_count": 9, "data": [*odd, ROOM]}, "sandbox")
    assert [room.name for room in page.rooms] == ["nameless", "lobby"]
    assert (page.entries, page.after) == (6, "r-1")
    assert page.rooms[0].provider_id is None
    assert page.rooms[1].created_at == NOW


def test_only_an_empty_page_is_the_end() -> None:
    assert page_of({"data": []}, "sandbox").after is None
    with pytest.raises(BrokenAnswer):
        page_of({"data": [ROOM, {"name": "no-id"}]}, "sandbox")


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": {}}])
def test_what_is_no_list_is_not_an_empty_one(body: Any) -> None:
    with pytest.raises(BrokenAnswer):
        page_of(body, "sandbox")


@pytest.mark.parametrize("count", [None, True, "2", 1, 3, 0])
def test_a_deletion_counts_only_when_all_are_counted(count: Any) -> None:
    parse_deleted_count({"deleted_count": 2}, 2)
    with pytest.raises(BrokenAnswer):
        parse_deleted_count({"deleted_count": count}, 2)


@pytest.mark.parametrize(
    ("body", "people"),
    [
        ({"total_count": 0, "data": []}, 0),
        ({"total_count": 1, "data": [{"id": "p"}]}, 1),
        ({"total_count": 3, "data": []}, 3),  # a shortened answer
        ({"data": [{"id": None}, {}]}, 2),  # people whom we cannot name
    ],
)
def test_whoever_might_be_there_counts(body: Any, people: int) -> None:
    assert count_of(body, NOW) == people


def test_bulk_deletions_keep_to_the_limit_of_their_own() -> None:
    assert (DELETE_ROOMS.tier, LIST_ROOMS.tier) == ("batch", "default")
    assert (DAILY_LIMITS.batch.count, DAILY_LIMITS.batch.period_s) == (9, 30.0)
