"""Events times listeners a second, and the processor time of one delivered message.

    python benchmarks/fan_out.py
    python benchmarks/fan_out.py --listeners 100 300 500 --sessions 200 --json fan_out.json --plot fan_out.png

Sessions are created and ended one after another; each tells three events. The listeners run in a process of their
own, so that reading does not slow the writer down on a machine with two cores. Processor time is the service's
whole, less what the same creations cost with no listener at all.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import httpx
import trio
from trio_websocket import open_websocket_url

from harness import Progress, Target, arguments, cpu_s, plot, report, running_service

EVENTS_PER_SESSION = 3  # session_created, session_updated, session_ended
FAREWELL_S = 60.0


def listen(pipe: Connection, url: str, listeners: int, events: int) -> None:
    """In a process of its own: connect, say so, read all events, say how many came and when the last did."""
    trio.run(_listen, pipe, url, listeners, events)


async def _listen(pipe: Connection, url: str, listeners: int, events: int) -> None:
    delivered = 0
    connected = 0
    ready = trio.Event()

    async def one() -> None:
        nonlocal delivered, connected
        async with open_websocket_url(url) as websocket:
            await websocket.get_message()
            connected += 1
            if connected == listeners:
                ready.set()
            mine = 0
            while mine < events:
                if '"id":' in (await websocket.get_message())[:60]:
                    mine += 1
                    delivered += 1

    with trio.move_on_after(FAREWELL_S * 2):
        async with trio.open_nursery() as nursery:
            for _ in range(listeners):
                nursery.start_soon(one)
            await ready.wait()
            pipe.send("ready")
    pipe.send((delivered, time.time()))


def drive(target: Target, sessions: int) -> None:
    progress = Progress("sessions", sessions)
    with httpx.Client(base_url=target.url, timeout=60) as client:
        for number in range(sessions):
            created = client.post("/sessions", json={"provider": "daily"})
            created.raise_for_status()
            client.delete(f"/sessions/{created.json()['session_id']}").raise_for_status()
            progress.show(number + 1)


def measure(target: Target, listeners: int, sessions: int, baseline_s: float) -> dict[str, Any]:
    events = sessions * EVENTS_PER_SESSION
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    reader: SpawnProcess = context.Process(target=listen, args=(theirs, target.ws_url, listeners, events))
    reader.start()
    try:
        if mine.recv() != "ready":
            raise SystemExit("the listeners did not connect")
        cpu_before_s, started = cpu_s(target.pid), time.time()
        drive(target, sessions)
        if not mine.poll(FAREWELL_S):
            raise SystemExit(f"not every listener had {events} events within {FAREWELL_S:g} s")
        delivered, finished = mine.recv()
    finally:
        reader.join(10)
        if reader.is_alive():
            reader.kill()
    used_s = cpu_s(target.pid) - cpu_before_s
    return {
        "listeners": listeners,
        "events": events,
        "delivered": delivered,
        "delivered per second": delivered / (finished - started),
        "CPU us per message": (used_s - baseline_s) / delivered * 1e6,
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--listeners", type=int, nargs="+", default=[100, 300], help="listeners, a row each")
    parser.add_argument("--sessions", type=int, default=100, help="sessions created and ended in each row")
    options = parser.parse_args()
    with running_service(PRESENCE_POLL_S="3600") as target:
        drive(target, 20)  # warm up
        cpu_before_s = cpu_s(target.pid)
        drive(target, options.sessions)
        baseline_s = cpu_s(target.pid) - cpu_before_s
        rows = [measure(target, listeners, options.sessions, baseline_s) for listeners in options.listeners]
    report("fan_out", rows, options)
    if options.plot:
        plot(options.plot, "Fan-out", "listeners", ["CPU us per message"], rows, unit="µs")


if __name__ == "__main__":
    main()
