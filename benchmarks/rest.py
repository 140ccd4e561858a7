"""What a REST request costs, beside an empty handler of the same libraries.

    python benchmarks/rest.py
    python benchmarks/rest.py --connections 1 8 64 --seconds 10 --json rest.json --plot rest.png

So many connections ask without a pause, each its next question when it has the answer. "empty" is a handler that says
`{}`, of Quart-Trio under Hypercorn without this service (peers/plain_server.py): the ceiling for all others. The server
has one core, the callers the other; "load core %" is how busy that is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import trio

from callers import Callers
from harness import LOAD_CORE, Watch, arguments, cpu_s, percentile, pin, plot, report, running_service
from servers import PLAIN, running

SESSIONS = 10
WARM_UP_S = 1.0


async def measure(pid: int, port: int, request: str, path: str, connections: int, seconds: float) -> dict[str, Any]:
    print(f"{request}, {connections} connections", file=sys.stderr)
    async with Callers(port, connections) as callers:
        await _ask_all_the_time(callers, path, connections, WARM_UP_S)
        callers.waits_s.clear()
        cpu_before_s, load_core, began = cpu_s(pid), Watch(), trio.current_time()
        await _ask_all_the_time(callers, path, connections, seconds)
        took_s = trio.current_time() - began
        used_s, load_percent = cpu_s(pid) - cpu_before_s, load_core.percent()
    if callers.failures:
        raise SystemExit(f"GET {path}: {callers.failures} answers were no 200")
    return {
        "request": request,
        "connections": connections,
        "per second": len(callers.waits_s) / took_s,
        "CPU ms each": used_s / len(callers.waits_s) * 1000,
        "p50 ms": percentile(callers.waits_s, 0.5) * 1000,
        "p99 ms": percentile(callers.waits_s, 0.99) * 1000,
        "load core %": load_percent,
    }


async def _ask_all_the_time(callers: Callers, path: str, connections: int, seconds: float) -> None:
    end = trio.current_time() + seconds

    async def ask() -> None:
        while (now := trio.current_time()) < end:
            await callers.ask(path, now)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(ask)


@contextmanager
def plain() -> Iterator[tuple[int, int, dict[str, str]]]:
    """Process, port and the paths that are asked for."""
    with running(PLAIN) as (process, port):
        yield process.pid, port + 1, {"empty": "/"}


@contextmanager
def service() -> Iterator[tuple[int, int, dict[str, str]]]:
    """Likewise, with a few sessions that have begun."""
    with running_service(PRESENCE_POLL_S="3600") as target:
        for _ in range(SESSIONS):
            answer = httpx.post(f"{target.url}/sessions", json={"provider": "daily"}, timeout=60).raise_for_status()
        yield (
            target.pid,
            target.port,
            {
                "health": "/health",
                "session": f"/sessions/{answer.json()['session_id']}",
                "ten sessions": "/sessions?limit=10",
                "ten events": "/events?limit=10",
            },
        )


def measure_all(connections: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    rows = []
    for server in (plain, service):
        with server() as (pid, port, paths):
            rows += [
                trio.run(measure, pid, port, request, path, count, seconds)
                for request, path in paths.items()
                for count in connections
            ]
    return rows


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64], help="at once, a row each")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each row takes")
    options = parser.parse_args()
    pin(LOAD_CORE)
    rows = measure_all(options.connections, options.seconds)
    report("rest", rows, options)
    if options.plot:
        plot(options.plot, "REST", "connections", ["per second", "p99 ms"], rows, unit="", by="request", wide=True)


if __name__ == "__main__":
    main()
