"""`POST /sessions/{id}/extend` over real HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from web_rig import NOW, Site, assert_problem, created

from transport_trio import errors
from transport_trio.events import Ejection
from transport_trio.models import Emptiness, Participant, Presence
from transport_trio.sessions import Extended, ExtensionRequest
from transport_trio.sessions.grants import grants_of
from transport_trio.sessions.tokens import Minted

ADA = Participant(id="p1", user_id="u1", name="Ada", joined_at=NOW, will_eject_at=NOW + timedelta(seconds=60))


@attrs.define(eq=False)
class Scripted:
    site: Site
    asked: list[ExtensionRequest] = attrs.field(factory=list)
    refusal: Exception | None = None

    async def extend(self, session_id: str, request: ExtensionRequest) -> Extended:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        session = attrs.evolve(await self.site.service.get(session_id), expires_at=request.end(NOW))
        early = (Ejection(participant=ADA, at=NOW + timedelta(seconds=60), source="webhook"),)
        tokens = (Minted(session=session, granted=grants_of(session)[0], meeting_token="token"),)
        return Extended(session=session, ejections=early, tokens=tokens if request.reissue_tokens else ())


@pytest.fixture
def scripted(site: Site) -> Scripted:
    site.service.extensions = Scripted(site)  # type: ignore[attr-defined]
    return site.service.extensions  # type: ignore[attr-defined]


async def test_an_end_and_who_is_put_out_before(site: Site, scripted: Scripted) -> None:
    session_id = await created(site)
    body = {"session_expires_at": "2026-01-01T18:00:00+01:00", "reissue_tokens": True}
    response = await site.client.post(f"/sessions/{session_id}/extend", json=body)
    assert response.status_code == 200
    answer = response.json()
    assert scripted.asked == [
        ExtensionRequest(expires_at=datetime(2026, 1, 1, 17, tzinfo=UTC), reissue_tokens=True),
    ]
    assert (answer["session_id"], answer["session_expires_at"]) == (session_id, "2026-01-01T17:00:00Z")
    [early] = answer["will_still_be_ejected"]
    assert (early["at"], early["source"]) == ("2026-01-01T11:01:00Z", "webhook")
    assert early["participant"]["will_eject_at"] == "2026-01-01T11:01:00Z"
    assert [(one["token_id"], one["meeting_token"]) for one in answer["tokens"]] == [(session_id, "token")]


async def test_a_length_from_now(site: Site, scripted: Scripted) -> None:
    session_id = await created(site)
    response = await site.client.post(f"/sessions/{session_id}/extend", json={"session_ttl_s": 60})
    assert response.json()["session_expires_at"] == "2026-01-01T11:01:00Z"
    assert response.json()["tokens"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"session_ttl_s": 60, "session_expires_at": "2026-01-01T17:00:00Z"},
        {"session_ttl_s": 0},
        {"session_ttl_s": 2592001},
        {"session_expires_at": "2026-01-01T17:00:00"},
        {"session_expires_at": "2026-01-01T17:00:00.5Z"},
        {"session_expires_at": "0001-01-01T00:00:00+14:00"},
        {"session_expires_at": "soon"},
        {"session_ttl_s": 60, "more": 1},
    ],
)
async def test_what_makes_no_sense(site: Site, scripted: Scripted, body: Any) -> None:
    session_id = await created(site)
    assert_problem(await site.client.post(f"/sessions/{session_id}/extend", json=body), 400, "invalid_request")
    assert scripted.asked == []


@pytest.mark.parametrize("end", ["tomorrow", 1767286800, "2026-01-01T17:00:00", "2026-01-01T17:00:00.5Z"])
async def test_what_is_no_time_is_told_what_would_be_one(site: Site, scripted: Scripted, end: Any) -> None:
    """The words of the library that reads it are no help to who writes them."""
    session_id = await created(site)
    response = await site.client.post(f"/sessions/{session_id}/extend", json={"session_expires_at": end})
    document = assert_problem(response, 400, "invalid_request")
    message = "must be like 2026-01-01T12:00:00Z: a zone, and whole seconds"
    assert document["errors"] == [{"path": "$.session_expires_at", "message": message}]


async def test_refusals_and_unknown_sessions(site: Site, scripted: Scripted) -> None:
    session_id = await created(site)
    scripted.refusal = errors.SessionHasEnded(session_id)
    response = await site.client.post(f"/sessions/{session_id}/extend", json={"session_ttl_s": 60})
    assert_problem(response, 409, "session_ended")
    unknown = "/sessions/6f1c3f0e-3f0a-4a2b-9f57-6d1f5c3b2a11/extend"
    assert_problem(await site.client.post(unknown, json={}), 404, "session_not_found")


async def test_a_session_tells_its_options_and_when_it_ends_for_being_empty(site: Site) -> None:
    session_id = await created(site)
    session = site.service.sessions[session_id]
    bots = Emptiness(timeout_s=90, bot_user_id_prefix="bot-")
    present = (Presence(participant=Participant(id="p", user_id="bot-1", joined_at=NOW), last_seen_at=NOW),)
    since = NOW + timedelta(seconds=10)
    site.service.sessions[session_id] = attrs.evolve(session, emptiness=bots, present=present, empty_since=since)
    shown = (await site.client.get(f"/sessions/{session_id}")).json()
    assert shown["options"] == {
        "empty_timeout_s": 90,
        "bot_user_id_prefix": "bot-",
        "events_after_end": False,
        "max_duration_s": None,
    }
    assert (shown["empty_since"], shown["ends_empty_at"]) == ("2026-01-01T11:00:10Z", "2026-01-01T11:01:40Z")
    there = (Presence(participant=ADA, last_seen_at=NOW),)
    site.service.sessions[session_id] = attrs.evolve(session, emptiness=bots, present=there)
    shown = (await site.client.get(f"/sessions/{session_id}")).json()
    assert (shown["empty_since"], shown["ends_empty_at"]) == (None, None)
