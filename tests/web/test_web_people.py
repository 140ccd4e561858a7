"""`/sessions/{id}/participants`, `eject`, `permissions` and `messages` over real HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import httpx
import pytest
from web_rig import NOW, Site, assert_problem, created

from transport_trio import errors
from transport_trio.models import Participant, Permissions, PermissionsChange, Presence
from transport_trio.sessions import Eject, Permit, SendMessage

ALL = {"can_send_video": True, "can_send_audio": False, "can_send_screen_video": True, "can_send_screen_audio": True}
BODIES: dict[str, Any] = {
    "eject": {"participant_ids": ["p1"]},
    "permissions": {"participant_id": "*", "permissions": {"can_admin": True}},
    "messages": {"data": {"say": "hi"}},
}
EVERY_ACTION = pytest.mark.parametrize("path", BODIES)


async def a_session(site: Site, *names: str) -> tuple[str, list[str]]:
    """A session, and the ids of those in its room."""
    session_id = await created(site)
    session = site.service.sessions[session_id]
    site.service.connector.add_foreign_room(session.room.name)
    people = [site.service.connector.join(session.room.name, name, f"u-{name}") for name in names]
    present = tuple(Presence(participant=one, last_seen_at=NOW) for one in people)
    site.service.sessions[session_id] = attrs.evolve(session, present=present, presence_checked_at=NOW)
    return session_id, [one.id for one in people]


async def act(site: Site, session_id: str, path: str, body: Any) -> httpx.Response:
    return await site.client.post(f"/sessions/{session_id}/{path}", json=body)


async def test_all_participants_are_named(site: Site) -> None:
    session_id = await created(site)
    people = [Participant(id=f"p{number}", joined_at=NOW) for number in range(250)]
    site.service.sessions[session_id] = attrs.evolve(
        site.service.sessions[session_id],
        present=tuple(Presence(participant=one, last_seen_at=NOW) for one in people),
        presence_checked_at=NOW,
    )
    answer = (await site.client.get(f"/sessions/{session_id}/participants")).json()
    assert (answer["total"], len(answer["participants"])) == (250, 250)
    assert answer["presence_checked_at"] == "2026-01-01T11:00:00Z"
    assert answer["participants"][0] == {
        "id": "p0",
        "user_id": None,
        "name": None,
        "joined_at": "2026-01-01T11:00:00Z",
    }


async def test_nobody_has_been_looked_for_yet(site: Site) -> None:
    session_id = await created(site)
    answer = await site.client.get(f"/sessions/{session_id}/participants")
    assert answer.json() == {"participants": [], "total": 0, "presence_checked_at": None}


async def test_people_are_put_out(site: Site) -> None:
    session_id, (ada, bob) = await a_session(site, "Ada", "Bob")
    response = await act(site, session_id, "eject", {"participant_ids": [ada], "user_ids": ["u-Bob"], "ban": True})
    assert (response.status_code, response.json()) == (200, {"ejected": [ada, bob]})
    assert site.service.acted == [Eject(participant_ids=(ada,), user_ids=("u-Bob",), ban=True)]


async def test_permissions_are_changed(site: Site) -> None:
    session_id, (ada,) = await a_session(site, "Ada")
    body = {"participant_id": ada, "permissions": ALL}
    response = await act(site, session_id, "permissions", body)
    assert (response.status_code, response.json()) == (200, body)
    change = PermissionsChange(sending=Permissions(can_send_audio=False))
    assert site.service.acted == [Permit(participant_id=ada, change=change)]


async def test_a_message_is_sent_to_everybody_or_to_one(site: Site) -> None:
    session_id, (ada,) = await a_session(site, "Ada")
    first = await act(site, session_id, "messages", {"data": {"say": "hi"}})
    second = await act(site, session_id, "messages", {"data": {}, "recipient": ada})
    assert first.json() == {"recipient": "*", "data_bytes": 12}
    assert second.json() == {"recipient": ada, "data_bytes": 2}
    assert site.service.acted == [
        SendMessage(recipient="*", data={"say": "hi"}, data_bytes=12),
        SendMessage(recipient=ada, data={}, data_bytes=2),
    ]


@EVERY_ACTION
@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (errors.ParticipantNotFound("nobody"), 404, "participant_not_found"),
        (errors.UnknownProvider("daily-eu", ("daily",)), 503, "provider_not_served"),
        (errors.NobodyInCall("daily", "r"), 409, "nobody_in_call"),
        (errors.SessionHasEnded("s"), 409, "session_ended"),
        (errors.Busy("4 are under way", 1), 429, "busy"),
        (errors.ProviderTimeout("daily", "late", in_doubt=True), 504, "provider_timeout"),
        (errors.RoomNotFound("daily", "r"), 502, "room_not_found"),
    ],
)
async def test_refusals_have_their_codes(
    site: Site, path: str, refusal: errors.TransportError, status: int, code: str
) -> None:
    session_id, _ = await a_session(site, "Ada")
    site.service.refusal = refusal
    assert_problem(await act(site, session_id, path, BODIES[path]), status, code)


@EVERY_ACTION
@pytest.mark.parametrize("session_id", ["4215718f-32ce-4c9a-bd4c-516152be5828", "no-uuid"])
async def test_an_unknown_session_counts_before_a_wrong_body(site: Site, path: str, session_id: str) -> None:
    response = await site.client.post(f"/sessions/{session_id}/{path}", content=b"{")
    assert_problem(response, 404, "session_not_found")
    assert site.service.acted == []


async def test_an_unknown_session_has_no_participants(site: Site) -> None:
    assert_problem(await site.client.get(f"/sessions/{uuid.uuid4()}/participants"), 404, "session_not_found")


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("eject", {}, "$"),
        ("eject", {"participant_ids": [], "user_ids": []}, "$"),
        ("eject", {"participant_ids": ["x"] * 101}, "$.participant_ids"),
        ("eject", {"participant_ids": [""]}, "$.participant_ids[0]"),
        ("eject", {"participant_ids": ["a\nb"]}, "$.participant_ids"),
        ("eject", {"user_ids": ["x" * 37]}, "$.user_ids[0]"),
        ("eject", {"user_ids": ["a\x00"]}, "$.user_ids"),
        ("eject", {"user_ids": ["u"], "ban": "yes"}, "$.ban"),
        ("eject", {"ids": ["u"]}, "$.ids"),
        ("permissions", {"participant_id": "*", "permissions": {}}, "$.permissions"),
        ("permissions", {"permissions": {"can_admin": True}}, "$.participant_id"),
        ("permissions", {"participant_id": "*"}, "$.permissions"),
        (
            "permissions",
            {"participant_id": "*", "permissions": {"can_send_audio": False}},
            "$.permissions.can_send_video",
        ),
        ("permissions", {"participant_id": "*", "permissions": {"can_fly": True}}, "$.permissions.can_fly"),
        ("permissions", {"participant_id": "*", "permissions": {"can_admin": None}}, "$.permissions.can_admin"),
        ("messages", {}, "$.data"),
        ("messages", {"data": "hi"}, "$.data"),
        ("messages", {"data": {"x": "ä" * 2045}}, "$.data"),
        ("messages", {"data": {}, "recipient": ""}, "$.recipient"),
        ("messages", {"data": {}, "recipient": "a\tb"}, "$.recipient"),
    ],
)
async def test_what_makes_no_sense_is_named(site: Site, path: str, body: Any, fault: str) -> None:
    session_id, _ = await a_session(site, "Ada")
    document = assert_problem(await act(site, session_id, path, body), 400, "invalid_request")
    assert document["errors"][0]["path"] == fault
    assert site.service.acted == []


async def test_four_kilobytes_pass(site: Site) -> None:
    session_id, _ = await a_session(site, "Ada")
    response = await act(site, session_id, "messages", {"data": {"x": "ä" * 2044}})
    assert response.json()["data_bytes"] == 4096


@pytest.mark.parametrize("path", [*BODIES, "participants"])
async def test_an_unknown_query_is_refused(site: Site, path: str) -> None:
    session_id, _ = await a_session(site, "Ada")
    address = f"/sessions/{session_id}/{path}?dry_run=true"
    sent = site.client.get(address) if path == "participants" else site.client.post(address, json=BODIES[path])
    assert_problem(await sent, 400, "invalid_request")
    assert site.service.acted == []
