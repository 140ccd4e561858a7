"""Live streams at Daily, against the sandbox; and that no key to a stream comes back in Daily's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from connectors_helpers import OpenDaily, room_plan
from daily_calls import TEST_S, Scripted
from scripted_http import answer
from test_connectors_daily_webhooks import SECRET, read

from transport_trio.connectors import NO_LIMITS, DailyConnector
from transport_trio.connectors.daily.capturing import MANAGED_CAPTURE_OPTIONS, capture_body
from transport_trio.connectors.daily.door import DailyDoor
from transport_trio.connectors.daily.operations import START_LIVE_STREAM
from transport_trio.connectors.daily.stream_keys import without_addresses, without_keys
from transport_trio.errors import NobodyInCall, ProviderBusy, ProviderRejected, ProviderUnreachable
from transport_trio.models import CaptureKind, CaptureMoment, CaptureOptions, PushKind, Room
from transport_trio.sandbox import SandboxHandle

pytestmark = pytest.mark.daily_sandbox(capture_start_s=0.0, call_lag_s=0.0)
KIND = CaptureKind.LIVE_STREAM
OURS = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a01"
OTHER = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a02"
KEY = "abcd-efgh-1234"
URL = f"rtmps://me:pw@live.example:443/app/{KEY}"
TO_URL = CaptureOptions(given={"rtmp_urls": [URL], "layout": {"preset": "default"}, "max_duration_s": 60})
ROOM = Room(name="call", url="https://x")


@pytest.fixture
async def daily(open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle) -> Any:
    async with open_sandbox_daily(rate_limits=NO_LIMITS) as connector:
        with trio.fail_after(TEST_S):
            expires_at = datetime.fromtimestamp(daily_sandbox.now(), UTC) + timedelta(hours=5)
            await connector.create_room(room_plan("call", expires_at))
            daily_sandbox.join("call", "Ada")
            yield connector


async def test_two_go_their_ways_side_by_side(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    for instance in (OURS, OTHER):
        await daily.start_capture("call", KIND, instance, TO_URL)
    running = daily_sandbox.captures("call")
    assert [(one["kind"], one["instanceId"]) for one in running] == [("streaming", OURS), ("streaming", OTHER)]
    assert running[0]["options"] == {
        "rtmpUrl": [URL],
        "layout": {"preset": "default"},
        "maxDuration": 60,
        "instanceId": OURS,
    }
    await daily.update_capture("call", KIND, OTHER, CaptureOptions(given={"fps": 10}))
    await daily.stop_capture("call", KIND, OURS)
    assert [(one["instanceId"], one["options"]["fps"]) for one in daily_sandbox.captures("call")] == [(OTHER, 10)]
    assert await daily.captures(ROOM, KIND) == ()
    assert daily_sandbox.requests("list_recordings") == []
    with pytest.raises(ProviderRejected) as caught:
        await daily.stop_capture("call", KIND, OURS)
    assert (caught.value.status, caught.value.in_doubt) == (400, False)


async def test_who_is_missing_and_no_worker_are_told(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    daily_sandbox.configure(capture_workers=0)
    with pytest.raises(ProviderBusy):
        await daily.start_capture("call", KIND, OURS, TO_URL)
    daily_sandbox.leave("call")
    with pytest.raises(NobodyInCall):
        await daily.start_capture("call", KIND, OURS, TO_URL)
    assert START_LIVE_STREAM.tier == "start"


async def test_an_endpoint_goes_by_its_name(daily: DailyConnector) -> None:
    named = CaptureOptions(given={"endpoints": ["tv"]})
    assert capture_body(OURS, named) == {"endpoints": [{"endpoint": "tv"}], "instanceId": OURS}
    with pytest.raises(ProviderRejected, match="no streaming endpoint named 'tv'"):
        await daily.start_capture("call", KIND, OURS, named)
    assert {"rtmpUrl", "endpoints"} <= MANAGED_CAPTURE_OPTIONS


async def test_the_sandbox_s_refusal_quotes_the_address_and_we_do_not(daily: DailyConnector) -> None:
    wrong = CaptureOptions(given={"rtmp_urls": [URL, "http://x"]})
    with pytest.raises(ProviderRejected, match="rtmpUrl was") as caught:
        await daily.start_capture("call", KIND, OURS, wrong)
    assert "live.example" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("status", "error"), [(400, ProviderRejected), (500, ProviderUnreachable)])
@pytest.mark.parametrize("words", [f"cannot reach {URL}?x=1", f"'{URL}' is bad", f"RTMPS://live.example/{KEY}"])
async def test_no_answer_tells_a_key(scripted: Scripted, status: int, error: Any, words: str) -> None:
    daily, _ = await scripted(answer(status, {"error": "server-error", "info": words}))
    with pytest.raises(error) as caught:
        await daily.start_capture("call", KIND, OURS, TO_URL)
    told = f"{caught.value} {daily.health()}"
    assert KEY not in told
    assert "live.example" in told


async def test_nor_the_key_alone(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(400, {"error": "invalid-request-error", "info": f"the key {KEY} is not known"}))
    with pytest.raises(ProviderRejected, match=r"the key \(hidden\) is not known"):
        await daily.start_capture("call", KIND, OURS, TO_URL)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtmp://a.b/c/d, and on", "rtmp://a.b/(hidden) and on"),
        ("'rtmp://a.b'", "'rtmp://a.b/(hidden)'"),
        ("rtmp://u:p@a.b:1935/k", "rtmp://a.b:1935/(hidden)"),
        ("https://a.b/c", "https://a.b/c"),
    ],
)
def test_of_an_address_the_host_is_shown(text: str, shown: str) -> None:
    assert without_addresses(text) == shown


def test_a_key_in_a_query_is_one_too() -> None:
    assert without_keys("secret99 of live", ["rtmp://h/live?k=secret99"]) == "(hidden) of live"


def pushed(type_: str, **payload: Any) -> dict[str, Any]:
    return {"version": "1.0.0", "type": type_, "id": f"{type_}-1", "payload": payload, "event_ts": 1708972279.5}


@pytest.mark.parametrize(
    ("type_", "moment"),
    [
        ("streaming.started", CaptureMoment.STARTED),
        ("streaming.updated", CaptureMoment.UPDATED),
        ("streaming.ended", CaptureMoment.STOPPED),
        ("streaming.error", CaptureMoment.ERROR),
    ],
)
def test_each_push_tells_its_instance_and_perhaps_its_room(type_: str, moment: CaptureMoment) -> None:
    door = DailyDoor((SECRET,))
    payload = {"instance_id": OURS, "timestamp": 1708972270, "error_message": f"no route\tto {URL}"}
    push = read(door, pushed(type_, **payload))
    news = push.capture
    assert news is not None
    assert (push.kind, news.kind, news.moment, news.instance_id) == (PushKind.CAPTURE, KIND, moment, OURS)
    assert (news.occurred_at, news.room_name) == (datetime.fromtimestamp(1708972270, UTC), None)
    assert news.reason == "no route\N{REPLACEMENT CHARACTER}to rtmps://live.example:443/(hidden)"
    assert read(door, pushed(type_, **payload)).kind is PushKind.DUPLICATE


def test_a_push_without_an_instance_says_nothing() -> None:
    assert read(DailyDoor((SECRET,)), pushed("streaming.started", room_name="call")).kind is PushKind.UNREADABLE
