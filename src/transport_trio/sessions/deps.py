"""What the tasks of a session share: the ports they speak to and the numbers they go by."""

from __future__ import annotations

import random

import attrs

from transport_trio.concurrency import Clock, RestartPolicy
from transport_trio.metrics import Metrics
from transport_trio.ports import Connectors, Journal
from transport_trio.sessions.lifecycle import Policy
from transport_trio.settings import Settings

# Daily's presence was measured to be up to 25 s late.
GRACE_S = 30.0


@attrs.frozen(kw_only=True)
class Deps:
    journal: Journal
    connectors: Connectors
    clock: Clock
    metrics: Metrics
    settings: Settings
    # Spreads polls and retries; no secret comes from it.
    jitter: random.Random = attrs.field(factory=random.Random)
    restarts: RestartPolicy = attrs.field(factory=RestartPolicy)

    @property
    def policy(self) -> Policy:
        return Policy(
            confirm_s=self.settings.presence_confirm_s,
            token_warning_s=self.settings.token_warning_s,
            grace_s=GRACE_S,
        )
