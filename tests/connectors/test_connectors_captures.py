"""Recordings at Daily, against the sandbox; and what Daily's words about them mean to us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
from connectors_helpers import NOON, OpenDaily, room_plan
from daily_calls import TEST_S, Scripted
from scripted_http import answer
from test_connectors_daily_webhooks import SECRET, read

from transport_trio.connectors import NO_LIMITS, DailyConnector
from transport_trio.connectors.daily.capture_reading import parse_link, parse_recordings, parse_transcript
from transport_trio.connectors.daily.capturing import MANAGED_CAPTURE_OPTIONS, capture_body
from transport_trio.connectors.daily.door import DailyDoor
from transport_trio.connectors.daily.reading import BrokenAnswer
from transport_trio.errors import (
    NobodyInCall,
    ProviderBusy,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnreachable,
    RoomNotFound,
)
from transport_trio.models import CaptureKind, CaptureMoment, CaptureOptions, PushKind, Room
from transport_trio.sandbox import SandboxHandle

pytestmark = pytest.mark.daily_sandbox(
    capture_start_s=0.0, recording_ready_s=0.0, transcript_ready_s=0.0, call_lag_s=0.0
)
RECORDING = CaptureKind.RECORDING
OURS = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a01"
OTHER = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a02"
EVERYTHING = CaptureOptions(
    given={
        "type": "cloud",
        "layout": {"preset": "portrait", "variant": "inset"},
        "width": 1280,
        "height": 720,
        "fps": 25,
        "video_bitrate_kbps": 2000,
        "audio_bitrate_kbps": 128,
        "min_idle_timeout_s": 60,
        "max_duration_s": 600,
        "background_color": "#ff102030",
        "data_outputs": ["event-json"],
    }
)


@pytest.fixture
async def daily(open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle) -> Any:
    async with open_sandbox_daily(rate_limits=NO_LIMITS) as connector:
        with trio.fail_after(TEST_S):
            expires_at = time_at(daily_sandbox) + timedelta(hours=5)
            await connector.create_room(room_plan("call", expires_at, enable_recording=True))
            daily_sandbox.join("call", "Ada")
            yield connector


def time_at(sandbox: SandboxHandle) -> datetime:
    return datetime.fromtimestamp(sandbox.now(), UTC)


ROOM = Room(name="call", url="https://x")


async def test_a_recording_goes_its_way(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    await daily.start_capture("call", RECORDING, OURS, EVERYTHING)
    [running] = daily_sandbox.captures("call")
    assert (running["instanceId"], running["options"]["videoBitrate"]) == (OURS, 2000)
    [begun] = await daily.captures(ROOM, RECORDING)
    assert (begun.moment, begun.provider_id, begun.duration_s) == (CaptureMoment.STARTED, running["id"], None)
    await daily.update_capture("call", RECORDING, OURS, CaptureOptions(given={"fps": 10}))
    daily_sandbox.advance(30)
    await daily.stop_capture("call", RECORDING, OURS)
    [ready] = await daily.captures(ROOM, RECORDING)
    assert (ready.moment, ready.duration_s, ready.started_at) == (CaptureMoment.READY, 30.0, begun.started_at)
    assert await daily.find_capture(RECORDING, running["id"]) is not None
    link = await daily.capture_link(RECORDING, running["id"], 60)
    assert link is not None
    assert link.expires_at is not None
    assert link.url not in repr(link)
    assert b"ftyp" in (await trio.to_thread.run_sync(httpx.get, link.url)).content
    assert await daily.delete_capture(RECORDING, running["id"]) is True
    assert await daily.delete_capture(RECORDING, running["id"]) is False
    assert await daily.capture_link(RECORDING, running["id"], None) is None
    assert await daily.find_capture(RECORDING, running["id"]) is None


async def test_two_run_side_by_side_and_are_told_apart(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    for instance in (OURS, OTHER):
        await daily.start_capture("call", RECORDING, instance, CaptureOptions())
    await daily.stop_capture("call", RECORDING, OTHER)
    assert [one["instanceId"] for one in daily_sandbox.captures("call")] == [OURS]
    with pytest.raises(ProviderRejected, match="not being recorded"):
        await daily.stop_capture("call", RECORDING, None)
    daily_sandbox.start_capture("call", "recording")
    await daily.stop_capture("call", RECORDING, None)


async def test_who_is_missing_is_told(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    daily_sandbox.leave("call")
    with pytest.raises(NobodyInCall):
        await daily.start_capture("call", RECORDING, OURS, CaptureOptions())
    with pytest.raises(RoomNotFound):
        await daily.start_capture("nowhere", RECORDING, OURS, CaptureOptions())


async def test_no_worker_is_no_doubt(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    daily_sandbox.configure(capture_workers=0)
    with pytest.raises(ProviderBusy, match="no worker") as caught:
        await daily.start_capture("call", RECORDING, OURS, CaptureOptions())
    assert (caught.value.in_doubt, caught.value.retry_after_s) == (False, 5.0)
    assert daily_sandbox.captures("call") == []


async def test_a_proxy_s_503_is_a_doubt(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(503, {"message": "upstream"}))
    with pytest.raises(ProviderUnreachable) as caught:
        await daily.start_capture("call", RECORDING, OURS, CaptureOptions())
    assert caught.value.in_doubt


async def test_starts_wait_for_the_tier_s_turn_and_are_refused_when_it_is_far(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle
) -> None:
    """Daily would answer 429 to the sixth within five seconds; we do not ask it."""
    refused: list[ProviderThrottled] = []

    async def start(connector: DailyConnector) -> None:
        try:
            await connector.start_capture("nowhere", RECORDING, OURS, CaptureOptions())
        except ProviderThrottled as exc:
            refused.append(exc)
        except RoomNotFound:
            pass

    async with open_sandbox_daily(timeout_s=0.6) as connector:
        with trio.fail_after(TEST_S):
            async with trio.open_nursery() as nursery:
                for _ in range(7):
                    nursery.start_soon(start, connector)
    assert [request["status"] for request in daily_sandbox.requests("start_recording")] == [404] * 4
    assert all(exc.retry_after_s > 3 for exc in refused)
    assert len(refused) == 3


def test_daily_is_sent_its_own_words_and_only_those_that_were_given() -> None:
    assert capture_body(OURS, CaptureOptions(given={"max_duration_s": 60})) == {"maxDuration": 60, "instanceId": OURS}
    more = CaptureOptions(provider_options={"new": 1})
    assert capture_body(None, more) == {"new": 1}
    assert {"instanceId", "minIdleTimeOut", "dataOutputs"} <= MANAGED_CAPTURE_OPTIONS


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        ({"id": "r1", "status": "finished", "start_ts": 1708972000, "room_name": "call"}, 1),
        ({"id": "r1", "status": "finished"}, 1),
        ({"id": "r1", "status": "in-progress", "start_ts": "soon", "duration": None, "mtgSessionId": None}, 1),
        ({"id": "r1", "status": "finished", "room_name": "other"}, 0),
        ({"id": "r1", "status": "melted"}, 0),
        ({"id": "", "status": "finished"}, 0),
        ("?", 0),
    ],
)
def test_lists_are_read_tolerantly(entry: Any, count: int) -> None:
    found = parse_recordings({"data": [entry]}, "call", NOON)
    assert len(found) == count


@pytest.mark.parametrize("start_ts", [253402300799, -62135596800, 1e300])
def test_a_start_at_the_end_of_all_time_is_not_known(start_ts: float) -> None:
    """A sum with it would be no time any more."""
    [news] = parse_recordings({"data": [{"id": "r1", "status": "finished", "start_ts": start_ts}]}, "call", NOON)
    assert (news.started_at, news.occurred_at) == (None, NOON)


@pytest.mark.parametrize("body", [{}, {"download_link": 1}, {"download_link": "javascript:alert(1)"}, []])
def test_what_is_no_link_is_refused(body: Any) -> None:
    with pytest.raises(BrokenAnswer):
        parse_link(body)
    assert parse_link({"link": "https://files/x"}).expires_at is None


def pushed(type_: str, id_: str, **payload: Any) -> dict[str, Any]:
    return {"version": "1.0.0", "type": type_, "id": id_, "payload": payload, "event_ts": 1708972279.5}


STARTED = pushed("recording.started", f"rec-sta-{OURS}-1", instance_id=OURS, recording_id="r1", start_ts=1708972270)
READY = pushed("recording.ready-to-download", f"rec-rtd-{OURS}-2", recording_id="r1", room_name="call", duration=9)
FAILED = pushed("recording.error", f"rec-err-{OURS}-3", instance_id=OURS, room_name="call", error_msg="out of\ndisk")


def test_each_push_is_understood_without_what_it_does_not_tell() -> None:
    """A start names no room, a mishap no recording, and the end its instance only in the id of the push."""
    door = DailyDoor((SECRET,))
    started, ready, failed = (read(door, event) for event in (STARTED, READY, FAILED))
    assert [push.kind for push in (started, ready, failed)] == [PushKind.CAPTURE] * 3
    assert started.capture
    assert ready.capture
    assert failed.capture
    assert (started.capture.instance_id, started.capture.provider_id, started.capture.room_name) == (OURS, "r1", None)
    assert (ready.capture.instance_id, ready.capture.duration_s) == (OURS, 9.0)
    assert (failed.capture.instance_id, failed.capture.provider_id) == (OURS, None)
    assert failed.capture.reason == "out of\N{REPLACEMENT CHARACTER}disk"
    assert read(door, STARTED).kind is PushKind.DUPLICATE
    assert read(door, pushed("recording.started", "odd")).kind is PushKind.UNREADABLE


TRANSCRIPTION = CaptureKind.TRANSCRIPTION
WORDS = CaptureOptions(given={"language": "de", "include_raw_response": False, "participant_ids": ["p"]})


async def test_a_transcript_goes_its_way(daily: DailyConnector, daily_sandbox: SandboxHandle) -> None:
    expires_at = time_at(daily_sandbox) + timedelta(hours=5)
    room = await daily.create_room(room_plan("talk", expires_at, enable_transcription=True))
    daily_sandbox.join("talk", "Ada")
    await daily.start_capture("talk", TRANSCRIPTION, OURS, WORDS)
    [running] = daily_sandbox.captures("talk")
    assert (running["instanceId"], running["options"]["language"]) == (OURS, "de")
    await daily.update_capture("talk", TRANSCRIPTION, OURS, CaptureOptions(given={"participant_ids": ["q"]}))
    [begun] = await daily.captures(room, TRANSCRIPTION)
    assert (begun.kind, begun.moment, begun.provider_id) == (TRANSCRIPTION, CaptureMoment.STARTED, running["id"])
    daily_sandbox.advance(30)
    await daily.stop_capture("talk", TRANSCRIPTION, OURS)
    [ready] = await daily.captures(room, TRANSCRIPTION)
    assert (ready.moment, ready.duration_s) == (CaptureMoment.READY, 30.0)
    assert await daily.captures(ROOM, RECORDING) == ()
    assert await daily.find_capture(TRANSCRIPTION, running["id"]) is not None
    link = await daily.capture_link(TRANSCRIPTION, running["id"], None)
    assert link is not None
    assert (await trio.to_thread.run_sync(httpx.get, link.url)).text.startswith("WEBVTT")
    assert await daily.delete_capture(TRANSCRIPTION, running["id"]) is True
    assert await daily.delete_capture(TRANSCRIPTION, running["id"]) is False


@pytest.mark.parametrize(
    ("status", "moment"),
    [
        ("t_in_progress", CaptureMoment.STARTED),
        ("t_completed", CaptureMoment.READY),
        ("t_failed", CaptureMoment.ERROR),
        ("t_deleted", None),
    ],
)
def test_both_vocabularies_of_transcripts_are_known(status: str, moment: CaptureMoment | None) -> None:
    news = parse_transcript({"transcriptId": "t1", "status": status, "created_at": "?"}, NOON)
    assert (news and news.moment) == moment


def test_a_transcript_s_push_tells_its_instance_room_and_reason() -> None:
    payload = {"info": {"instanceId": OURS}, "room_name": "talk", "error": "no\tmodel"}
    event = pushed("transcript.error", "tra-err-1", **payload)
    event["payload"]["id"] = "t1"
    news = read(DailyDoor((SECRET,)), event).capture
    assert news is not None
    assert (news.kind, news.instance_id, news.provider_id) == (TRANSCRIPTION, OURS, "t1")
    assert (news.room_name, news.reason) == ("talk", "no\N{REPLACEMENT CHARACTER}model")
    assert read(DailyDoor((SECRET,)), pushed("transcript.started", "x", info=[])).kind is PushKind.UNREADABLE
