"""What live sessions cost: memory of each, and the processor time that watching it takes.

    python benchmarks/live_sessions.py
    python benchmarks/live_sessions.py --sessions 1 100 1000 10000 --poll-s 60 --json live.json --plot live.png

Sessions are created until so many live. Then nothing happens for one interval of polling but that every room is looked
into once: one request to the provider for each session, and from 100 sessions on one for all. Memory is the growth of
the service's resident set since it had none, divided by their number. The provider is the sandbox on the other core,
without rate limits.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import httpx
import trio

from harness import LOAD_CORE, Progress, Target, Watch, arguments, cpu_s, pin, plot, report, rss_bytes, running_service

CALLERS = 8
WARM_UP = 50
SETTLE_S = 3.0


async def create(target: Target, count: int) -> None:
    progress = Progress("sessions", count)
    left = iter(range(count))
    done = 0

    async def caller() -> None:
        nonlocal done
        for _ in left:
            (await client.post("/sessions", json={"provider": "daily"})).raise_for_status()
            done += 1
            progress.show(done)

    async with httpx.AsyncClient(base_url=target.url, timeout=60) as client, trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)


def measure(target: Target, sessions: int, poll_s: float, empty_bytes: int) -> dict[str, Any]:
    print(f"{sessions:,} sessions live for {poll_s:g} s", file=sys.stderr)
    time.sleep(SETTLE_S)
    cpu_before_s, load_core = cpu_s(target.pid), Watch()
    time.sleep(poll_s)
    used_s = cpu_s(target.pid) - cpu_before_s
    return {
        "sessions": sessions,
        "KiB per session": (rss_bytes(target.pid) - empty_bytes) / sessions / 1024,
        "CPU ms per session and look": used_s / sessions * 1000,
        "CPU %": used_s / poll_s * 100,
        "load core %": load_core.percent(),
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--sessions", type=int, nargs="+", default=[1, 10, 100, 1000, 10_000], help="rising, a row each"
    )
    parser.add_argument("--poll-s", type=float, default=20.0, help="between two looks into a room")
    options = parser.parse_args()
    pin(LOAD_CORE)
    rows: list[dict[str, Any]] = []
    with running_service(
        CREATE_QUEUE_MAX="1000", SESSIONS_MAX="1000000", PRESENCE_POLL_S=str(options.poll_s)
    ) as target:
        with httpx.Client(base_url=target.url, timeout=60) as client:
            for _ in range(WARM_UP):
                made = client.post("/sessions", json={"provider": "daily"}).raise_for_status().json()
                client.delete(f"/sessions/{made['session_id']}").raise_for_status()
        time.sleep(SETTLE_S)
        empty_bytes, live = rss_bytes(target.pid), 0
        for sessions in options.sessions:
            trio.run(create, target, sessions - live)
            live = sessions
            rows.append(measure(target, sessions, options.poll_s, empty_bytes))
    report("live_sessions", rows, options)
    if options.plot:
        columns = ["KiB per session", "CPU ms per session and look"]
        plot(options.plot, "Live sessions", "sessions", columns, rows, unit="KiB, ms", wide=True)


if __name__ == "__main__":
    main()
