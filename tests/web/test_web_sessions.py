"""`/sessions` over real HTTP."""

from __future__ import annotations

import uuid

import pytest
import trio
from web_rig import MINIMAL, NOW, TEST_S, TOKEN, Site, assert_problem, created

from transport_trio import errors
from transport_trio.models import Privacy, SessionStatus

FULL = {
    "provider": "daily",
    "room_config": {
        "name": "my-room",
        "privacy": "Public",
        "max_participants": 4,
        "enable_recording": True,
        "enable_transcription": True,
        "enable_chat": False,
        "enable_screen_sharing": False,
        "auto_start_recording": True,
        "auto_start_transcription": True,
    },
    "participant_config": {
        "name": "Ada",
        "user_id": "u-1",
        "is_owner": True,
        "permissions": {
            "can_admin": True,
            "can_send_video": True,
            "can_send_audio": True,
            "can_send_screen_video": False,
            "can_send_screen_audio": False,
        },
    },
    "options": {"session_ttl_s": 14400, "token_ttl_s": 3600, "daily": {"lang": "de"}},
}

# --- creating


async def test_the_smallest_request_creates_a_session(site: Site) -> None:
    response = await site.client.post("/sessions", json=MINIMAL)
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert response.headers["location"] == f"/sessions/{body['session_id']}"
    assert uuid.UUID(body["session_id"])
    expected = {
        "provider": "daily",
        "status": "Created",
        "room_url": f"https://x.daily.co/tt-{body['session_id']}",
        "room_name": f"tt-{body['session_id']}",
        "meeting_token": TOKEN,
        "expires_at": "2026-01-01T12:00:00Z",
        "session_expires_at": "2026-01-01T15:00:00Z",
        "created_at": "2026-01-01T11:00:00Z",
        "provider_metadata": {"daily_room_data": {"id": "r-1"}},
    }
    assert body.items() >= expected.items()
    assert "idempotency-replayed" not in response.headers


async def test_the_full_request_creates_a_session(site: Site) -> None:
    response = await site.client.post("/sessions", json=FULL)
    assert response.status_code == 201, response.text
    assert response.json()["room_name"] == "my-room"
    [asked] = site.service.asked
    assert asked.room_config.privacy is Privacy.PUBLIC
    assert asked.provider_options == {"lang": "de"}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
async def test_json_may_say_its_charset(site: Site, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    assert (await site.client.post("/sessions", content=b'{"provider":"daily"}', headers=headers)).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Content-Type", "")],
        [("Content-Type", "text/plain")],
        [("Content-Type", "application/x-www-form-urlencoded")],
        [("Content-Type", "application/json; charset=latin-1")],
        [("Content-Type", "application/problem+json")],
        [("Content-Type", "json")],
        [("Content-Type", "application/json, text/plain")],
        [("Content-Type", "application/json"), ("Content-Type", "application/json")],
    ],
)
async def test_what_is_not_said_to_be_json_is_415(site: Site, headers: list[tuple[str, str]]) -> None:
    response = await site.client.post("/sessions", content=b'{"provider":"daily"}', headers=headers)
    assert_problem(response, 415, "unsupported_media_type")
    assert site.service.asked == []


async def test_a_fault_is_told_with_its_path_and_nothing_is_created(site: Site) -> None:
    response = await site.client.post("/sessions", json={"provider": "daily", "room_config": {"max_participants": 3.0}})
    document = assert_problem(response, 400, "invalid_request")
    assert document["errors"] == [
        {"path": "$.room_config.max_participants", "message": "Expected `int | null`, got `float`"}
    ]
    assert site.service.asked == []


async def test_an_unknown_provider_is_400(site: Site) -> None:
    assert_problem(await site.client.post("/sessions", json={"provider": "twilio"}), 400, "unknown_provider")


async def test_options_that_we_set_ourselves_are_400(site: Site) -> None:
    body = {"provider": "daily", "options": {"daily": {"exp": 1}}}
    document = assert_problem(await site.client.post("/sessions", json=body), 400, "invalid_request")
    assert document["errors"][0]["path"] == "$.options.daily.exp"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (errors.InvalidRequest(("$.options.daily", "invalid property name 'foo'")), 400, "invalid_request"),
        (errors.RoomExists("my-room"), 409, "room_exists"),
        (errors.RoomExists("my-room", retry_after_s=5.0), 409, "room_exists"),
        (errors.RequestInProgress(1.0), 409, "request_in_progress"),
        (errors.IdempotencyMismatch(), 422, "idempotency_mismatch"),
        (errors.Busy("100 creations are under way", 1.0), 429, "busy"),
        (errors.ProviderRejected("daily", 403, "plan too small"), 502, "provider_rejected"),
        (errors.ProviderThrottled("daily", 7.0), 503, "provider_throttled"),
        (errors.ProviderUnreachable("daily", "no connection"), 503, "provider_unreachable"),
        (errors.ProviderTimeout("daily", "no answer"), 504, "provider_timeout"),
        (errors.StorageUnavailable("disk full"), 503, "storage_unavailable"),
        (errors.Stopping(), 503, "stopping"),
    ],
)
async def test_a_failure_has_the_status_and_code_of_the_contract(
    site: Site, failure: errors.TransportError, status: int, code: str
) -> None:
    site.service.failure = failure
    response = await site.client.post("/sessions", json=MINIMAL)
    assert_problem(response, status, code)
    wait_s = getattr(failure, "retry_after_s", None)
    assert response.headers.get("retry-after") == (None if wait_s is None else f"{wait_s:.0f}")


@pytest.mark.usefixtures("errors_expected")
@pytest.mark.parametrize("bug", [RuntimeError("secret-of-ours"), errors.VersionConflict("secret-of-ours")])
async def test_a_bug_is_a_500_that_tells_nothing_and_a_log_that_tells_all(
    site: Site, bug: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    site.service.failure = bug
    response = await site.client.post("/sessions", json=MINIMAL)
    assert_problem(response, 500, "internal_error")
    assert "secret-of-ours" not in response.text
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


async def test_a_client_that_hangs_up_ends_its_waiting_and_the_service_goes_on(site: Site) -> None:
    site.service.gate = trio.Event()
    body = b'{"provider":"daily"}'
    head = b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with trio.fail_after(TEST_S):
        async with await trio.open_tcp_stream(*site.address) as stream:
            await stream.send_all(head + body)
            await site.service.entered.wait()
        await site.service.hung_up.wait()
        site.service.gate = None
        assert (await site.client.post("/sessions", json=MINIMAL)).status_code == 201
    labels = {"method": "POST", "route": "/sessions", "status": "499"}
    assert site.count("transport_http_requests_total", **labels) == 1


# --- dry runs


async def test_a_dry_run_shows_what_would_be_sent_and_creates_nothing(site: Site) -> None:
    response = await site.client.post("/sessions?dry_run=true", json=MINIMAL, headers={"Idempotency-Key": "k"})
    assert response.status_code == 200
    assert response.json() == {"room": {"privacy": "private"}, "token": {"body": {}, "claims": {"o": False}}}
    assert site.service.asked == []


async def test_a_dry_run_is_checked_like_any_request(site: Site) -> None:
    assert_problem(await site.client.post("/sessions?dry_run=true", json={}), 400, "invalid_request")


async def test_dry_run_false_creates(site: Site) -> None:
    assert (await site.client.post("/sessions?dry_run=false", json=MINIMAL)).status_code == 201


@pytest.mark.parametrize("query", ["dry_run=yes", "dry_run=", "dry_run", "dry_run=true&dry_run=true", "dryrun=true"])
async def test_a_query_that_makes_no_sense_is_400_and_creates_nothing(site: Site, query: str) -> None:
    document = assert_problem(await site.client.post(f"/sessions?{query}", json=MINIMAL), 400, "invalid_request")
    assert document["errors"][0]["path"] == query.partition("=")[0]
    assert site.service.asked == []


# --- idempotency


async def test_a_replay_says_so(site: Site) -> None:
    site.service.replayed = True
    response = await site.client.post("/sessions", json=MINIMAL, headers={"Idempotency-Key": "k"})
    assert response.status_code == 201
    assert response.headers["idempotency-replayed"] == "true"


async def test_equal_bodies_have_equal_fingerprints_and_others_do_not(site: Site) -> None:
    for body in (
        b'{"provider":"daily"}',
        b'{ "room_config": {}, "provider": "daily" }',
        b'{"provider":"daily","options":{"token_ttl_s":5}}',
    ):
        headers = {"Idempotency-Key": "k 1", "Content-Type": "application/json"}
        assert (await site.client.post("/sessions", content=body, headers=headers)).status_code == 201
    one, two, three = site.service.keys
    assert one is not None
    assert one == two != three
    assert one.key == "k 1"


async def test_without_the_header_there_is_no_key(site: Site) -> None:
    await site.client.post("/sessions", json=MINIMAL)
    assert site.service.keys == [None]


@pytest.mark.parametrize("value", ["k" * 255, "~", "a b", '"quoted"', "!"])
async def test_keys_of_printable_characters_are_taken(site: Site, value: str) -> None:
    response = await site.client.post("/sessions", json=MINIMAL, headers={"Idempotency-Key": value})
    assert response.status_code == 201
    assert site.service.keys[0] is not None
    assert site.service.keys[0].key == value


@pytest.mark.parametrize("values", [[""], ["k" * 256], ["sch\xfcssel"], ["tab\there"], ["a", "a"]])
async def test_other_keys_are_400(site: Site, values: list[str]) -> None:
    headers = [("Idempotency-Key", value.encode("latin-1")) for value in values]
    response = await site.client.post("/sessions", json=MINIMAL, headers=headers)  # type: ignore[arg-type]
    document = assert_problem(response, 400, "invalid_request")
    assert document["errors"][0]["path"] == "Idempotency-Key"
    assert site.service.asked == []


# --- reading and ending


async def test_a_session_can_be_read_and_never_shows_its_token(site: Site) -> None:
    session_id = await created(site)
    response = await site.client.get(f"/sessions/{session_id}")
    assert response.status_code == 200
    body = response.json()
    assert body["participants"] == []
    assert {"updated_at", "presence_checked_at"} <= body.keys()
    assert "meeting_token" not in body
    assert TOKEN not in response.text


async def test_a_session_that_is_ended_says_when_and_why(site: Site) -> None:
    session_id = await created(site)
    for _ in range(2):
        response = await site.client.delete(f"/sessions/{session_id}")
        assert response.status_code == 200
        assert response.json() == {"message": "Session ended successfully", "session_id": session_id}
    body = (await site.client.get(f"/sessions/{session_id}")).json()
    assert (body["status"], body["ended_at"]) == ("Ended", NOW.isoformat().replace("+00:00", "Z"))
    assert (body["end_reason"], body["provider_cleanup"]) == ("requested", "pending")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "session_id",
    [
        "6f1c3f0e-3f0a-4a2b-9f57-6d1f5c3b2a10",
        "6F1C3F0E-3F0A-4A2B-9F57-6D1F5C3B2A10",
        "1",
        "not-a-uuid",
        "%00",
        "%FF",
        "%E2%82%AC",
        "x" * 3000,
        "{6f1c3f0e-3f0a-4a2b-9f57-6d1f5c3b2a10}",
        "6f1c3f0e3f0a4a2b9f576d1f5c3b2a10",
    ],
)
async def test_an_id_that_is_not_ours_is_404(site: Site, method: str, session_id: str) -> None:
    response = await site.client.request(method, f"{site.url}/sessions/{session_id}")
    assert_problem(response, 404, "session_not_found")


async def test_reading_and_ending_take_no_query(site: Site) -> None:
    session_id = await created(site)
    for method in ("GET", "DELETE"):
        document = assert_problem(
            await site.client.request(method, f"/sessions/{session_id}?force=1"), 400, "invalid_request"
        )
        assert document["errors"][0]["path"] == "force"
    assert site.service.sessions[session_id].status is SessionStatus.CREATED
