"""`POST /webhooks/{provider}`: what providers push. They sign what they send, so no key is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.concurrency import Seldom
from transport_trio.errors import WebhookRefused
from transport_trio.metrics import Metrics
from transport_trio.models import Push, PushKind
from transport_trio.ports import WebhookDoor
from transport_trio.web.answers import answer
from transport_trio.web.body import body_of
from transport_trio.web.deps import WebDeps
from transport_trio.web.problems import UnknownPath

log = logging.getLogger(__name__)

RULE = "/webhooks/<provider>"


def register_webhooks(app: QuartTrio, deps: WebDeps) -> None:
    complaints = Seldom()  # anybody can come without a signature, at any pace

    @app.post(RULE)
    async def receive(provider: str) -> Response:
        door = deps.doors.get(provider)
        if door is None:
            raise UnknownPath("no provider of this name pushes to us")
        # Whatever it calls itself: Daily was seen to label JSON as text.
        body = await body_of(request).read(deps.settings.body_timeout_s)
        headers = {name.lower(): value for name, value in request.headers.items()}
        push = _read(door, provider, headers, body, deps, complaints)
        if push.capture is not None:
            _count(deps.metrics, provider, push, deps.service.captures.hear(provider, push.capture))
        elif push.room_name is None or push.kind not in {PushKind.NEWS, PushKind.OTHER}:
            _count(deps.metrics, provider, push, push.kind)
        elif deps.service.hear(provider, push.room_name, push.news):
            _count(deps.metrics, provider, push, "taken")
        else:
            # Of all rooms of the domain we are told, also of those of others.
            _count(deps.metrics, provider, push, "foreign")
        return answer({})


def _read(
    door: WebhookDoor, provider: str, headers: Mapping[str, str], body: bytes, deps: WebDeps, complaints: Seldom
) -> Push:
    now = deps.clock.now()
    try:
        push = door.read(headers, body, now)
    except WebhookRefused as exc:
        deps.metrics.webhooks.labels(provider, "unknown", "refused").inc()
        if complaints.is_due():
            told = {"provider": provider, "client": request.remote_addr, "error": str(exc)}
            log.warning("webhook refused", extra=told)
        raise
    if push.sent_at is not None:
        deps.metrics.webhook_delay.labels(provider).observe(max((now - push.sent_at).total_seconds(), 0.0))
    if push.kind is PushKind.UNREADABLE:
        log.warning("webhook makes no sense", extra={"provider": provider, "type": push.type, "bytes": len(body)})
    return push


def _count(metrics: Metrics, provider: str, push: Push, outcome: str) -> None:
    metrics.webhooks.labels(provider, push.type, outcome).inc()
