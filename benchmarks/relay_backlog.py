"""How fast the relay works off a backlog: journal to acknowledged message, with bookmark and fences, nothing left out.

    python benchmarks/relay_backlog.py
    python benchmarks/relay_backlog.py --events 10000 --sessions 1 8 64 --nats-url nats://127.0.0.1:4222

Without `--nats-url` the server is the embedded one, which has each message on the disk before its ack. The stream of a
given server is used as it is, and grows; the first look into what others wrote there is part of what is measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import trio
import trio_asyncio
from prometheus_client import CollectorRegistry

from harness import Progress, arguments, plot, report
from transport_trio.bus import Relay, open_embedded_nats, open_nats
from transport_trio.concurrency import SystemClock
from transport_trio.events import Event, SessionUpdated
from transport_trio.journal import open_journal
from transport_trio.metrics import Metrics
from transport_trio.models import Participant, SessionId, SessionStatus, new_session_id
from transport_trio.ports import Change

KEEP_S = 604800
COMMIT_EVENTS = 200


def an_event(session_id: SessionId) -> Event:
    """Some 500 bytes of JSON: four people in a room."""
    now = datetime.now(UTC)
    people = tuple(Participant(id=f"participant-{n}", user_id=f"u{n}", name="Ada", joined_at=now) for n in range(4))
    return SessionUpdated(session_id=session_id, time=now, status=SessionStatus.ACTIVE, participants=people)


async def measure(nats_url: str | None, sessions: int, events: int) -> dict[str, Any]:
    metrics = Metrics.create(CollectorRegistry())
    with tempfile.TemporaryDirectory(prefix="transport-trio-bench-") as folder:
        keeping = {"max_mib": 1024, "events_keep_s": KEEP_S, "sessions_keep_s": KEEP_S}
        async with (
            trio_asyncio.open_loop(),
            _server(nats_url, Path(folder) / "nats", metrics) as url,
            open_journal(Path(folder) / "data", metrics=metrics, clock=SystemClock(), **keeping) as journal,
            open_nats(url) as bus,
            trio.open_nursery() as nursery,
        ):
            turns = cycle([new_session_id() for _ in range(sessions)])
            for done in range(0, events, COMMIT_EVENTS):
                some = islice(turns, min(COMMIT_EVENTS, events - done))
                await journal.commit(Change(events=tuple(an_event(session_id) for session_id in some)))
            await bus.wait_ready()
            relay = Relay(journal, bus, metrics, on_rollback=journal.begin_new_epoch)
            began, used_before_s = time.perf_counter(), time.process_time()
            nursery.start_soon(relay.run)
            nursery.start_soon(show, relay, Progress(f"{sessions} sessions", events), events)
            await relay.drain()
            took_s, used_s = time.perf_counter() - began, time.process_time() - used_before_s
            nursery.cancel_scope.cancel(reason="measured")
    return {
        "sessions": sessions,
        "events": events,
        "per second": events / took_s,
        "ms each": took_s / events * 1000,
        "CPU ms each": used_s / events * 1000,
    }


async def show(relay: Relay, progress: Progress, events: int) -> None:
    while True:
        await trio.sleep(0.2)
        progress.show(events - relay.pending)


@asynccontextmanager
async def _server(url: str | None, folder: Path, metrics: Metrics) -> AsyncIterator[str]:
    if url is not None:
        yield url
        return
    async with open_embedded_nats(folder, 0, metrics=metrics) as embedded:
        yield embedded


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--events", type=int, default=3000, help="events in the backlog of each row")
    parser.add_argument(
        "--sessions", type=int, nargs="+", default=[1, 8, 64], help="sessions they belong to, a row each"
    )
    parser.add_argument("--nats-url", help="a server to use instead of the embedded one")
    options = parser.parse_args()
    rows = [trio.run(measure, options.nats_url, sessions, options.events) for sessions in options.sessions]
    report("relay_backlog", rows, options)
    if options.plot:
        plot(options.plot, "Working off a backlog", "sessions", ["per second"], rows, unit="events a second")


if __name__ == "__main__":
    main()
