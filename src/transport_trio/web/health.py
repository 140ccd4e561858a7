"""What operators and their machines ask: `/health`, `/ready` and `/metrics`. Open to all, whatever their query."""

from __future__ import annotations

import trio
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import MIMEAccept

from transport_trio import __version__
from transport_trio.models import CheckStatus
from transport_trio.web.answers import answer
from transport_trio.web.deps import WebDeps

SERVICE = "transport-service"
OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def register_health(app: QuartTrio, deps: WebDeps) -> None:
    @app.get("/health")
    async def health() -> Response:
        uptime_s = trio.current_time() - deps.started_at
        return answer(
            {"status": "healthy", "service": SERVICE, "version": __version__, "uptime_seconds": round(uptime_s, 3)}
        )

    @app.get("/ready")
    async def ready() -> Response:
        checks = deps.checks()
        failed = deps.stopping() or any(check.status is CheckStatus.FAILED for check in checks)
        shown = [{"name": each.name, "status": each.status, "message": each.message} for each in checks]
        body = {"status": "not_ready" if failed else "ready", "service": SERVICE, "checks": shown}
        return answer(body, 503 if failed else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        if wants_openmetrics(request.accept_mimetypes):
            body = openmetrics.generate_latest(deps.metrics.registry)  # type: ignore[no-untyped-call]
            return Response(body, content_type=OPENMETRICS_TYPE)
        body = exposition.generate_latest(deps.metrics.registry)
        return Response(body, content_type=exposition.CONTENT_TYPE_PLAIN_0_0_4)


def wants_openmetrics(accept: MIMEAccept) -> bool:
    """Whether OpenMetrics is named, and not wanted less than plain text is."""
    quality = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for media_type, weight in accept:
        name = media_type.partition(";")[0].strip().lower()
        if name in quality:
            quality[name] = max(quality[name], weight)
    return quality["application/openmetrics-text"] > 0 and (
        quality["application/openmetrics-text"] >= quality["text/plain"]
    )
