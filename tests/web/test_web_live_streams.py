"""`/sessions/{id}/live-streams` over real HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import pytest
from web_rig import NOW, Site, assert_problem, created

from transport_trio import errors
from transport_trio.models import Capture, CaptureKind, CaptureOptions, CaptureStatus
from transport_trio.sessions import StartCapture, StopCapture, UpdateCapture

KIND = CaptureKind.LIVE_STREAM
URL = "rtmp://me:pw@live.example:1935/app/k3y"
RUNNING = Capture(
    id="s1",
    kind=KIND,
    status=CaptureStatus.RUNNING,
    asked_at=NOW,
    started_at=NOW,
    stored=False,
    destinations=("live.example",),
)
RECORDED = Capture(id="c9", kind=CaptureKind.RECORDING, asked_at=NOW)


async def streamed(site: Site) -> str:
    """The path of the live streams of a session that has one, and a recording."""
    session_id = await created(site)
    session = site.service.sessions[session_id]
    site.service.sessions[session_id] = attrs.evolve(session, captures=(RUNNING, RECORDED))
    return f"/sessions/{session_id}/live-streams"


async def test_one_is_started_and_its_key_goes_no_further(site: Site) -> None:
    url = f"/sessions/{await created(site)}/live-streams"
    body = {"rtmp_urls": [URL], "layout": {"preset": "default"}, "width": 1280, "daily": {"new": 1}}
    response = await site.client.post(url, json=body)
    assert (response.status_code, response.headers["location"]) == (201, f"{url}/c1")
    assert "k3y" not in response.text
    [action] = site.service.captured
    given: dict[str, Any] = {"rtmp_urls": [URL], "layout": {"preset": "default"}, "width": 1280}
    options = CaptureOptions(given=given, provider_options={"new": 1}, destinations=("live.example",))
    assert action == StartCapture(kind=KIND, options=options)


async def test_it_can_go_to_endpoints_known_to_the_provider(site: Site) -> None:
    body = {"endpoints": ["tv", "radio"], "additional": True}
    await site.client.post(f"/sessions/{await created(site)}/live-streams", json=body)
    options = CaptureOptions(given={"endpoints": ["tv", "radio"]}, additional=True, destinations=("tv", "radio"))
    assert site.service.captured == [StartCapture(kind=KIND, options=options)]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (None, "$.rtmp_urls"),
        ({}, "$.rtmp_urls"),
        ({"rtmp_urls": [URL], "endpoints": ["tv"]}, "$.rtmp_urls"),
        ({"rtmp_urls": []}, "$.rtmp_urls"),
        ({"rtmp_urls": [URL] * 11}, "$.rtmp_urls"),
        ({"rtmp_urls": [URL, "http://live.example/k3y"]}, "$.rtmp_urls[1]"),
        ({"rtmp_urls": ["rtmp:///k3y"]}, "$.rtmp_urls[0]"),
        ({"rtmp_urls": ["rtmp://host/k3y\n"]}, "$.rtmp_urls[0]"),
        ({"rtmp_urls": ["rtmp://host:99999/k3y"]}, "$.rtmp_urls[0]"),
        ({"rtmp_urls": "rtmp://host/k3y"}, "$.rtmp_urls"),
        ({"endpoints": [URL]}, "$.endpoints[0]"),
        ({"rtmp_urls": [URL], "fps": 0}, "$.fps"),
        ({"rtmp_urls": [URL], "layout": {}}, "$.layout.preset"),
        ({"rtmp_urls": [URL], "type": "cloud"}, "$.type"),
        ({"rtmp_urls": [URL], "daily": {"instanceId": "mine"}}, "$.daily.instanceId"),
    ],
)
async def test_what_makes_no_sense_is_named_and_not_repeated(site: Site, body: Any, path: str) -> None:
    url = f"/sessions/{await created(site)}/live-streams"
    response = await (site.client.post(url) if body is None else site.client.post(url, json=body))
    assert assert_problem(response, 400, "invalid_request")["errors"][0]["path"] == path
    assert "k3y" not in response.text
    assert site.service.captured == []


async def test_all_are_listed_and_each_is_read(site: Site) -> None:
    url = await streamed(site)
    listed = (await site.client.get(url)).json()
    assert listed == {
        "live_streams": [
            {
                "stream_id": "s1",
                "status": "running",
                "destinations": ["live.example"],
                "started_by": "service",
                "requested_at": "2026-01-01T11:00:00Z",
                "started_at": "2026-01-01T11:00:00Z",
                "ended_at": None,
                "error": None,
            }
        ],
        "total": 1,
    }
    assert (await site.client.get(f"{url}/s1")).json() == listed["live_streams"][0]


async def test_one_is_changed_and_stopped(site: Site) -> None:
    url = f"{await streamed(site)}/s1"
    assert (await site.client.post(f"{url}/update", json={"fps": 10})).status_code == 200
    assert (await site.client.post(f"{url}/stop")).status_code == 200
    assert site.service.captured == [
        UpdateCapture(kind=KIND, capture_id="s1", options=CaptureOptions(given={"fps": 10})),
        StopCapture(kind=KIND, capture_id="s1"),
    ]
    for wrong in ({}, {"rtmp_urls": [URL]}):
        assert_problem(await site.client.post(f"{url}/update", json=wrong), 400, "invalid_request")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/update"), ("POST", "/stop")])
async def test_what_is_not_there_is_not_found(site: Site, method: str, path: str) -> None:
    url = await streamed(site)
    for id_ in ("s9", "c9"):
        response = await site.client.request(method, f"{url}/{id_}{path}?x=1")
        assert_problem(response, 404, "live_stream_not_found")
    response = await site.client.request(method, f"/sessions/{uuid.uuid4()}/live-streams/s1{path}")
    assert_problem(response, 404, "session_not_found")


async def test_no_worker_is_told_with_when_to_come_back(site: Site) -> None:
    url = await streamed(site)
    site.service.refusal = errors.ProviderBusy("daily", "no worker", 4.2)
    response = await site.client.post(url, json={"rtmp_urls": [URL]})
    assert_problem(response, 503, "provider_busy")
    assert response.headers["retry-after"] == "5"
