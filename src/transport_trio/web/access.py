"""Tells of requests: a count by route and status, and a log line if that is wanted."""

from __future__ import annotations

import logging

import attrs

from transport_trio.metrics import Metrics

log = logging.getLogger("transport_trio.access")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@attrs.frozen
class Access:
    metrics: Metrics
    wants_lines: bool

    def tell(self, *, method: str, route: str, path: str, status: str, duration_s: float, client: str | None) -> None:
        """A request was answered. `route` is of a closed set; `path` comes without the query, which may hold a key."""
        self.metrics.http_requests.labels(counted(method), route, status).inc()
        if self.wants_lines:
            log.info(
                "request",
                extra={
                    "method": method,
                    "path": path,
                    "status": int(status),
                    "duration_s": round(duration_s, 6),
                    "client": client,
                },
            )


def counted(method: str) -> str:
    """The method as a label: anybody can send any word for one."""
    return method if method in METHODS else "other"
