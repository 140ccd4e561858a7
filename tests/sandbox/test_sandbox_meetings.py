"""Meetings: what Daily remembers of a call, and how coarsely."""

from __future__ import annotations

from typing import Any

import httpx

from transport_trio.sandbox import SandboxHandle


def meetings(api: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = api.get("/meetings", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_a_meeting_its_people_and_its_end(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    api.post("/rooms", json={"name": "r"})
    ada = daily_sandbox.join("r", "Ada", user_id="u1")
    assert meetings(api) == []
    daily_sandbox.advance(20)
    assert meetings(api) == []  # alone, for less than half a minute
    bob = daily_sandbox.join("r", "Bob")
    daily_sandbox.advance(12)
    daily_sandbox.join("r", "Eve")  # whoever stays so briefly is in no meeting
    daily_sandbox.leave("r")
    [meeting] = meetings(api, room="r")
    assert [(one["participant_id"], one["user_id"]) for one in meeting["participants"]] == [
        (ada["id"], "u1"),
        (bob["id"], None),
    ]
    assert meeting["max_participants"] == 2
    assert meeting["ongoing"] is True
    for one in (meeting, *meeting["participants"]):
        assert one["duration"] % 15 == one.get("join_time", one.get("start_time")) % 15 == 0
    daily_sandbox.advance(21)
    assert [one["ongoing"] for one in meetings(api)] == [False]
    assert meetings(api, ongoing="true") == []
    one = api.get(f"/meetings/{meeting['id']}").json()
    assert (one["id"], "participants" in one) == (meeting["id"], False)
    people = f"/meetings/{meeting['id']}/participants"
    first = api.get(people, params={"limit": 1}).json()["data"]
    assert [who["participant_id"] for who in first] == [ada["id"]]
    rest = api.get(people, params={"joined_after": ada["id"]}).json()["data"]
    assert [who["participant_id"] for who in rest] == [bob["id"]]
    assert api.get(people, params={"joined_after": bob["id"]}).status_code == 404


def test_which_meetings_a_question_is_about(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    for name in ("a", "b", "a"):
        api.post("/rooms", json={"name": name})
        daily_sandbox.join(name, "Ada")
        daily_sandbox.advance(60)
        daily_sandbox.leave(name)
    newest, middle, oldest = meetings(api)
    assert [one["room"] for one in (newest, middle, oldest)] == ["a", "b", "a"]
    assert [one["id"] for one in meetings(api, room="a")] == [newest["id"], oldest["id"]]
    assert meetings(api, room="never") == []
    assert [one["id"] for one in meetings(api, timeframe_start=middle["start_time"])] == [newest["id"], middle["id"]]
    assert [one["id"] for one in meetings(api, timeframe_end=middle["start_time"])] == [oldest["id"]]
    assert [one["id"] for one in meetings(api, limit=1, starting_after=newest["id"])] == [middle["id"]]
    assert [one["id"] for one in meetings(api, limit=1, ending_before="OLDEST")] == [oldest["id"]]
    assert "participants" not in meetings(api, no_participants="true")[0]
    for query in ({"timeframe_start": "x"}, {"ongoing": "maybe"}, {"starting_after": "x"}, {"limit": "0"}):
        assert api.get("/meetings", params=query).status_code == 400
    assert api.get("/meetings/unknown").status_code == 404


def test_meetings_are_of_the_slow_tier(api: httpx.Client) -> None:
    statuses = [api.get("/meetings").status_code for _ in range(51)]
    assert statuses == [200] * 50 + [429]
