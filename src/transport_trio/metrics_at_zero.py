"""Series that are there before anything has happened.

Prometheus' `increase()` knows of nothing before a series' first sample: the first failure would be seen by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transport_trio.metrics import Metrics

Values = Mapping[str, tuple[str, ...]]

# By field of `Metrics`: what each label can be. tests/cli/test_cli_deploy.py holds them to the enums they are of.
AT_START: Mapping[str, Values] = {
    "http_refused": {
        "reason": (
            *("not_http", "tls", "not_tls", "handshake", "upgrade", "head_too_large", "head_too_slow"),
            *("not_supported", "unread", "crowded", "full", "no_files"),
        )
    },
    "capture_errors": {"kind": ("recording", "transcription", "live_stream")},
    "listeners_dropped": {
        "reason": (
            *("stopping", "protocol", "not_utf8", "too_big"),
            *("too_slow", "bad_messages", "silent", "flooding"),
        )
    },
    "listener_gaps": {"reason": ("pruned", "epoch", "ahead")},
    "commit_failures": {"reason": ("full", "io", "read_only", "damaged", "other", "conflict")},
    "journal_rollbacks": {"noticed_by": ("witness", "stream")},
    "bus_publish_failures": {"reason": ("unavailable", "out_of_sequence")},
    "task_restarts": {"task": ("session", "nats-server")},
}
# Likewise, and for each provider that has a connector.
OF_PROVIDER: Mapping[str, Values] = {
    "webhooks": {"type": ("unknown",), "outcome": ("refused",)},
    "webhook_repairs": {},
    "tokens": {"by": ("provider", "service")},
    "orphan_rooms_deleted": {},
    "orphan_sweep_failures": {},
    "presence_polls": {"outcome": ("room_missing",)},
    "provider_requests": {"operation": ("check", "presence", "domain_presence"), "outcome": ("rejected",)},
}


def begin_at_zero(metrics: Metrics, provider: str | None = None) -> None:
    """Have the series of the service, or of that provider, be there."""
    table = AT_START if provider is None else OF_PROVIDER
    for field, values in table.items():
        for labels in _each(values):
            getattr(metrics, field).labels(**labels, **({} if provider is None else {"provider": provider}))


def _each(values: Values) -> Iterator[dict[str, str]]:
    for chosen in product(*values.values()):
        yield dict(zip(values, chosen, strict=True))
