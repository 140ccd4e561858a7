"""What the tasks of a session share: the ports they speak to and the numbers they go by."""

from __future__ import annotations

import random
from collections.abc import Iterable

import attrs

from transport_trio.concurrency import Clock, RestartPolicy
from transport_trio.metrics import Metrics
from transport_trio.models import Claim, Room, SessionId, new_session_id
from transport_trio.ports import Connectors, Journal, Ownership
from transport_trio.sessions.lifecycle import Policy
from transport_trio.settings import Settings

# Daily's presence was measured to be up to 25 s late.
GRACE_S = 30.0


class NothingProven:
    """Ownership where there is no data folder to keep the keys: no room is known to be ours."""

    def new_id(self, room_prefix: str) -> SessionId:
        return new_session_id()

    def claim(self, room: Room) -> Claim:
        return Claim.FOREIGN

    def doubt(self, rooms: Iterable[Room]) -> None:
        """There is nothing to doubt."""


@attrs.frozen(kw_only=True)
class Deps:
    journal: Journal
    connectors: Connectors
    clock: Clock
    metrics: Metrics
    settings: Settings
    ownership: Ownership = attrs.field(factory=NothingProven)
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
