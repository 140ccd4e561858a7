"""`GET /events`: pages of the journal."""

from __future__ import annotations

import json

import pytest
from web_rig import NOW, SESSION_ID, Site, assert_problem

from transport_trio.events import EventType, RecordedEvent, SessionEnded, SessionUpdated
from transport_trio.models import SessionId
from transport_trio.ports import EventPage
from transport_trio.web.events import PAGE_MAX_BYTES, page_body

OTHER = "00000000-0000-4000-8000-000000000000"


async def ids(site: Site, query: str) -> tuple[list[int], int]:
    response = await site.client.get(f"/events?{query}")
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["epoch"] == site.journal.epoch
    return [event["id"] for event in body["events"]], body["last_event_id"]


async def test_an_empty_journal_has_an_empty_page(site: Site) -> None:
    response = await site.client.get("/events")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"events": [], "epoch": site.journal.epoch, "last_event_id": 0}


async def test_events_are_the_ones_that_listeners_get(site: Site) -> None:
    await site.happen(SessionUpdated)
    [event] = (await site.client.get("/events")).json()["events"]
    assert event == json.loads(site.journal.log[0].body)
    assert (event["type"], event["id"], event["session_id"]) == ("session_updated", 1, SESSION_ID)


async def test_without_after_they_begin_at_the_oldest_kept(site: Site) -> None:
    await site.happen(*[SessionUpdated] * 5)
    site.journal.forget(through=2)
    assert await ids(site, "") == ([3, 4, 5], 5)


async def test_pages_follow_each_other_without_gap_and_double(site: Site) -> None:
    await site.happen(*[SessionUpdated] * 5)
    seen, after = [], 0
    for _ in range(3):
        found, after = await ids(site, f"after={after}&limit=2")
        seen += found
    assert seen == [1, 2, 3, 4, 5]
    assert after == 5


async def test_a_filter_lets_through_and_the_last_id_moves_all_the_same(site: Site) -> None:
    await site.happen(SessionUpdated, SessionEnded)
    await site.happen(SessionUpdated, session_id=OTHER)
    assert await ids(site, "types=session_ended") == ([2], 3)
    assert await ids(site, "types=session_ended,session_updated") == ([1, 2, 3], 3)
    assert await ids(site, f"session_id={OTHER}") == ([3], 3)
    assert await ids(site, f"session_id={OTHER}&session_id={SESSION_ID}&types=session_updated") == ([1, 3], 3)
    assert await ids(site, "session_id=nobody") == ([], 3)


async def test_the_right_epoch_changes_nothing(site: Site) -> None:
    await site.happen(SessionUpdated)
    assert await ids(site, f"after=0&epoch={site.journal.epoch}") == ([1], 1)


@pytest.mark.parametrize(("query", "reason"), [("after=1", "pruned"), ("after=9", "ahead"), ("epoch=other", "epoch")])
async def test_history_that_is_not_there_is_410_with_the_reason(site: Site, query: str, reason: str) -> None:
    await site.happen(*[SessionUpdated] * 5)
    site.journal.forget(through=3)
    document = assert_problem(await site.client.get(f"/events?{query}"), 410, "history_gone")
    assert (document["reason"], document["oldest"]) == (reason, 4)


async def test_an_event_id_may_be_as_large_as_the_journal_counts(site: Site) -> None:
    assert_problem(await site.client.get(f"/events?after={2**63 - 1}"), 410, "history_gone")
    assert_problem(await site.client.get(f"/events?after={2**63}"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("after=-1", "after"),
        ("after=", "after"),
        ("after=1e3", "after"),
        ("after=0x10", "after"),
        ("after=" + "1" * 50, "after"),
        ("after=%C2%B2", "after"),
        ("after=1&after=2", "after"),
        ("epoch=", "epoch"),
        ("epoch=" + "e" * 2000, "epoch"),
        ("limit=1000", "limit"),
        ("types=", "types"),
        ("types=session_created,", "types"),
        ("types=Session_Created", "types"),
        ("types=ping", "types"),
        ("types=session_ended&types=session_ended", "types"),
        ("snapshot=true", "snapshot"),
        ("since=3", "since"),
    ],
)
async def test_a_strange_query_is_400_with_the_parameter(site: Site, query: str, path: str) -> None:
    document = assert_problem(await site.client.get(f"/events?{query}"), 400, "invalid_request")
    assert document["errors"][0]["path"] == path


async def test_a_journal_that_cannot_be_read_is_503(site: Site) -> None:
    site.journal.unavailable = "the disk is gone"
    assert_problem(await site.client.get("/events"), 503, "storage_unavailable")


def recorded(event_id: int, size: int) -> RecordedEvent:
    body = json.dumps({"id": event_id, "pad": "x" * size}).encode()
    return RecordedEvent(event_id, SessionId(SESSION_ID), EventType.SESSION_UPDATED, NOW, body)


@pytest.mark.parametrize("each_bytes", [PAGE_MAX_BYTES // 3, PAGE_MAX_BYTES * 2])
def test_a_page_that_is_too_large_is_cut_where_its_last_id_says(each_bytes: int) -> None:
    events = tuple(recorded(event_id, each_bytes) for event_id in (3, 5, 8, 9))
    page = json.loads(page_body(EventPage(events=events, last_event_id=20), "e"))
    shown = [event["id"] for event in page["events"]]
    assert 1 <= len(shown) < 4
    assert shown == [3, 5, 8, 9][: len(shown)]
    assert page["last_event_id"] == shown[-1]
