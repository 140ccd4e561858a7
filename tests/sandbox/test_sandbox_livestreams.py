"""Live streams: where to, how long, and what webhooks are told of them."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox_studio import OTHER, MakeStudio, Studio

from transport_trio.sandbox.captures import INSTANCE

RTMP = {"rtmpUrl": "rtmp://live.example/key"}
ENDPOINTS = [{"name": "tv", "type": "rtmp", "rtmp_config": {"url": "rtmp://live.example/key"}}]


@pytest.fixture
def studio(make_studio: MakeStudio) -> Studio:
    return make_studio({"streaming_endpoints": ENDPOINTS}, events="streaming")


def test_one_from_its_start_to_its_end(studio: Studio) -> None:
    assert studio.do("start_live_stream", **RTMP) == {"sent": "true"}
    assert "has an active stream" in str(studio.refused("start_live_stream", **RTMP))
    studio.do("start_live_stream", endpoints=[{"endpoint": "tv"}], instanceId=OTHER)
    studio.pass_s(1)
    assert studio.do("update_live_stream", layout={"preset": "active-participant"}) == {"sent": "true"}
    assert studio.do("stop_live_stream") == {"sent": "true"}
    assert studio.refused("stop_live_stream").status == studio.refused("update_live_stream").status == 400
    assert studio.types == ["started", "started", "updated", "ended"]
    assert studio.events[2]["payload"] == {
        "timestamp": int(studio.core.clock()),
        "instance_id": INSTANCE,
        "domain_id": studio.sandbox.config.domain_id,
        "room_name": "hello",
        "layout": {"preset": "active-participant"},
    }
    studio.room.call.end(studio.core.clock())
    assert studio.types[-1] == "ended"
    assert studio.events[-1]["payload"]["instance_id"] == OTHER
    studio.pass_s(1)
    assert not studio.sandbox.captures.any_open


def test_it_lasts_at_most_so_long(studio: Studio) -> None:
    studio.do("start_live_stream", **RTMP, maxDuration=60)
    studio.pass_s(1)
    studio.pass_s(60)
    assert studio.types == ["started", "ended"]


def test_an_error_ends_it_and_says_why(studio: Studio) -> None:
    studio.do("start_live_stream", **RTMP)
    studio.pass_s(1)
    [capture] = studio.sandbox.captures.all_open(studio.room)
    studio.sandbox.captures.fail(capture, "nobody listens there", studio.core.clock())
    assert studio.types == ["started", "error"]
    assert studio.events[-1]["payload"]["error_message"] == "nobody listens there"
    studio.do("start_live_stream", **RTMP)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "rtmpUrl or endpoints is required"),
        ({"rtmpUrl": "http://live.example"}, "RTMP address"),
        ({"rtmpUrl": []}, "RTMP address"),
        ({"endpoints": []}, "array of endpoints"),
        ({"endpoints": [{"name": "tv"}]}, "invalid property name"),
        ({"endpoints": [{"endpoint": "radio"}]}, "no streaming endpoint named 'radio'"),
        ({**RTMP, "type": "cloud"}, "invalid property name 'type'"),
    ],
)
def test_what_leads_nowhere_is_refused(studio: Studio, body: dict[str, Any], told: str) -> None:
    assert told in str(studio.refused("start_live_stream", **body))
    assert not studio.sandbox.captures.any_open


@pytest.mark.parametrize("operation", ["start_live_stream", "update_live_stream", "stop_live_stream"])
def test_nobody_there_is_404(studio: Studio, operation: str) -> None:
    studio.room.call.end(studio.core.clock())
    assert studio.refused(operation).status == 404
