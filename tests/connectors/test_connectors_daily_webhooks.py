"""What Daily pushes: who signed it, what it says, and the webhook that we keep there. Against the sandbox."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from connectors_helpers import daily_at
from daily_calls import TEST_S

from tests.webhook_receiver import Receiver, receiving
from transport_trio.connectors import DailyConnector
from transport_trio.connectors.daily.door import REMEMBERED, TYPES, DailyDoor
from transport_trio.connectors.daily.signature import SIGNATURE, TIMESTAMP, WINDOW_S
from transport_trio.errors import WebhookRefused
from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus, Participant, Permissions, Push, PushKind
from transport_trio.sandbox import SandboxHandle

SECRET_TEXT = "NQrSA5z0FkJ44QPrFerW7uCc5kdNLv3l2FDEKDanL1U="
SECRET = base64.b64decode(SECRET_TEXT)
TEST = b'{"test":"test"}'
NOW = datetime.fromtimestamp(1708972280, UTC)
JOINED = {
    "version": "1.0.0",
    "type": "participant.joined",
    "id": "ptcpt-join-u1-1708972279961",
    "payload": {
        "room": "demo",
        "user_id": "u1",
        "user_name": "Ada",
        "session_id": "s1",
        "joined_at": 1708972279.96,
        "will_eject_at": None,
        "owner": True,
        "permissions": {"hasPresence": True, "canSend": ["audio"], "canReceive": {"base": True}, "canAdmin": False},
    },
    "event_ts": 1708972279.961,
}


def signed(body: bytes, stamp: str = "1708972279961", secret: bytes = SECRET) -> dict[str, str]:
    digest = hmac.digest(secret, stamp.encode() + b"." + body, hashlib.sha256)
    return {TIMESTAMP: stamp, SIGNATURE: base64.b64encode(digest).decode()}


def read(door: DailyDoor, event: Any) -> Push:
    body = json.dumps(event).encode()
    return door.read(signed(body), body, NOW)


@pytest.fixture
def door() -> DailyDoor:
    return DailyDoor(secrets=(SECRET,))


class TestSignature:
    @pytest.mark.parametrize(
        ("stamp", "signature"),
        [
            ("1708972279961", "SJG13/zmTaxndZYta/vxjJ3hJ/13ytAhvfBkckY9yp8="),
            ("1708972279", "oY1TtjxOtVd0ki5odOlbVtTzYuLggHjQqo518YpkOMg="),
        ],
        ids=["milliseconds", "seconds"],
    )
    def test_known_signatures_are_right(self, door: DailyDoor, stamp: str, signature: str) -> None:
        push = door.read({TIMESTAMP: stamp, SIGNATURE: signature}, TEST, NOW)
        assert push.kind is PushKind.TEST

    def test_anything_else_is_refused(self, door: DailyDoor) -> None:
        good = signed(TEST)
        for headers, body in (
            ({}, TEST),
            ({TIMESTAMP: good[TIMESTAMP]}, TEST),
            ({SIGNATURE: good[SIGNATURE]}, TEST),
            (good, b'{"test": "test"}'),
            (good | {TIMESTAMP: "1708972279962"}, TEST),
            (good | {SIGNATURE: base64.b64decode(good[SIGNATURE]).hex()}, TEST),
            (good | {SIGNATURE: "no base64"}, TEST),
            (good | {SIGNATURE: ""}, TEST),
            (signed(TEST, secret=SECRET_TEXT.encode()), TEST),  # the secret as text
            (signed(TEST, secret=b""), TEST),
        ):
            with pytest.raises(WebhookRefused):
                door.read(headers, body, NOW)

    @pytest.mark.parametrize("sign", [1, -1], ids=["old", "ahead"])
    def test_what_was_signed_long_ago_or_in_the_future_is_refused(self, door: DailyDoor, sign: int) -> None:
        within, beyond = ((str(int(NOW.timestamp() - sign * (WINDOW_S + more)))) for more in (-1, 1))
        assert door.read(signed(TEST, within), TEST, NOW).kind is PushKind.TEST
        with pytest.raises(WebhookRefused, match="300 s"):
            door.read(signed(TEST, beyond), TEST, NOW)

    @pytest.mark.parametrize("stamp", ["", "x", "-1708972279", "1e9", "9" * 16, "1708972279.9.9", "NaN"])
    def test_a_time_that_is_none_is_refused(self, door: DailyDoor, stamp: str) -> None:
        with pytest.raises(WebhookRefused):
            door.read(signed(TEST, stamp), TEST, NOW)

    def test_without_a_secret_only_the_test_is_taken(self) -> None:
        closed = DailyDoor()
        assert closed.read({}, TEST, NOW).kind is PushKind.TEST
        for body in (b"", b"{", json.dumps(JOINED).encode()):
            with pytest.raises(WebhookRefused, match="DAILY_WEBHOOK_HMAC"):
                closed.read(signed(body, secret=b""), body, NOW)


class TestReading:
    def test_a_join(self, door: DailyDoor) -> None:
        push = read(door, JOINED)
        assert (push.kind, push.type, push.room_name) == (PushKind.NEWS, "participant.joined", "demo")
        assert push.sent_at == datetime.fromtimestamp(1708972279.961, UTC)
        assert push.news is not None
        assert push.news.came
        assert push.news.participant == Participant(
            id="s1",
            user_id="u1",
            name="Ada",
            joined_at=datetime.fromtimestamp(1708972279.96, UTC),
            is_owner=True,
            permissions=Permissions(can_send_video=False, can_send_screen_video=False, can_send_screen_audio=False),
        )
        assert push.news.occurred_at == push.news.participant.joined_at

    @pytest.mark.parametrize(
        ("given", "meant"), [(1708972299.5, 1708972299.5), (None, None), ("soon", None), (True, None)]
    )
    def test_when_somebody_will_be_put_out(self, door: DailyDoor, given: Any, meant: float | None) -> None:
        payload: dict[str, Any] = {**JOINED["payload"], "will_eject_at": given}  # type: ignore[dict-item]
        news = read(door, {**JOINED, "payload": payload}).news
        assert news is not None
        assert news.participant.will_eject_at == (None if meant is None else datetime.fromtimestamp(meant, UTC))

    def test_a_leave_says_when(self, door: DailyDoor) -> None:
        payload = {**JOINED["payload"], "joined_at": 1708972200.0, "duration": 60.5}  # type: ignore[dict-item]
        push = read(door, {**JOINED, "type": "participant.left", "payload": payload})
        assert push.news is not None
        assert not push.news.came
        assert push.news.occurred_at == datetime.fromtimestamp(1708972260.5, UTC)

    def test_the_room_may_be_called_otherwise(self, door: DailyDoor) -> None:
        payload: dict[str, Any] = {**JOINED["payload"], "room_name": "demo"}  # type: ignore[dict-item]
        del payload["room"]
        assert read(door, {**JOINED, "payload": payload}).room_name == "demo"

    @pytest.mark.parametrize(
        "missing", ["user_id", "user_name", "joined_at", "will_eject_at", "owner", "permissions", "duration"]
    )
    def test_a_field_may_be_missing_or_odd(self, missing: str) -> None:
        payload: dict[str, Any] = {**JOINED["payload"], "duration": 1.0}  # type: ignore[dict-item]
        for type_ in ("participant.joined", "participant.left"):
            for odd in (None, 7, "x", [], {}, True, -1e300):
                assert read(DailyDoor((SECRET,)), {**JOINED, "type": type_, "payload": {**payload, missing: odd}}).news
            del payload[missing]
            assert read(DailyDoor((SECRET,)), {**JOINED, "type": type_, "payload": payload}).news
            payload[missing] = None
        for name in ("version", "id", "event_ts"):
            event = {key: value for key, value in JOINED.items() if key != name}
            assert read(DailyDoor((SECRET,)), event).kind is PushKind.NEWS

    def test_times_ahead_of_ours_are_now(self, door: DailyDoor) -> None:
        payload = {**JOINED["payload"], "joined_at": NOW.timestamp() + 3600}  # type: ignore[dict-item]
        push = read(door, {**JOINED, "payload": payload})
        assert push.news is not None
        assert push.news.occurred_at == push.news.participant.joined_at == NOW

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"", PushKind.UNREADABLE),
            (b"{", PushKind.UNREADABLE),
            (b"[]", PushKind.UNREADABLE),
            (b"{}", PushKind.OTHER),
            (b'{"type":7}', PushKind.OTHER),
            (b'{"type":"recording.started","payload":{}}', PushKind.UNREADABLE),
            (b'{"type":"of.tomorrow","payload":{"room":"demo"}}', PushKind.OTHER),
            (b'{"type":"participant.joined"}', PushKind.UNREADABLE),
            (b'{"type":"participant.joined","payload":[]}', PushKind.UNREADABLE),
            (b'{"type":"participant.joined","payload":{"room":"demo"}}', PushKind.UNREADABLE),
            (b'{"type":"participant.left","payload":{"room":7,"session_id":"s"}}', PushKind.UNREADABLE),
            (b"[" * 50_000, PushKind.UNREADABLE),
            (b'{"event_ts":1e999}', PushKind.UNREADABLE),
        ],
    )
    def test_whatever_is_signed_is_taken(self, door: DailyDoor, body: bytes, kind: PushKind) -> None:
        push = door.read(signed(body), body, NOW)
        assert push.kind is kind
        assert push.news is None
        assert push.type in {"other", "participant.joined", "participant.left", "recording.started"}

    def test_repeats_are_known_by_their_id_or_by_their_connection(self, door: DailyDoor) -> None:
        assert read(door, JOINED).kind is PushKind.NEWS
        assert read(door, JOINED).kind is PushKind.DUPLICATE
        assert read(door, {**JOINED, "id": "another"}).kind is PushKind.DUPLICATE
        assert read(door, {**JOINED, "id": "third", "type": "participant.left"}).kind is PushKind.NEWS

    def test_what_is_remembered_is_bounded(self, door: DailyDoor) -> None:
        for number in range(REMEMBERED + 10):
            payload = {**JOINED["payload"], "session_id": f"s{number}"}  # type: ignore[dict-item]
            read(door, {**JOINED, "id": f"e{number}", "payload": payload})
        assert len(door._seen) == REMEMBERED


# --- the webhook that we keep


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def api(daily_sandbox: SandboxHandle) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {daily_sandbox.api_key}"}
    with httpx.Client(base_url=daily_sandbox.api_url, headers=headers, trust_env=False, verify=False) as client:
        yield client


async def hooks(api: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await trio.to_thread.run_sync(api.get, "/webhooks")).json()
    return found


async def until(api: httpx.Client, state: str) -> dict[str, Any]:
    """The webhook once it is in this state."""
    with trio.fail_after(TEST_S):
        while True:
            for hook in await hooks(api):
                if hook["state"] == state:
                    return hook
            await trio.sleep(0.02)


async def healthy(daily: DailyConnector, status: CheckStatus, word: str = "") -> None:
    with trio.fail_after(TEST_S):
        while True:
            check = daily.checks()[-1]
            if check.status is status and word in check.message:
                return
            await trio.sleep(0.02)


@asynccontextmanager
async def keeping(sandbox: SandboxHandle, metrics: Metrics, url: str, own_url: str = "") -> AsyncIterator[Any]:
    """A connector that keeps a webhook, and its nursery; at the end it is stopped."""
    async with daily_at(sandbox.api_url, metrics, webhook_url=url) as daily:
        assert daily.keeper is not None
        daily.keeper.watch_s = 0.1
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daily.keep_webhook, own_url, stop)
            yield daily
            stop.set()


class TestKeeper:
    async def test_it_registers_a_webhook_and_removes_it(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        async with keeping(daily_sandbox, metrics, receiver.url) as daily:
            hook = await until(api, "ACTIVE")
            assert hook["url"] == receiver.url
            assert hook["eventTypes"] == sorted(TYPES)
            assert hook["retryType"] == "exponential"
            came = await trio.to_thread.run_sync(receiver.next)
            # What Daily signs with is what we check with.
            assert daily.door.read(came.headers, came.body, datetime.now(UTC)).kind is PushKind.TEST
            await healthy(daily, CheckStatus.OK)
            assert metrics.registry.get_sample_value("transport_webhook_active", {"provider": "daily"}) == 1
        assert await hooks(api) == []

    async def test_self_is_our_own_address(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        async with keeping(daily_sandbox, metrics, "self", own_url=receiver.url):
            assert (await until(api, "ACTIVE"))["url"] == receiver.url

    async def test_one_that_a_crash_left_behind_is_taken_over_with_a_new_secret(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        left = await trio.to_thread.run_sync(partial(api.post, "/webhooks", json={"url": receiver.url}))
        async with keeping(daily_sandbox, metrics, receiver.url) as daily:
            await healthy(daily, CheckStatus.OK)
            (hook,) = await hooks(api)
            assert hook["uuid"] == left.json()["uuid"]
            assert hook["hmac"] != left.json()["hmac"]
        assert await hooks(api) == []

    async def test_one_that_signs_with_another_secret_is_not_taken_for_ours(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        """It was left behind and is active, and its change fails at first."""
        left = await trio.to_thread.run_sync(partial(api.post, "/webhooks", json={"url": receiver.url}))
        receiver.status = 500
        async with keeping(daily_sandbox, metrics, receiver.url) as daily:
            await healthy(daily, CheckStatus.DEGRADED, "non-200")
            (hook,) = await hooks(api)
            assert (hook["state"], hook["hmac"]) == ("ACTIVE", left.json()["hmac"])
            receiver.status = 200
            await healthy(daily, CheckStatus.OK)
            (hook,) = await hooks(api)
            assert hook["hmac"] != left.json()["hmac"]

    async def test_a_failed_one_is_reactivated_and_a_lost_one_made_anew(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        def repairs() -> float | None:
            return metrics.registry.get_sample_value("transport_webhook_repairs_total", {"provider": "daily"})

        async with keeping(daily_sandbox, metrics, receiver.url) as daily:
            hook = await until(api, "ACTIVE")
            await healthy(daily, CheckStatus.OK)
            breaker = {"retryType": "circuit-breaker"}
            await trio.to_thread.run_sync(partial(api.post, f"/webhooks/{hook['uuid']}", json=breaker))
            await trio.to_thread.run_sync(partial(api.post, "/rooms", json={"name": "demo"}))
            receiver.status = 500
            for _ in range(3):
                await trio.to_thread.run_sync(daily_sandbox.join, "demo")
            await healthy(daily, CheckStatus.DEGRADED, "non-200")
            receiver.status = 200
            await healthy(daily, CheckStatus.OK)
            (again,) = await hooks(api)
            assert (again["uuid"], again["state"], again["retryType"]) == (hook["uuid"], "ACTIVE", "exponential")
            assert repairs() == 1
            await trio.to_thread.run_sync(api.delete, f"/webhooks/{hook['uuid']}")
            anew = await until(api, "ACTIVE")
            assert anew["uuid"] != hook["uuid"]
            await healthy(daily, CheckStatus.OK)
            assert repairs() == 2

    async def test_one_that_somebody_has_tell_less_tells_all_again(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        async with keeping(daily_sandbox, metrics, receiver.url) as daily:
            hook = await until(api, "ACTIVE")
            await healthy(daily, CheckStatus.OK)
            less = {"eventTypes": ["meeting.started"]}
            await trio.to_thread.run_sync(partial(api.post, f"/webhooks/{hook['uuid']}", json=less))
            with trio.fail_after(TEST_S):
                while True:
                    (again,) = await hooks(api)
                    if again["eventTypes"] == hook["eventTypes"]:
                        break
                    await trio.sleep(0.02)

    async def test_somebody_elses_is_left_alone_and_told_of(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        theirs = await trio.to_thread.run_sync(partial(api.post, "/webhooks", json={"url": receiver.url}))
        async with keeping(daily_sandbox, metrics, receiver.url + "/ours") as daily:
            await healthy(daily, CheckStatus.DEGRADED, "at most 1 webhooks")
            assert metrics.registry.get_sample_value("transport_webhook_active", {"provider": "daily"}) == 0
        assert await hooks(api) == [theirs.json()]

    async def test_daily_away_for_a_while(
        self, daily_sandbox: SandboxHandle, metrics: Metrics, receiver: Receiver, api: httpx.Client
    ) -> None:
        daily_sandbox.add_fault("error", status=503, operation="list_webhooks", count=5)
        daily_sandbox.add_fault("lost_response", operation="create_webhook", count=1)
        async with keeping(daily_sandbox, metrics, receiver.url) as daily:
            await healthy(daily, CheckStatus.OK)
            assert len(await hooks(api)) == 1

    async def test_a_stop_does_not_wait_for_daily_for_ever(
        self,
        daily_sandbox: SandboxHandle,
        metrics: Metrics,
        receiver: Receiver,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with trio.fail_after(TEST_S):
            async with keeping(daily_sandbox, metrics, receiver.url) as daily:
                await healthy(daily, CheckStatus.OK)
                daily_sandbox.add_fault("delay", operation="delete_webhook", delay_s=600)
        assert "webhook left behind; the next start takes it over" in caplog.messages

    async def test_without_an_address_there_is_nothing_to_do(
        self, daily_sandbox: SandboxHandle, metrics: Metrics
    ) -> None:
        async with daily_at(daily_sandbox.api_url, metrics, webhook_secret=SECRET) as daily:
            await daily.keep_webhook("http://127.0.0.1:1/", trio.Event())
            assert [check.name for check in daily.checks()] == ["provider:daily"]
            headers = signed(TEST, str(int((datetime.now(UTC) - timedelta(seconds=1)).timestamp())))
            assert daily.door.read(headers, TEST, datetime.now(UTC)).kind is PushKind.TEST
