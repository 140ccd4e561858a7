"""`GET /sessions/{id}/summary` over real HTTP, and its event."""

from __future__ import annotations

import json
from datetime import timedelta

import attrs
from web_rig import NOW, Site, assert_problem, created

from transport_trio.events import SessionSummary
from transport_trio.models import Participant, Presence, Reconciled, Visit
from transport_trio.sessions import summary_of
from transport_trio.wire.out import EVENT_MAX_BYTES, event_body


def visit(id_: str, start_s: float, end_s: float) -> Visit:
    joined_at, left_at = (NOW + timedelta(seconds=seconds) for seconds in (start_s, end_s))
    return Visit(ids=(id_,), user_id="u1", name="Ada", joined_at=joined_at, left_at=left_at)


async def test_both_accounts_and_what_they_come_to(site: Site) -> None:
    session_id = await created(site)
    site.service.sessions[session_id] = attrs.evolve(
        site.service.sessions[session_id],
        ended_at=NOW + timedelta(seconds=100),
        reconciled=Reconciled.DONE,
        visits=(visit("p1", 5, 20),),
        provider_visits=(visit("p1", 0, 30), visit("p2", 60, 75)),
        visits_dropped=2,
    )
    answer = (await site.client.get(f"/sessions/{session_id}/summary")).json()
    (ada,) = answer.pop("people")
    assert answer == {
        "session_id": session_id,
        "status": "Created",
        "created_at": "2026-01-01T11:00:00Z",
        "ended_at": "2026-01-01T11:01:40Z",
        "reconciled": "done",
        "people_total": 1,
        "people_at_most": 1,
        "visits_dropped": 2,
    }
    first, second = ada.pop("visits")
    assert ada == {
        "user_id": "u1",
        "name": "Ada",
        "first_joined_at": "2026-01-01T11:00:05Z",
        "last_left_at": "2026-01-01T11:01:15Z",
        "duration_s": 40.0,
    }
    assert first == {
        "participant_id": "p1",
        "joined_at": "2026-01-01T11:00:05Z",
        "left_at": "2026-01-01T11:00:30Z",
        "duration_s": 25.0,
        "source": "both",
        "ours": {"joined_at": "2026-01-01T11:00:05Z", "left_at": "2026-01-01T11:00:20Z", "duration_s": 15.0},
        "provider": {"joined_at": "2026-01-01T11:00:00Z", "left_at": "2026-01-01T11:00:30Z", "duration_s": 30.0},
    }
    assert (second["source"], second["ours"]) == ("provider", None)


async def test_so_far(site: Site) -> None:
    session_id = await created(site)
    who = Participant(id="p", name="Bob", joined_at=NOW - timedelta(seconds=30))
    site.service.sessions[session_id] = attrs.evolve(
        site.service.sessions[session_id], present=(Presence(participant=who, last_seen_at=NOW),)
    )
    answer = (await site.client.get(f"/sessions/{session_id}/summary")).json()
    (bob,) = answer["people"]
    assert (answer["reconciled"], answer["ended_at"], bob["last_left_at"]) == ("pending", None, None)
    assert bob["visits"][0]["left_at"] is None
    assert bob["duration_s"] >= 30


async def test_what_is_refused(site: Site) -> None:
    session_id = await created(site)
    assert_problem(await site.client.get(f"/sessions/{session_id}/summary?x=1"), 400, "invalid_request")
    assert_problem(await site.client.get("/sessions/none/summary"), 404, "session_not_found")


async def test_the_longest_names_fit_into_its_event(site: Site) -> None:
    session_id = await created(site)
    people = tuple(
        attrs.evolve(visit(f"p{number}", 0, 9), user_id=f"{number:03}" + "\U0001f600" * 33, name="\U0001f600" * 128)
        for number in range(200)
    )
    session = attrs.evolve(site.service.sessions[session_id], visits=people)
    event = SessionSummary(session_id=session.id, time=NOW, summary=summary_of(session, NOW))
    body = event_body(event, 2**63 - 1)
    assert len(body) <= EVENT_MAX_BYTES
    assert json.loads(body)["people_total"] == 200
