"""Processor time of one delivered message, beside other servers, in one run.

    python benchmarks/fan_out.py
    python benchmarks/fan_out.py --servers hub uvicorn nats --listeners 500 2000 10000 --rounds 3
    python benchmarks/fan_out.py --json fan_out.json --plot fan_out.png

Every server has one core and pushes the same 153 bytes to all listeners, which have the other core (sink.c). First one
event at a time: the next is published when every listener has had the one before. Then bursts of 100 at once. A figure
is the median of the rounds; "sink %" is how busy the listeners' core was: below 90 they were not what limited it.

`hub` is this service's hub and its connections, fed with events from nowhere, as the others are; `nats` is the
WebSocket gateway of nats-server. `uvicorn` (Starlette on uvloop) is installed by `make bench`; `ws` and `socket.io`
need npm.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from harness import LOAD_CORE, SERVER_CORE, arguments, cpu_s, end, pin, plot, report
from sink import Sink, listening

HERE = Path(__file__).parent
PEERS = HERE / "peers"
EVENT_BYTES = 153
BURST = 100
START_S = 20.0
DELIVERY_S = 60.0
# Those that take a burst in one go can be given more of them in the same time.
JOINING = {"hub": 50, "nats": 20}


@attrs.frozen
class Server:
    """How to start a server, and how its listeners talk to it."""

    command: Callable[[int, Path], list[str]]
    path: str = "/"
    first_message: str = ""
    mark: str = ""
    publish: Callable[[subprocess.Popen[bytes], int, int], None] = lambda process, port, count: _by_line(process, count)


def _by_line(process: subprocess.Popen[bytes], count: int) -> None:
    assert process.stdin is not None
    process.stdin.write(b"%d\n" % count)
    process.stdin.flush()


def _text() -> str:
    return "~" + "x" * (EVENT_BYTES - 1)


def _node(script: str) -> Callable[[int, Path], list[str]]:
    def command(port: int, folder: Path) -> list[str]:
        if shutil.which("npm") is None:
            raise SystemExit("Node.js and npm are needed for this server (Debian: nodejs npm)")
        if not (PEERS / "node_modules").exists():
            print("installing the servers for Node.js", file=sys.stderr)
            subprocess.run(["npm", "ci", "--silent"], cwd=PEERS, check=True)
        return ["node", str(PEERS / script), str(port), _text()]

    return command


def _nats(port: int, folder: Path) -> list[str]:
    config = folder / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port + 1}\nmax_payload: 1MB\nwrite_deadline: 60s\n"
        f"websocket {{ listen: '127.0.0.1:{port}', no_tls: true }}\n"
    )
    return [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]


def _nats_publish(process: subprocess.Popen[bytes], port: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", port + 1)) as connection:
        text = _text().encode()
        message = b"PUB e %d\r\n%b\r\n" % (len(text), text)
        connection.sendall(b'CONNECT {"verbose":false}\r\n' + message * count + b"PING\r\n")
        received = b""
        while b"PONG" not in received:
            received += connection.recv(65536)


SERVERS = {
    "hub": Server(
        lambda port, _: [sys.executable, str(HERE / "hub_server.py"), str(port), str(EVENT_BYTES)], path="/ws"
    ),
    "uvicorn": Server(lambda port, _: [sys.executable, str(PEERS / "starlette_server.py"), str(port), _text()]),
    "nats": Server(_nats, first_message='b:CONNECT {"verbose":false}\r\nSUB e 1\r\n', mark="~", publish=_nats_publish),
    "ws": Server(_node("ws_server.mjs")),
    "socket.io": Server(
        _node("socketio_server.mjs"), path="/socket.io/?EIO=4&transport=websocket", first_message="40", mark="~"
    ),
}


@contextmanager
def running(server: Server) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server as a process on its core, and its port."""
    with tempfile.TemporaryDirectory(prefix="transport-trio-bench-") as folder:
        port = _free_ports()
        environ = {**os.environ, "GOMAXPROCS": "1"}
        command = ["taskset", "-c", str(SERVER_CORE), *server.command(port, Path(folder))]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
        try:
            _wait_for(port, process)
            yield process, port
        finally:
            end(process)
            assert process.stdin is not None
            process.stdin.close()


def _free_ports() -> int:
    """A free port whose neighbour is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not start")


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
        _wait_delivered(sink, due)
    after, used_s = sink.heard(), cpu_s(process.pid) - server_before_s
    if after.lost:
        raise SystemExit(f"{after.lost} listeners were closed")
    delivered = after.messages - before.messages
    lasted_s = after.last_at - began
    return Figures(used_s / delivered * 1e6, delivered / lasted_s, (after.cpu_s - before.cpu_s) / lasted_s * 100)


def _wait_delivered(sink: Sink, due: int) -> None:
    give_up = time.monotonic() + DELIVERY_S
    while (had := sink.heard().messages) < due:
        if time.monotonic() > give_up:
            raise SystemExit(f"only {had:,} of {due:,} messages had come after {DELIVERY_S:g} s")
        time.sleep(0.001)


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
    rows = []
    for listeners in options.listeners:
        for name in options.servers:
            print(f"{name}, {listeners:,} listeners", file=sys.stderr)
            rows.append(measure(name, listeners, options.rounds, options.deliveries))
    report("fan_out", rows, options)
    if options.plot:
        columns = ["one at a time, CPU us", f"bursts of {BURST}, CPU us"]
        ours = [row for row in rows if row["server"] == "hub"]
        plot(options.plot, "Fan-out of the hub", "listeners", columns, ours, unit="µs of processor time per message")


if __name__ == "__main__":
    main()
