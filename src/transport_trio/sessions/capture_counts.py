"""What has become of a session's recordings and the like, for those who watch over all sessions."""

from __future__ import annotations

import logging
from datetime import timedelta

from transport_trio.metrics import Metrics
from transport_trio.models import CaptureKind, CaptureStatus, Session

log = logging.getLogger(__name__)


def count_changes(metrics: Metrics, before: Session | None, session: Session) -> None:
    """Count what has become of a session's captures with this commit."""
    known = {one.id: one for one in before.captures} if before is not None else {}
    for kind in _never_started(before, session):
        metrics.capture_errors.labels(kind=kind).inc()
        log.warning("auto start did not happen", extra={"session_id": session.id, "kind": kind})
    for capture in session.captures:
        earlier = known.get(capture.id)
        if earlier is not None and earlier.status is capture.status:
            continue
        if capture.status is CaptureStatus.ERROR:
            metrics.capture_errors.labels(kind=capture.kind).inc()
        elif capture.status is CaptureStatus.READY and capture.ready_at is not None:
            since = capture.stopped_at or capture.asked_at
            waited = max(capture.ready_at - since, timedelta())
            metrics.capture_ready_seconds.labels(kind=capture.kind).observe(waited.total_seconds())


def _never_started(before: Session | None, session: Session) -> tuple[CaptureKind, ...]:
    """What should have started by itself, and was found by now not to have."""
    checked = before.auto_starts_checked if before is not None else session.auto_starts_checked
    of_kinds = {one.kind for one in session.captures}
    return tuple(kind for kind in session.auto_starts_checked if kind not in checked and kind not in of_kinds)
