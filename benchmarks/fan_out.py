"""Processor time of one delivered message, beside other servers, in one run.

    python benchmarks/fan_out.py
    python benchmarks/fan_out.py --servers bare hub nats --listeners 500 2000 10000 --rounds 3
    python benchmarks/fan_out.py --json fan_out.json --plot fan_out.png

Every server has one core and pushes the same 153 bytes to all listeners, which have the other core (sink.c). First one
event at a time: the next is published when every listener has had the one before. Then bursts of 100 at once. A figure
is the median of the rounds; "sink %" is how busy the listeners' core was: below 90 they were not what limited it.

`bare` is the floor of the machine: a loop that writes to each socket, with nothing around it. What it takes is the
system call, whoever makes it. `hub` is this service's hub and its connections, fed with events from nowhere, as the
others are; `nats` is the WebSocket gateway of nats-server. `uvicorn` (Starlette on uvloop) and `picows` (Cython, on
uvloop too) are installed by `make bench`; `bun`, `ws` and `socket.io` need npm. Bun's server is µWebSockets with its
own publish and subscribe, the engine of Soketi. Soketi itself and Centrifugo are not here: npm has the former without
its engine, neither npm nor PyPI has the latter.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import attrs

from harness import LOAD_CORE, arguments, cpu_s, pin, plot, report
from servers import SERVERS, Server, running
from sink import Sink, listening

BURST = 100
# Those that take a burst in one go can be given more of them in the same time.
JOINING = {"bare": 50, "hub": 50, "nats": 20, "bun": 20}


@attrs.frozen
class Figures:
    cpu_us: float  # of the server, for each delivered message
    per_second: float
    sink_percent: float


def deliver(
    server: Server, process: subprocess.Popen[bytes], port: int, sink: Sink, listeners: int, *, burst: int, times: int
) -> Figures:
    before, server_before_s, began = sink.heard(), cpu_s(process.pid), time.time()
    due = before.messages
    for _ in range(times):
        server.publish(process, port, burst)
        due += burst * listeners
        after = sink.wait_heard(due)
    used_s = cpu_s(process.pid) - server_before_s
    if after.lost:
        raise SystemExit(f"{after.lost} listeners were closed")
    delivered = after.messages - before.messages
    lasted_s = after.last_at - began
    return Figures(used_s / delivered * 1e6, delivered / lasted_s, (after.cpu_s - before.cpu_s) / lasted_s * 100)


def measure(name: str, listeners: int, rounds: int, deliveries: int) -> dict[str, Any]:
    server = SERVERS[name]
    with (
        running(server) as (process, port),
        listening(port, server.path, listeners, first_message=server.first_message, mark=server.mark) as sink,
    ):
        time.sleep(0.5)
        deliver(server, process, port, sink, listeners, burst=1, times=5)  # warm up
        ones = max(3, deliveries // listeners)
        bursts = max(1, deliveries * JOINING.get(name, 2) // BURST // listeners)
        one = [deliver(server, process, port, sink, listeners, burst=1, times=ones) for _ in range(rounds)]
        many = [deliver(server, process, port, sink, listeners, burst=BURST, times=bursts) for _ in range(rounds)]
    return {
        "server": name,
        "listeners": listeners,
        "one at a time, CPU us": _median(one, "cpu_us"),
        "sink %": _median(one, "sink_percent"),
        f"bursts of {BURST}, CPU us": _median(many, "cpu_us"),
        "messages per second": round(_median(many, "per_second")),
        "burst sink %": _median(many, "sink_percent"),
    }


def _median(figures: list[Figures], name: str) -> float:
    return statistics.median(getattr(one, name) for one in figures)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS), help="which, in this order")
    parser.add_argument("--listeners", type=int, nargs="+", default=[500, 2000, 10_000], help="listeners, a row each")
    parser.add_argument("--rounds", type=int, default=3, help="the figure is their median")
    parser.add_argument("--deliveries", type=int, default=400_000, help="messages delivered in a round, one at a time")
    options = parser.parse_args()
    pin(LOAD_CORE)
    for name in options.servers:
        SERVERS[name].prepare()
    rows = []
    for listeners in options.listeners:
        for name in options.servers:
            print(f"{name}, {listeners:,} listeners", file=sys.stderr)
            rows.append(measure(name, listeners, options.rounds, options.deliveries))
    report("fan_out", rows, options)
    if options.plot:
        columns = ["one at a time, CPU us", f"bursts of {BURST}, CPU us"]
        unit = "µs of processor time per message"
        plot(options.plot, "Fan-out", "listeners", columns, rows, unit=unit, by="server", wide=True)


if __name__ == "__main__":
    main()
