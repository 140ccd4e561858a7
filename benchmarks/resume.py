"""Listeners that all come back at once from far behind, as after a restart of the service.

    python benchmarks/resume.py
    python benchmarks/resume.py --listeners 100 1000 --events 10000 --json resume.json --plot resume.png

First so many events are made (sessions created and ended; three each). Then all listeners connect with `after=0`, and
it is measured how long it takes until the last of them has everything, and what it costs the service.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import httpx
import trio

from harness import LOAD_CORE, Progress, Target, arguments, cpu_s, pin, plot, report, rss_bytes, running_service
from sink import listening

CALLERS = 8
PATIENCE_S = 300.0


async def make_events(target: Target, wanted: int) -> int:
    """Create and end sessions until there are so many events; how many there are."""
    progress = Progress("events", wanted)
    head = 0

    async def caller() -> None:
        nonlocal head
        while head < wanted:
            made = (await client.post("/sessions", json={"provider": "daily"})).raise_for_status().json()
            (await client.delete(f"/sessions/{made['session_id']}")).raise_for_status()
            head = int((await client.get("/events", params={"after": head})).json()["last_event_id"])
            progress.show(min(head, wanted))

    async with httpx.AsyncClient(base_url=target.url, timeout=60) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(caller)
        while (page := (await client.get("/events", params={"after": head, "limit": 500})).json())["events"]:
            head = int(page["last_event_id"])
    return head


def measure(target: Target, listeners: int, events: int) -> dict[str, Any]:
    before_bytes, cpu_before_s = rss_bytes(target.pid), cpu_s(target.pid)
    began = time.time()
    with listening(target.port, "/ws?after=0", listeners) as sink:
        due = listeners * (events + 1)  # and the welcome
        while (heard := sink.heard()).messages < due:
            if time.time() > began + PATIENCE_S or heard.lost:
                raise SystemExit(f"{heard.messages:,} of {due:,} messages came, {heard.lost} listeners were lost")
            time.sleep(0.01)
        used_s, took_s = cpu_s(target.pid) - cpu_before_s, heard.last_at - began
        return {
            "listeners": listeners,
            "events": events,
            "seconds until all have all": took_s,
            "events per second": round(listeners * events / took_s),
            "CPU us per event": used_s / listeners / events * 1e6,
            "sink %": heard.cpu_s / took_s * 100,
            "MiB more": (rss_bytes(target.pid) - before_bytes) / 2**20,
        }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--listeners", type=int, nargs="+", default=[1, 100, 1000], help="listeners, a row each")
    parser.add_argument("--events", type=int, default=3000, help="how far behind they are")
    options = parser.parse_args()
    pin(LOAD_CORE)
    with running_service(PRESENCE_POLL_S="3600", CREATE_QUEUE_MAX="1000") as target:
        events = trio.run(make_events, target, options.events)
        print(f"{events:,} events are there", file=sys.stderr)
        rows = [measure(target, listeners, events) for listeners in options.listeners]
    report("resume", rows, options)
    if options.plot:
        plot(options.plot, "Coming back from far behind", "listeners", ["CPU us per event"], rows, unit="µs")


if __name__ == "__main__":
    main()
