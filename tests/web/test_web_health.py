"""`/health`, `/ready` and `/metrics`."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from web_rig import MINIMAL, Site
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from transport_trio import __version__
from transport_trio.errors import StorageUnavailable
from transport_trio.models import Check, CheckStatus
from transport_trio.web.health import wants_openmetrics

# --- health and readiness


async def test_a_process_that_lives_is_healthy_whatever_else_is_not(site: Site) -> None:
    site.checks[:] = [Check("journal", CheckStatus.FAILED, "disk full")]
    site.journal.unavailable = "the disk is gone"
    site.service.failure = StorageUnavailable("the disk is gone")
    site.stopping = True
    response = await site.client.get("/health?cache=buster")
    assert response.status_code == 200
    body = response.json()
    assert 0 <= body.pop("uptime_seconds") < 60
    assert body == {"status": "healthy", "service": "transport-service", "version": __version__}


@pytest.mark.parametrize("status", [CheckStatus.OK, CheckStatus.DEGRADED, CheckStatus.OFF])
async def test_what_has_not_failed_is_ready(site: Site, status: CheckStatus) -> None:
    site.checks[:] = [Check("journal", CheckStatus.OK), Check("nats", status, "a reason")]
    response = await site.client.get("/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "service": "transport-service",
        "checks": [
            {"name": "journal", "status": "ok", "message": ""},
            {"name": "nats", "status": status.value, "message": "a reason"},
        ],
    }


async def test_one_failed_check_is_not_ready(site: Site) -> None:
    site.checks.append(Check("daily", CheckStatus.FAILED, "starting"))
    response = await site.client.get("/ready")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert response.json()["status"] == "not_ready"
    assert {"name": "daily", "status": "failed", "message": "starting"} in response.json()["checks"]


async def test_a_service_that_stops_is_not_ready(site: Site) -> None:
    site.stopping = True
    assert (await site.client.get("/ready")).status_code == 503


# --- metrics

OPENMETRICS = "application/openmetrics-text"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (OPENMETRICS, True),
        (PROMETHEUS, True),
        ("Application/OpenMetrics-Text; version=99.x", True),
        ("text/plain;q=0.9, application/openmetrics-text", True),
        ("", False),
        ("*/*", False),
        ("text/html, */*;q=0.8", False),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=maybe;;;=,,", False),
        (";;;\xff", False),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(parse_accept_header(accept, MIMEAccept)) is wanted


async def test_metrics_are_prometheus_text_by_default(site: Site) -> None:
    response = await site.client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name for family in read_text(response.text)}
    assert {"active_sessions", "registered_connectors", "pending_messages", "delivered_messages"} <= families
    assert "delivered_messages_total 0.0" in response.text


async def test_metrics_are_openmetrics_when_asked_for(site: Site) -> None:
    response = await site.client.get("/metrics", headers={"Accept": PROMETHEUS})
    assert response.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert response.text.endswith("# EOF\n")
    assert "delivered_messages" in {family.name for family in read_openmetrics(response.text)}


async def test_a_request_is_counted_by_its_route_and_status_and_never_by_its_path(site: Site) -> None:
    session_id = (await site.client.post("/sessions", json=MINIMAL)).json()["session_id"]
    for method, path in (
        ("GET", f"/sessions/{session_id}"),
        ("GET", "/sessions/nobody"),
        ("GET", "/some/where"),
        ("GET", "/else"),
        ("PUT", "/sessions"),
        ("BREW", "/sessions"),
        ("GET", "/ws"),
    ):
        await site.client.request(method, path)

    def counted(method: str, route: str, status: int) -> float:
        return site.count("transport_http_requests_total", method=method, route=route, status=str(status))

    assert counted("POST", "/sessions", 201) == 1
    assert counted("GET", "/sessions/<session_id>", 200) == 1
    assert counted("GET", "/sessions/<session_id>", 404) == 1
    assert counted("GET", "unknown", 404) == 2
    assert counted("PUT", "unknown", 405) == 1
    assert counted("other", "unknown", 405) == 1
    assert counted("GET", "/ws", 426) == 1
    assert site.count("transport_http_seconds_count", method="GET", route="/sessions/<session_id>") == 2
    assert session_id not in (await site.client.get("/metrics")).text


@pytest.mark.tools
async def test_promtool_finds_nothing_to_say(site: Site) -> None:
    await site.client.post("/sessions", json=MINIMAL)
    text = (await site.client.get("/metrics")).text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)  # noqa: ASYNC221 -- it takes a moment, and nothing else runs here
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
