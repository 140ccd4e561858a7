"""How fast listeners connect, and what an idle one costs in memory.

    python benchmarks/connect_listeners.py
    python benchmarks/connect_listeners.py --listeners 1000 5000 --json listeners.json --plot listeners.png

Each listener is a trio-websocket client. Memory is the growth of the service's resident set divided by the number
of listeners, read when all have had their `welcome`.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import trio
from trio_websocket import open_websocket_url

from harness import Progress, Target, arguments, cpu_s, plot, report, rss_bytes, running_service

# Connections being opened at once; more only wait in the kernel's queue.
OPENING = 64


async def measure(target: Target, listeners: int, idle_s: float) -> dict[str, Any]:
    progress = Progress("connected", listeners)
    connected = 0
    all_in, finished = trio.Event(), trio.Event()
    opening = trio.CapacityLimiter(OPENING)

    async def listen() -> None:
        nonlocal connected
        async with opening:
            connection = open_websocket_url(target.ws_url)
            websocket = await connection.__aenter__()
            await websocket.get_message()
        connected += 1
        progress.show(connected)
        if connected == listeners:
            all_in.set()
        await finished.wait()
        await connection.__aexit__(None, None, None)

    before_bytes, cpu_before_s, started = rss_bytes(target.pid), cpu_s(target.pid), time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(listeners):
            nursery.start_soon(listen)
        await all_in.wait()
        took_s, used_s = time.perf_counter() - started, cpu_s(target.pid) - cpu_before_s
        grown_bytes = rss_bytes(target.pid) - before_bytes
        cpu_before_s = cpu_s(target.pid)
        await trio.sleep(idle_s)
        idle_cpu = (cpu_s(target.pid) - cpu_before_s) / idle_s
        finished.set()
    return {
        "listeners": listeners,
        "connects per second": listeners / took_s,
        "CPU ms per connect": used_s / listeners * 1000,
        "KiB per listener": grown_bytes / listeners / 1024,
        "idle CPU %": idle_cpu * 100,
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--listeners", type=int, nargs="+", default=[200, 1000], help="listeners, a row each")
    parser.add_argument("--idle-s", type=float, default=5.0, help="how long they then sit idle")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = []
    for listeners in options.listeners:
        with running_service() as target:  # a fresh process, or the first row's memory would hide the second's
            rows.append(trio.run(measure, target, listeners, options.idle_s))
    report("connect_listeners", rows, options)
    if options.plot:
        plot(options.plot, "Connecting listeners", "listeners", ["KiB per listener"], rows, unit="KiB")


if __name__ == "__main__":
    main()
