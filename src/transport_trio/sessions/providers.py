"""What there is of each provider: for metrics, and at a start for the log where a connector is missing (ADR 0090)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from transport_trio.models import Session
from transport_trio.sessions.deps import Deps

log = logging.getLogger(__name__)


def watch_providers(deps: Deps, live: Callable[[], Iterable[Session]], owed: Callable[[], Mapping[str, int]]) -> None:
    """Have the metrics tell of each provider, and the log of each that has a session or a debt and no connector.

    What is told at the start is all there will be: nothing begins at a provider without a connector.
    """
    served = deps.connectors.names
    unserved = ({session.provider for session in live()} | owed().keys()) - set(served)
    for provider in sorted({*served, *unserved}):
        count, count_owed = partial(_count, provider, live), partial(_owed_to, provider, owed)
        deps.metrics.watch(deps.metrics.provider_sessions.labels(provider), count)
        deps.metrics.watch(deps.metrics.provider_rooms_owed.labels(provider), count_owed)
        if provider in unserved:
            told = {"provider": provider, "sessions": count(), "rooms_owed": count_owed()}
            log.warning("provider without connector: sessions end by their own time, rooms stay", extra=told)


def _count(provider: str, live: Callable[[], Iterable[Session]]) -> int:
    return sum(session.provider == provider for session in live())


def _owed_to(provider: str, owed: Callable[[], Mapping[str, int]]) -> int:
    return owed().get(provider, 0)
