"""How fast listeners connect, and what idle ones cost in memory and processor time.

    python benchmarks/connect_listeners.py
    python benchmarks/connect_listeners.py --listeners 1000 10000 --json listeners.json --plot listeners.png

The service has one core, its listeners (sink.c) the other. Memory is the growth of the service's resident set divided
by the number of listeners. Idle processor time is taken over whole heartbeats: every listener is pinged and answers.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from harness import LOAD_CORE, Target, arguments, cpu_s, pin, plot, report, room_for, rss_bytes, running_service
from sink import listening


def measure(target: Target, listeners: int, idle_s: float) -> dict[str, Any]:
    with listening(target.port, "/ws", 100):
        time.sleep(0.5)  # the first of everything is dearer
    time.sleep(0.5)
    before_bytes, cpu_before_s = rss_bytes(target.pid), cpu_s(target.pid)
    with listening(target.port, "/ws", listeners) as sink:
        connect_cpu_s = cpu_s(target.pid) - cpu_before_s
        sink_cpu_s = sink.heard().cpu_s
        time.sleep(1)
        cpu_before_s = cpu_s(target.pid)
        print(f"{listeners:,} listeners are idle for {idle_s:g} s", file=sys.stderr)
        time.sleep(idle_s)
        idle_cpu = (cpu_s(target.pid) - cpu_before_s) / idle_s
        grown_bytes = rss_bytes(target.pid) - before_bytes
        heard = sink.heard()
        if heard.lost:
            raise SystemExit(f"{heard.lost} listeners were closed")
        return {
            "listeners": listeners,
            "connects per second": round(listeners / sink.connected_in_s),
            "CPU ms per connect": connect_cpu_s / listeners * 1000,
            "sink % while connecting": sink_cpu_s / sink.connected_in_s * 100,
            "KiB per listener": grown_bytes / listeners / 1024,
            "idle CPU %": idle_cpu * 100,
        }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--listeners", type=int, nargs="+", default=[1000, 10_000], help="listeners, a row each")
    parser.add_argument("--heartbeat-s", type=float, default=30.0, help="how long they then sit idle: one heartbeat")
    options = parser.parse_args()
    pin(LOAD_CORE)
    rows = []
    for listeners in options.listeners:
        # A fresh process, or the first row's memory would hide the second's.
        with running_service(HEARTBEAT_S=str(options.heartbeat_s), **room_for(listeners)) as target:
            rows.append(measure(target, listeners, options.heartbeat_s))
    report("connect_listeners", rows, options)
    if options.plot:
        columns = ["KiB per listener", "idle CPU %"]
        plot(options.plot, "Idle listeners", "listeners", columns, rows, unit="KiB, %")


if __name__ == "__main__":
    main()
