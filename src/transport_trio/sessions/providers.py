"""What there is of each provider: for metrics, and at a start for the log where a connector is missing (ADR 0090)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from transport_trio.metrics import Metrics
from transport_trio.models import Session

log = logging.getLogger(__name__)


def watch_providers(
    metrics: Metrics,
    served: Collection[str],
    live: Callable[[], Iterable[Session]],
    owed: Callable[[], Mapping[str, int]],
) -> None:
    """Have the metrics tell of each provider that has a connector, and of each that once had one and left something.

    What is told here is all there will be: nothing begins at a provider without a connector.
    """
    unserved = {session.provider for session in live()} | owed().keys()
    for provider in {*served, *unserved}:
        sessions, rooms = metrics.provider_sessions.labels(provider), metrics.provider_rooms_owed.labels(provider)
        metrics.watch(sessions, partial(_count, provider, live))
        metrics.watch(rooms, partial(_owed_to, provider, owed))


def _count(provider: str, live: Callable[[], Iterable[Session]]) -> int:
    return sum(session.provider == provider for session in live())


def _owed_to(provider: str, owed: Callable[[], Mapping[str, int]]) -> int:
    return owed().get(provider, 0)


def tell_unserved(served: Collection[str], live: Iterable[Session], owed: Mapping[str, int]) -> None:
    """One line for each provider that has a session or a debt and no connector: nothing of it is done."""
    sessions = Counter(session.provider for session in live)
    for provider in sorted((sessions.keys() | owed.keys()) - set(served)):
        told = {"provider": provider, "sessions": sessions[provider], "rooms_owed": owed.get(provider, 0)}
        log.warning("provider without connector: sessions end by their own time, rooms stay", extra=told)
