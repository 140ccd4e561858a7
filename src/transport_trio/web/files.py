"""How many connections fit into the files that the process may have open."""

from __future__ import annotations

import logging
import resource
import sys

import attrs

from transport_trio.settings import Settings

log = logging.getLogger(__name__)

# For the journal, the provider, NATS, and connections that are being refused.
FILES_KEPT = 256
# More for each further connector: 16 requests of each of the five kinds that come in numbers.
FILES_OF_A_CONNECTOR = 80
REST_SHARE = 5  # one connection in so many is for those who are no listeners: /health, at the least


def fit_open_files(settings: Settings) -> Settings:
    """The settings with no more connections and listeners than fit; the soft limit of open files is raised first."""
    kept = FILES_KEPT + FILES_OF_A_CONNECTOR * (len(settings.daily_connectors) - 1)
    files = _raise_limit(settings.connections_max + kept)
    connections = min(settings.connections_max, max(files - kept, files // 2))
    listeners = min(settings.listeners_max, connections - connections // REST_SHARE)
    if (connections, listeners) != (settings.connections_max, settings.listeners_max):
        told = {"connections_max": connections, "listeners_max": listeners, "open_files_max": files}
        log.info("limits lowered to what fits", extra=told)
    return attrs.evolve(settings, connections_max=connections, listeners_max=listeners)


def _raise_limit(wanted: int) -> int:
    """Have the process allowed `wanted` open files, or as many as can be; how many it is."""
    soft, hard = (sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in _limits())
    if soft >= wanted:
        return soft
    more = min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, _limits()[1]))
    except (ValueError, OSError):  # macOS has a further limit of its own
        return soft
    return more


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
