"""What the web rooms are made with; the runtime fills it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from transport_trio.concurrency import Clock
from transport_trio.hub import Hub
from transport_trio.metrics import Metrics
from transport_trio.models import Check
from transport_trio.ports import Journal, WebhookDoor
from transport_trio.sessions import SessionService
from transport_trio.settings import Settings
from transport_trio.web.access import Access
from transport_trio.web.auth import KeyRing


@attrs.frozen(kw_only=True)
class WebDeps:
    """`started_at` is a point on Trio's clock. `checks` are the lines of `/ready`; `stopping` makes it 503.

    `doors` are where providers push to, by provider.
    """

    settings: Settings
    service: SessionService
    journal: Journal
    hub: Hub
    metrics: Metrics
    keys: KeyRing
    clock: Clock
    checks: Callable[[], list[Check]]
    started_at: float
    stopping: Callable[[], bool]
    doors: Mapping[str, WebhookDoor] = attrs.field(factory=dict)

    @property
    def access(self) -> Access:
        """What tells of requests."""
        return Access(self.metrics, wants_lines=self.settings.access_log)
