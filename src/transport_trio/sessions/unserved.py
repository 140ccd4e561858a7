"""Sessions and debts of a connector that was there when they came to be, and is not any more (ADR 0090)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from transport_trio.models import Session

log = logging.getLogger(__name__)


def tell_unserved(served: Collection[str], sessions: Iterable[Session], owed: Mapping[str, int]) -> None:
    """One line for each provider that has a session or a debt and no connector: nothing of it is done."""
    live = Counter(session.provider for session in sessions)
    for provider in sorted((live.keys() | owed.keys()) - set(served)):
        told = {"provider": provider, "sessions": live[provider], "rooms_owed": owed.get(provider, 0)}
        log.warning("provider without connector: sessions end by their own time, rooms stay", extra=told)
