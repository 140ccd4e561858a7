"""`GET /sessions`."""

from __future__ import annotations

import pytest
from web_rig import Site, assert_problem, created, serving

from transport_trio import errors
from transport_trio.models import SessionStatus
from transport_trio.ports import SessionQuery


async def test_a_list_shows_sessions_without_their_people(site: Site) -> None:
    ids = [await created(site) for _ in range(3)]
    body = (await site.client.get("/sessions")).json()
    assert [session["session_id"] for session in body["sessions"]] == ids
    assert (body["total"], body["next_cursor"]) == (3, None)
    assert all("participants" not in session and "meeting_token" not in session for session in body["sessions"])


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", SessionQuery()),
        ("limit=1", SessionQuery(limit=1)),
        ("limit=500", SessionQuery(limit=500)),
        ("limit=007", SessionQuery(limit=7)),
        ("status=ended", SessionQuery(status=SessionStatus.ENDED)),
        ("status=ACTIVE&provider=daily", SessionQuery(status=SessionStatus.ACTIVE, provider="daily")),
        ("provider=long-gone", SessionQuery(provider="long-gone")),
        ("cursor=abc", SessionQuery(cursor="abc")),
    ],
)
async def test_a_list_is_asked_for_by_its_query(site: Site, query: str, asked: SessionQuery) -> None:
    assert (await site.client.get(f"/sessions?{query}")).status_code == 200
    assert site.service.queries == [asked]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.0", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=+5", "limit"),
        ("limit=", "limit"),
        ("limit", "limit"),
        ("limit=%D9%A3", "limit"),  # an Arabic digit
        ("limit=" + "9" * 4000, "limit"),
        ("limit=1&limit=1", "limit"),
        ("status=open", "status"),
        ("status=", "status"),
        ("provider=", "provider"),
        ("provider=" + "x" * 2000, "provider"),
        ("cursor=", "cursor"),
        ("Limit=1", "Limit"),
        ("%00=1", "\0"),
        ("x", "x"),
        ("=1", ""),
        ("limit=%ff", "query"),
        ("%ff=1", "query"),
        ("a;b=1", "a;b"),
    ],
)
async def test_a_list_with_a_strange_query_is_400_with_the_parameter(site: Site, query: str, path: str) -> None:
    document = assert_problem(await site.client.get(f"/sessions?{query}"), 400, "invalid_request")
    assert document["errors"][0]["path"] == path
    assert site.service.queries == []


async def test_a_list_from_a_journal_that_is_gone_is_503() -> None:
    async with serving() as site:
        site.service.failure = errors.StorageUnavailable("the disk is full")
        assert_problem(await site.client.get("/sessions"), 503, "storage_unavailable")
