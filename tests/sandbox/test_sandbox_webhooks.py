"""Webhooks of the sandbox, received by a server of their own: registered, tested, signed, delivered and given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.webhook_receiver import Receiver, receiving
from transport_trio.sandbox import SandboxConfig, SandboxHandle, sandbox_in_thread

SECRET = "NQrSA5z0FkJ44QPrFerW7uCc5kdNLv3l2FDEKDanL1U="
WITHIN_S = 10.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def register(api: httpx.Client, receiver: Receiver, **fields: Any) -> dict[str, Any]:
    """The webhook, its test received."""
    answer = api.post("/webhooks", json={"url": receiver.url, "hmac": SECRET, **fields})
    assert answer.status_code == 200, answer.text
    assert receiver.next().body == b'{"test":"test"}'
    webhook: dict[str, Any] = answer.json()
    return webhook


def outcomes(sandbox: SandboxHandle, count: int, tries: int = 1) -> list[str]:
    """What became of the first so many deliveries, once it is known of so many tries of each."""
    give_up = time.monotonic() + WITHIN_S
    while time.monotonic() < give_up:
        found = sandbox.deliveries()
        outcomes = [one["outcome"] for one in found]
        tried = all(one["tries"] >= tries or one["outcome"] == "dropped" for one in found[:count])
        if len(found) >= count and "waiting" not in outcomes[:count] and tried:
            return outcomes
        time.sleep(0.01)
    raise AssertionError(sandbox.deliveries())


def state(api: httpx.Client, webhook: dict[str, Any]) -> tuple[str, int]:
    found = api.get(f"/webhooks/{webhook['uuid']}").json()
    return found["state"], found["failedCount"]


class TestRegistering:
    def test_a_webhook_is_tested_and_then_shown(self, api: httpx.Client, receiver: Receiver) -> None:
        webhook = register(api, receiver)
        assert webhook["url"] == receiver.url
        assert webhook["hmac"] == SECRET
        assert (webhook["state"], webhook["failedCount"], webhook["basicAuth"]) == ("ACTIVE", 0, None)
        assert webhook["retryType"] == "circuit-breaker"
        assert "participant.joined" in webhook["eventTypes"]
        assert "lastMomentPushed" not in webhook
        assert api.get("/webhooks").json() == [webhook]
        assert api.get(f"/webhooks/{webhook['uuid']}").json() == webhook

    def test_without_a_secret_it_gets_one(self, api: httpx.Client, receiver: Receiver) -> None:
        webhook = api.post("/webhooks", json={"url": receiver.url}).json()
        assert len(base64.b64decode(webhook["hmac"], validate=True)) == 32
        received = receiver.next()
        assert received.headers["x-webhook-signature"] == signature(received, webhook["hmac"])

    @pytest.mark.parametrize("status", [201, 404, 500])
    def test_who_does_not_answer_200_is_not_registered(
        self, api: httpx.Client, receiver: Receiver, status: int
    ) -> None:
        receiver.status = status
        answer = api.post("/webhooks", json={"url": receiver.url})
        assert answer.status_code == 400
        assert answer.json()["info"] == f"non-200 status code returned from webhook endpoint, recvd {status}"
        assert api.get("/webhooks").json() == []

    def test_nor_who_is_not_there(self, api: httpx.Client) -> None:
        answer = api.post("/webhooks", json={"url": "http://127.0.0.1:9/hook"})
        assert (answer.status_code, answer.json()["info"][-9:]) == (400, "undefined")

    @pytest.mark.parametrize(
        ("fields", "info"),
        [
            ({"scope": "all"}, '"scope" is not allowed'),
            ({"url": "ftp://x"}, '"url" must be a valid uri'),
            ({"url": 7}, '"url" must be a string'),
            ({"hmac": "no base64!"}, '"hmac" must be a valid base64 string'),
            ({"retryType": "never"}, '"retryType" must be one of [circuit-breaker, exponential]'),
            ({"eventTypes": ["participant.sneezed"]}, "\"eventTypes\" has no 'participant.sneezed'"),
            ({"eventTypes": "participant.joined"}, '"eventTypes" must be an array'),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, api: httpx.Client, receiver: Receiver, fields: dict[str, Any], info: str
    ) -> None:
        answer = api.post("/webhooks", json={"url": receiver.url, **fields})
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid-request-error", "info": info})
        assert api.post("/webhooks", json={}).json()["info"] == "missing required field"

    def test_a_domain_has_one(self, api: httpx.Client, receiver: Receiver) -> None:
        webhook = register(api, receiver)
        answer = api.post("/webhooks", json={"url": receiver.url})
        assert (answer.status_code, answer.json()["info"]) == (400, "this domain can have at most 1 webhooks")
        deleted = api.delete(f"/webhooks/{webhook['uuid']}")
        assert (deleted.status_code, deleted.content) == (200, b"")
        assert api.get(f"/webhooks/{webhook['uuid']}").status_code == 404
        assert api.delete(f"/webhooks/{webhook['uuid']}").status_code == 404
        register(api, receiver)

    def test_basic_authentication_comes_along(self, api: httpx.Client, receiver: Receiver) -> None:
        answer = api.post("/webhooks", json={"url": receiver.url, "basicAuth": "YTpi"})
        assert answer.status_code == 200
        assert receiver.next().headers["authorization"] == "Basic YTpi"


def signature(received: Any, secret: str = SECRET) -> str:
    signed = received.headers["x-webhook-timestamp"].encode() + b"." + received.body
    return base64.b64encode(hmac.digest(base64.b64decode(secret), signed, hashlib.sha256)).decode()


class TestEvents:
    def test_a_call_from_its_first_to_its_last_participant(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        register(api, receiver)
        api.post("/rooms", json={"name": "demo"})
        ada = daily_sandbox.join("demo", name="Ada", user_id="u1", is_owner=True)
        events = [receiver.next() for _ in range(2)]
        assert all(one.headers["x-webhook-signature"] == signature(one) for one in events)
        by_type = {one.event["type"]: one.event for one in events}
        joined = by_type["participant.joined"]
        assert joined["version"] == "1.0.0"
        assert joined["id"].startswith("ptcpt-join-u1-")
        payload = joined["payload"]
        assert (payload["room"], payload["session_id"], payload["user_id"]) == ("demo", ada["id"], "u1")
        assert (payload["user_name"], payload["owner"], payload["will_eject_at"]) == ("Ada", True, None)
        assert payload["permissions"] == {
            "hasPresence": True,
            "canSend": True,
            "canReceive": {"base": True},
            "canAdmin": True,
        }
        meeting = by_type["meeting.started"]["payload"]
        assert meeting == {"start_ts": payload["joined_at"], "meeting_id": ada["mtgSessionId"], "room": "demo"}
        bob = daily_sandbox.join("demo", anonymous=True)
        anonymous = receiver.next_of("participant.joined")["payload"]
        assert anonymous["session_id"] == bob["id"]
        assert anonymous["user_id"] not in {None, bob["id"]}
        daily_sandbox.leave("demo", ada)
        left = receiver.next_of("participant.left")["payload"]
        assert left["session_id"] == ada["id"]
        assert left["duration"] >= 0
        daily_sandbox.leave("demo")
        ended = receiver.next_of("meeting.ended")["payload"]
        assert ended["meeting_id"] == ada["mtgSessionId"]
        assert ended["end_ts"] >= ended["start_ts"]

    def test_permissions_are_those_of_the_token(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        register(api, receiver)
        api.post("/rooms", json={"name": "demo"})
        properties = {"room_name": "demo", "permissions": {"canSend": ["audio"], "canAdmin": ["participants"]}}
        token = api.post("/meeting-tokens", json={"properties": properties}).json()["token"]
        daily_sandbox.join("demo", token=token)
        permissions = receiver.next_of("participant.joined")["payload"]["permissions"]
        assert (permissions["canSend"], permissions["canAdmin"]) == (["audio"], ["participants"])

    def test_whoever_is_put_out_has_left(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        """By the clock, by a call, and with the room."""
        register(api, receiver, eventTypes=["participant.left"])
        exp = int(daily_sandbox.now()) + 60
        api.post("/rooms", json={"name": "short", "properties": {"exp": exp, "eject_at_room_exp": True}})
        ada = daily_sandbox.join("short")
        daily_sandbox.advance(61)
        assert receiver.next().event["payload"]["session_id"] == ada["id"]
        api.post("/rooms", json={"name": "demo"})
        bob, eve = daily_sandbox.join("demo"), daily_sandbox.join("demo")
        api.post("/rooms/demo/eject", json={"ids": [bob["id"]]})
        assert receiver.next().event["payload"]["session_id"] == bob["id"]
        api.delete("/rooms/demo")
        assert receiver.next().event["payload"]["session_id"] == eve["id"]

    def test_the_first_webhook_hears_of_whom_the_clock_puts_out(self, receiver: Receiver) -> None:
        """In a sandbox that nobody listened to until then, and where nothing else happens."""
        with sandbox_in_thread(SandboxConfig()) as fresh:
            headers = {"Authorization": f"Bearer {fresh.api_key}"}
            with httpx.Client(base_url=fresh.api_url, headers=headers, trust_env=False, verify=False) as api:
                api.post("/rooms", json={"name": "short", "properties": {"eject_after_elapsed": 60}})
                ada = fresh.join("short")
                register(api, receiver, eventTypes=["participant.left"])
            fresh.advance(61)
            assert receiver.next().event["payload"]["session_id"] == ada["id"]

    @pytest.mark.daily_sandbox(capture_start_s=0.1, recording_ready_s=0)
    def test_a_recording_is_told_of_as_its_time_comes(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        """Also while nobody asks the sandbox for anything."""
        register(api, receiver, eventTypes=["recording.started", "recording.ready-to-download"])
        api.post("/rooms", json={"name": "demo", "properties": {"enable_recording": "cloud"}})
        daily_sandbox.join("demo")
        api.post("/rooms/demo/recordings/start")
        started = receiver.next().event
        daily_sandbox.leave("demo")
        ready = receiver.next().event
        assert (started["type"], ready["type"]) == ("recording.started", "recording.ready-to-download")
        assert started["payload"]["recording_id"] == ready["payload"]["recording_id"]

    @pytest.mark.daily_sandbox(webhook_ms=False)
    def test_the_time_can_be_in_seconds(self, api: httpx.Client, receiver: Receiver) -> None:
        api.post("/webhooks", json={"url": receiver.url})
        assert len(receiver.next().headers["x-webhook-timestamp"]) == 10


class TestFailing:
    def test_the_breaker_trips_at_the_third_failure_and_a_change_closes_it(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        webhook = register(api, receiver, eventTypes=["participant.joined"])
        api.post("/rooms", json={"name": "demo"})
        receiver.status = 500
        for failures in (1, 2):
            daily_sandbox.join("demo")
            assert outcomes(daily_sandbox, failures)[-1] == "failed"
        assert state(api, webhook) == ("ACTIVE", 2)
        receiver.status = 200
        daily_sandbox.join("demo")
        assert outcomes(daily_sandbox, 3)[-1] == "delivered"
        assert state(api, webhook) == ("ACTIVE", 0)
        receiver.status = 500
        for failures in (4, 5, 6):
            daily_sandbox.join("demo")
            outcomes(daily_sandbox, failures)
        assert state(api, webhook) == ("FAILED", 3)
        receiver.status = 200
        daily_sandbox.join("demo")
        assert len(daily_sandbox.deliveries()) == 6  # nothing is sent any more
        answer = api.post(f"/webhooks/{webhook['uuid']}", json={"url": receiver.url})
        assert answer.status_code == 200
        assert state(api, webhook) == ("ACTIVE", 0)
        daily_sandbox.join("demo")
        assert outcomes(daily_sandbox, 7)[-1] == "delivered"

    def test_a_change_is_refused_while_nobody_answers_the_test(self, api: httpx.Client, receiver: Receiver) -> None:
        webhook = register(api, receiver)
        receiver.status = 500
        assert api.post(f"/webhooks/{webhook['uuid']}", json={"retryType": "exponential"}).status_code == 400
        assert api.get("/webhooks").json() == [webhook]

    def test_exponential_tries_again_and_never_breaks(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        webhook = register(api, receiver, retryType="exponential", eventTypes=["participant.joined"])
        api.post("/rooms", json={"name": "demo"})
        receiver.status = 500
        daily_sandbox.join("demo")
        first = receiver.next().event
        receiver.status = 200
        assert receiver.next().event == first
        assert outcomes(daily_sandbox, 1, tries=2) == ["delivered"]
        assert daily_sandbox.deliveries()[0]["tries"] == 2
        assert state(api, webhook) == ("ACTIVE", 0)

    def test_deliveries_can_be_lost_doubled_and_late(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        register(api, receiver, eventTypes=["participant.joined"])
        api.post("/rooms", json={"name": "demo"})
        daily_sandbox.add_fault("drop", count=1)
        daily_sandbox.join("demo")
        assert outcomes(daily_sandbox, 1) == ["dropped"]
        daily_sandbox.add_fault("duplicate", count=1)
        bob = daily_sandbox.join("demo")
        assert [receiver.next().event["payload"]["session_id"] for _ in range(2)] == [bob["id"]] * 2
        daily_sandbox.add_fault("delay", operation="webhook_delivery", delay_s=0.5, count=1)
        late, early = daily_sandbox.join("demo"), daily_sandbox.join("demo")
        order = [receiver.next().event["payload"]["session_id"] for _ in range(2)]
        assert order == [early["id"], late["id"]]

    def test_what_strikes_answers_does_not_strike_deliveries(
        self, api: httpx.Client, receiver: Receiver, daily_sandbox: SandboxHandle
    ) -> None:
        register(api, receiver, eventTypes=["participant.joined"])
        api.post("/rooms", json={"name": "demo"})
        daily_sandbox.add_fault("error")
        daily_sandbox.join("demo")
        assert outcomes(daily_sandbox, 1) == ["delivered"]
        with pytest.raises(Exception, match="nothing that happens to a delivery"):
            daily_sandbox.add_fault("error", operation="webhook_delivery")
