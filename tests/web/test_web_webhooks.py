"""`POST /webhooks/daily`: who may push, and that whatever is well signed is answered with 200."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import pytest
from web_rig import MINIMAL, WEBHOOK_SECRET, Site, assert_problem, serving

from transport_trio.settings import Settings

TEST = b'{"test":"test"}'


def joined(room: str, session_id: str = "s1") -> bytes:
    payload = {"room": room, "session_id": session_id, "user_name": "Ada", "joined_at": time.time() - 0.5}
    event = {"version": "1.0.0", "type": "participant.joined", "payload": payload, "event_ts": time.time() - 0.25}
    return json.dumps(event).encode()


async def push(site: Site, body: bytes, *, secret: bytes = WEBHOOK_SECRET, **headers: str) -> httpx.Response:
    stamp = str(int(time.time() * 1000))
    digest = hmac.digest(secret, stamp.encode() + b"." + body, hashlib.sha256)
    signature = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": base64.b64encode(digest).decode()}
    return await site.client.post("/webhooks/daily", content=body, headers={**signature, **headers})


def pushes(site: Site, type_: str, outcome: str) -> float:
    return site.count("transport_webhooks_total", provider="daily", type=type_, outcome=outcome)


async def test_a_push_reaches_the_session_of_its_room(site: Site) -> None:
    created = (await site.client.post("/sessions", json=MINIMAL)).json()
    response = await push(site, joined(created["room_name"]))
    assert (response.status_code, response.json()) == (200, {})
    ((provider, room_name, news),) = site.service.heard
    assert (provider, room_name) == ("daily", created["room_name"])
    assert news is not None
    assert news.participant.name == "Ada"
    assert pushes(site, "participant.joined", "taken") == 1
    assert 0.2 < site.count("transport_webhook_delay_seconds_sum", provider="daily") < 20


async def test_pushes_of_foreign_rooms_repeats_and_odd_ones_are_answered_with_200(site: Site) -> None:
    again = joined("somebody-elses", "s2")
    for body in (again, again, TEST, b"{", b'{"type":"recording.started","payload":{"room":"x"}}'):
        response = await push(site, body, **{"Content-Type": "text/plain"})
        assert (response.status_code, response.json()) == (200, {})
    assert pushes(site, "participant.joined", "foreign") == 1
    assert pushes(site, "participant.joined", "duplicate") == 1
    assert pushes(site, "test", "test") == 1
    assert pushes(site, "other", "unreadable") == 1
    assert pushes(site, "recording.started", "unreadable") == 1
    assert len(site.service.heard) == 1


async def test_what_is_not_signed_by_daily_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for response in (
        await site.client.post("/webhooks/daily", content=TEST),
        await push(site, TEST, secret=b"somebody else's"),
    ):
        assert_problem(response, 401, "webhook_refused")
        assert "WWW-Authenticate" not in response.headers
    assert pushes(site, "unknown", "refused") == 2
    assert site.service.heard == []
    assert caplog.messages.count("webhook refused") == 1  # whoever likes can come often


async def test_no_key_is_asked_for_and_none_helps() -> None:
    async with serving(api_keys=("a-long-secret",)) as site:
        assert (await push(site, TEST)).status_code == 200
        key = {"Authorization": "Bearer a-long-secret"}
        response = await site.client.post("/webhooks/daily", content=TEST, headers=key)
        assert_problem(response, 401, "webhook_refused")
        assert_problem(await site.client.post("/webhooks/nobody", content=TEST), 404, "not_found")
        assert_problem(await site.client.get("/sessions"), 401, "unauthorized")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_for_it(site: Site, method: str) -> None:
    response = await site.client.request(method, "/webhooks/daily")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "OPTIONS, POST"


async def test_a_body_is_bounded(site: Site) -> None:
    assert_problem(await push(site, b"x" * 70_000), 413, "body_too_large")


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("DAILY_WEBHOOK_URL", "ftp://x", "is not an http(s) URL"),
        ("DAILY_WEBHOOK_URL", "voice.example.com", "like https://voice.example.com/webhooks/daily"),
        ("DAILY_WEBHOOK_URL", "https://x/?a=1", "like https://voice.example.com/webhooks/daily"),
        ("DAILY_WEBHOOK_HMAC", "not base64!", "is not base64"),
        ("DAILY_WEBHOOK_HMAC", "c2hvcnQ=", "is shorter than 16 bytes"),
    ],
)
def test_settings_that_make_no_sense(variable: str, value: str, fault: str) -> None:
    with pytest.raises(Exception, match="DAILY_WEBHOOK") as caught:
        Settings.from_environ({variable: value})
    assert fault.partition("(")[0] in str(caught.value)
    assert variable == "DAILY_WEBHOOK_URL" or value not in str(caught.value)


def test_settings_that_do() -> None:
    given: dict[str, Any] = {
        "DAILY_WEBHOOK_URL": "self",
        "DAILY_WEBHOOK_HMAC": base64.b64encode(WEBHOOK_SECRET).decode(),
    }
    settings = Settings.from_environ(given)
    assert (settings.daily_webhook_url, settings.daily_webhook_hmac) == ("self", WEBHOOK_SECRET)
    assert "a secret" not in repr(settings)
