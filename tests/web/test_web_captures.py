"""`/sessions/{id}/recordings` over real HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import pytest
from web_rig import NOW, Site, assert_problem, created

from transport_trio import errors
from transport_trio.models import Capture, CaptureKind, CaptureOptions, CaptureStatus, SessionStatus
from transport_trio.sessions import StartCapture, StopCapture, UpdateCapture

RUNNING = Capture(
    id="c1", kind=CaptureKind.RECORDING, status=CaptureStatus.RUNNING, asked_at=NOW, provider_id="r1", started_at=NOW
)
THEIRS = Capture(id="r2", kind=CaptureKind.RECORDING, asked_at=NOW, ours=False, provider_id="r2")


async def recorded(site: Site) -> str:
    """The id of a session with a recording of ours and one of somebody else's."""
    session_id = await created(site)
    session = site.service.sessions[session_id]
    site.service.sessions[session_id] = attrs.evolve(session, captures=(RUNNING, THEIRS))
    return session_id


async def test_a_recording_is_started_with_and_without_a_body(site: Site) -> None:
    session_id = await created(site)
    url = f"/sessions/{session_id}/recordings"
    response = await site.client.post(url)
    assert (response.status_code, response.headers["location"]) == (201, f"{url}/c1")
    assert response.json() == {
        "recording_id": "c1",
        "provider_recording_id": None,
        "status": "starting",
        "type": "cloud",
        "started_by": "service",
        "requested_at": "2026-01-01T11:00:00Z",
        "started_at": None,
        "stopped_at": None,
        "ready_at": None,
        "duration_s": None,
        "error": None,
    }
    body = {"type": "raw-tracks", "layout": {"preset": "default"}, "max_duration_s": 60, "daily": {"new": 1}}
    await site.client.post(url, json=body)
    more = body.pop("daily")
    options = CaptureOptions(given=body, provider_options=more)  # type: ignore[arg-type]
    assert site.service.captured == [
        StartCapture(kind=CaptureKind.RECORDING),
        StartCapture(kind=CaptureKind.RECORDING, options=options),
    ]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"fps": 0}, "$.fps"),
        ({"width": 641}, "$.width"),
        ({"video_bitrate_kbps": 5}, "$.video_bitrate_kbps"),
        ({"max_duration_s": 1.5}, "$.max_duration_s"),
        ({"type": "film"}, "$.type"),
        ({"background_color": "red"}, "$.background_color"),
        ({"layout": {}}, "$.layout.preset"),
        ({"additional": 1}, "$.additional"),
        ({"data_outputs": ["x"]}, "$.data_outputs[0]"),
        ({"daily": {"instanceId": "mine"}}, "$.daily.instanceId"),
        ({"maxDuration": 60}, "$.maxDuration"),
        ([], "$"),
    ],
)
async def test_what_makes_no_sense_is_named(site: Site, body: Any, path: str) -> None:
    session_id = await created(site)
    response = await site.client.post(f"/sessions/{session_id}/recordings", json=body)
    assert assert_problem(response, 400, "invalid_request")["errors"][0]["path"] == path
    assert site.service.captured == []


@pytest.mark.parametrize("path", ["recordings", "transcription/start"])
async def test_a_further_one_is_asked_for_in_so_many_words(site: Site, path: str) -> None:
    session_id = await created(site)
    await site.client.post(f"/sessions/{session_id}/{path}", json={"additional": True})
    assert [one.options for one in site.service.captured] == [CaptureOptions(additional=True)]
    update = await site.client.post(f"/sessions/{await recorded(site)}/recordings/c1/update", json={"additional": True})
    assert assert_problem(update, 400, "invalid_request")["errors"][0]["path"] == "$.additional"


async def test_all_are_listed_and_each_is_read(site: Site) -> None:
    url = f"/sessions/{await recorded(site)}/recordings"
    listed = (await site.client.get(url)).json()
    assert [(one["recording_id"], one["status"], one["started_by"]) for one in listed["recordings"]] == [
        ("c1", "recording", "service"),
        ("r2", "starting", "other"),
    ]
    assert listed["total"] == 2
    assert (await site.client.get(f"{url}/c1")).json() == listed["recordings"][0]
    assert listed["recordings"][1]["requested_at"] is None


async def test_one_is_changed_and_stopped(site: Site) -> None:
    url = f"/sessions/{await recorded(site)}/recordings/c1"
    assert (await site.client.post(f"{url}/update", json={"fps": 10})).status_code == 200
    assert (await site.client.post(f"{url}/stop")).status_code == 200
    assert site.service.captured == [
        UpdateCapture(capture_id="c1", options=CaptureOptions(given={"fps": 10})),
        StopCapture(capture_id="c1"),
    ]
    assert_problem(await site.client.post(f"{url}/update", json={}), 400, "invalid_request")
    assert_problem(await site.client.post(f"{url}/update", json={"type": "cloud"}), 400, "invalid_request")


async def test_a_link_is_for_who_asks_and_for_nobody_s_cache(site: Site) -> None:
    session_id = await recorded(site)
    url = f"/sessions/{session_id}/recordings/c1/link"
    response = await site.client.get(url, params={"valid_for_s": "60"})
    assert response.json() == {
        "recording_id": "c1",
        "download_link": "https://files.example/r1?signature=x",
        "expires_at": "2026-01-01T11:00:00Z",
    }
    assert response.headers["cache-control"] == "no-store"
    assert site.service.captures.asked == [(session_id, "c1", 60)]
    for wrong in ("0", "604801", "1.5", ""):
        assert_problem(await site.client.get(url, params={"valid_for_s": wrong}), 400, "invalid_request")


async def test_one_is_deleted(site: Site) -> None:
    response = await site.client.delete(f"/sessions/{await recorded(site)}/recordings/c1")
    assert (response.status_code, response.json()["status"]) == (200, "deleted")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "/update"), ("POST", "/stop"), ("GET", "/link"), ("DELETE", "")],
)
async def test_what_is_not_there_is_not_found(site: Site, method: str, path: str) -> None:
    session_id = await recorded(site)
    response = await site.client.request(method, f"/sessions/{session_id}/recordings/c9{path}?x=1")
    assert_problem(response, 404, "recording_not_found")
    response = await site.client.request(method, f"/sessions/{uuid.uuid4()}/recordings/c1{path}")
    assert_problem(response, 404, "session_not_found")


async def test_a_session_whose_connector_was_taken_out_says_so_and_blames_no_field(site: Site) -> None:
    session_id = await created(site)
    site.service.refusal = errors.UnknownProvider("daily-eu", ("daily",))
    response = await site.client.post(f"/sessions/{session_id}/recordings")
    assert assert_problem(response, 503, "provider_not_served")["errors"] == []


async def test_no_worker_is_told_with_when_to_come_back(site: Site) -> None:
    session_id = await created(site)
    site.service.refusal = errors.ProviderBusy("daily", "no worker", 4.2)
    response = await site.client.post(f"/sessions/{session_id}/recordings")
    assert_problem(response, 503, "provider_busy")
    assert response.headers["retry-after"] == "5"


WRITTEN = attrs.evolve(RUNNING, id="t1", kind=CaptureKind.TRANSCRIPTION)


async def transcribed(site: Site) -> str:
    """The id of a session with recordings and a transcript."""
    session_id = await recorded(site)
    session = site.service.sessions[session_id]
    site.service.sessions[session_id] = attrs.evolve(session, captures=(*session.captures, WRITTEN))
    return session_id


async def test_a_transcription_is_started_changed_and_stopped(site: Site) -> None:
    session_id = await transcribed(site)
    url = f"/sessions/{session_id}/transcription"
    started = await site.client.post(f"{url}/start", json={"language": "de", "daily": {"new": 1}})
    assert (started.status_code, started.headers["location"]) == (201, f"/sessions/{session_id}/transcripts/c1")
    assert (started.json()["transcript_id"], started.json()["stored"]) == ("c1", True)
    assert (await site.client.post(f"{url}/update", json={"participant_ids": ["p1"]})).status_code == 200
    assert (await site.client.post(f"{url}/stop")).status_code == 200
    assert (await site.client.post(f"{url}/stop", json={"transcript_id": "t1"})).status_code == 200
    options = CaptureOptions(given={"language": "de"}, provider_options={"new": 1})
    changes = CaptureOptions(given={"participant_ids": ("p1",)})
    stop = StopCapture(kind=CaptureKind.TRANSCRIPTION, capture_id="t1")
    assert site.service.captured == [
        StartCapture(kind=CaptureKind.TRANSCRIPTION, options=options),
        UpdateCapture(kind=CaptureKind.TRANSCRIPTION, capture_id="t1", options=changes),
        *(stop, stop),
    ]
    assert_problem(await site.client.post(f"{url}/update", json={}), 400, "invalid_request")
    assert_problem(await site.client.post(f"{url}/start", json={"daily": {"instanceId": "x"}}), 400, "invalid_request")
    assert_problem(await site.client.post(f"{url}/stop", json={"transcript_id": "c1"}), 404, "transcript_not_found")


@pytest.mark.parametrize(("path", "body"), [("stop", {}), ("update", {"participant_ids": ["p1"]})])
async def test_where_nothing_is_transcribed_that_is_said(site: Site, path: str, body: Any) -> None:
    session_id = await recorded(site)
    url = f"/sessions/{session_id}/transcription/{path}"
    document = assert_problem(await site.client.post(url, json=body), 404, "transcript_not_found")
    assert document["detail"] == "nothing is transcribed in this session now"
    session = site.service.sessions[session_id]
    site.service.sessions[session_id] = attrs.evolve(session, status=SessionStatus.ENDED, ended_at=NOW)
    assert_problem(await site.client.post(url, json=body), 409, "session_ended")


async def test_transcripts_and_recordings_are_told_apart(site: Site) -> None:
    url = f"/sessions/{await transcribed(site)}"
    listed = (await site.client.get(f"{url}/transcripts")).json()
    assert [(one["transcript_id"], one["status"]) for one in listed["transcripts"]] == [("t1", "transcribing")]
    assert (await site.client.get(f"{url}/recordings")).json()["total"] == 2
    assert (await site.client.get(f"{url}/transcripts/t1")).json() == listed["transcripts"][0]
    link = (await site.client.get(f"{url}/transcripts/t1/link")).json()
    assert (link["transcript_id"], "recording_id" in link) == ("t1", False)
    assert (await site.client.delete(f"{url}/transcripts/t1")).json()["status"] == "deleted"
    assert_problem(await site.client.get(f"{url}/transcripts/c1/link"), 404, "transcript_not_found")
    assert_problem(await site.client.get(f"{url}/recordings/t1"), 404, "recording_not_found")


async def test_nothing_runs_that_could_be_stopped(site: Site) -> None:
    url = f"/sessions/{await recorded(site)}/transcription/stop"
    assert_problem(await site.client.post(url), 404, "transcript_not_found")
