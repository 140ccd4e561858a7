"""The service's own hub and WebSocket lane, published to through lines on standard input, without REST and journal.

It is what the other servers of the comparison are: events come from nowhere and go to everybody. With the file of a
certificate and its key it speaks TLS.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio
from prometheus_client import CollectorRegistry

from transport_trio.concurrency import SystemClock
from transport_trio.events import EventType, RecordedEvent
from transport_trio.hub import Hub, open_hub
from transport_trio.metrics import Metrics
from transport_trio.models import SessionId
from transport_trio.settings import Settings
from transport_trio.web import KeyRing, WebDeps, serve


class NoJournal:
    epoch = "bench"
    head = 0


async def publish(hub: Hub, size_bytes: int) -> None:
    """For each line a commit of so many events, all at once."""
    event_id = 0
    lines = trio.lowlevel.FdStream(0)
    buffer = b""
    async for data in lines:
        buffer += data
        *counts, buffer = buffer.split(b"\n")
        for count in counts:
            events = []
            for _ in range(int(count)):
                event_id += 1
                events.append(event(event_id, size_bytes))
            hub.tell(events)


def event(event_id: int, size_bytes: int) -> RecordedEvent:
    body = b'{"type":"session_updated","id":%d,"pad":"' % event_id
    body += b"x" * (size_bytes - len(body) - 2) + b'"}'
    return RecordedEvent(event_id, SessionId("s"), EventType.SESSION_UPDATED, datetime.now(UTC), body)


async def main(port: int, size_bytes: int, certificate: Path | None) -> None:
    settings = Settings(port=port, listeners_max=20_000, connections_max=20_000, tls_certificate_file=certificate)
    journal: Any = NoJournal()
    metrics = Metrics.create(CollectorRegistry())
    async with open_hub(journal, metrics, settings) as hub, trio.open_nursery() as nursery:
        deps = WebDeps(
            settings=settings,
            service=None,  # type: ignore[arg-type] # nobody asks for it
            journal=journal,
            hub=hub,
            metrics=metrics,
            keys=KeyRing(()),
            clock=SystemClock(),
            checks=list,
            started_at=trio.current_time(),
            stopping=lambda: False,
        )
        await nursery.start(partial(serve, deps, stop=trio.Event()))
        await publish(hub, size_bytes)
        nursery.cancel_scope.cancel(reason="nobody publishes any more")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
