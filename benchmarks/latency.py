"""From what the service knows to the last of its listeners, while it answers REST requests.

    python benchmarks/latency.py
    python benchmarks/latency.py --listeners 1 100 10000 --seconds 30 --requests 200
    python benchmarks/latency.py --json latency.json --plot latency.png

Sessions are created, people join and leave them, sessions end: each is an event to every listener. Meanwhile callers
ask for sessions, lists and events at a steady pace that does not wait for slow answers. An event's `time` is when the
service knew of it: when a creation was done, or when the poller had its answer from the provider; its commit comes
after that. From there to the frame at the first and at the last listener is what is shown, and from the first to the
last: the first hears at once when the commit is done, so this leaves the disk out. Beside it, how long the REST
requests took. The service has one core; the listeners (sink.c), the callers and the sandbox have the other.

"floor" is what the machine itself takes for as many listeners, right before, for as long and at the pace of the
changes: from publishing to the last receipt when a bare loop writes to each socket and nothing else goes on.
"""

from __future__ import annotations

import random
import re
import sys
import time
from datetime import datetime
from typing import Any, Self

import httpx
import trio

from harness import LOAD_CORE, Target, Watch, arguments, cpu_s, percentile, pin, plot, report, room_for, running_service
from servers import SERVERS, running
from sink import Sink, listening

POLL_S = 2.0
SESSIONS = 10  # alive at a time
CALLERS = 32
SETTLE_S = POLL_S + 1.0  # what has changed at the very end is seen by then
DELIVERY_S = 10.0
LENGTH = re.compile(rb"content-length: ([0-9]+)\r\n(?:.*\r\n)*\r\n")


class Callers:
    """Connections that ask and wait for the answer; a client library would cost more than what is measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._back, self._idle = trio.open_memory_channel[trio.SocketStream](CALLERS)

    async def __aenter__(self) -> Self:
        for _ in range(CALLERS):
            await self._back.send(await trio.open_tcp_stream("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for _ in range(CALLERS):
            await (await self._idle.receive()).aclose()

    async def get(self, path: str) -> bytes:
        """The whole answer."""
        stream = await self._idle.receive()
        try:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = b""
            while not (head := LENGTH.search(answer)) or len(answer) < answer.index(b"\r\n\r\n") + 4 + int(head[1]):
                answer += await stream.receive_some(65536)
            return answer
        finally:
            self._back.send_nowait(stream)


class Load:
    """What goes on while it is measured."""

    def __init__(
        self, target: Target, client: httpx.AsyncClient, callers: Callers, requests_per_s: float, changes_per_s: float
    ) -> None:
        self._sandbox = f"{target.sandbox_url}/sandbox"
        self._client = client
        self._callers = callers
        self._every_s = 1 / requests_per_s
        self._changes_every_s = 1 / changes_per_s
        self._chance = random.Random(1)
        self._sessions: list[dict[str, Any]] = []
        self._present: dict[str, list[str]] = {}  # by room
        self.waits_s: list[float] = []
        self.failures = 0

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._change)
                nursery.start_soon(self._read, nursery)

    async def fill(self) -> None:
        for _ in range(SESSIONS):
            await self._create()

    async def _read(self, nursery: trio.Nursery) -> None:
        due = trio.current_time()
        while True:
            due += self._every_s
            await trio.sleep_until(due)
            nursery.start_soon(self._ask, due)

    async def _ask(self, due: float) -> None:
        session_id = self._chance.choice(self._sessions)["session_id"]
        path = self._chance.choice([f"/sessions/{session_id}"] * 6 + ["/sessions?limit=10", "/events?limit=10"])
        answer = await self._callers.get(path)
        self.waits_s.append(trio.current_time() - due)
        self.failures += not answer.startswith(b"HTTP/1.1 200 ")

    async def _change(self) -> None:
        due = trio.current_time()
        while True:
            due += self._changes_every_s
            await trio.sleep_until(due)
            session = self._chance.choice(self._sessions)
            people = f"{self._sandbox}/rooms/{session['room_name']}/participants"
            present = self._present.setdefault(session["room_name"], [])
            what = self._chance.random()
            if what < 0.2:
                self._sessions.remove(session)
                await self._client.delete(f"/sessions/{session['session_id']}")
                await self._create()
            elif what < 0.6 or not present:
                answer = await self._client.post(people, json={"user_name": "somebody"})
                present.append(answer.raise_for_status().json()["id"])
            else:
                (await self._client.delete(f"{people}/{present.pop()}")).raise_for_status()

    async def _create(self) -> None:
        answer = await self._client.post("/sessions", json={"provider": "daily"})
        answer.raise_for_status()
        self._sessions.append(answer.json())


def floor(listeners: int, rounds_per_s: float, seconds: float) -> list[float]:
    """How long each round of bare writes took, to the last receipt."""
    server, took_s = SERVERS["bare"], []
    print(f"{listeners:,} listeners, {seconds:g} s of bare writes", file=sys.stderr)
    with running(server) as (process, port), listening(port, server.path, listeners) as sink:
        for rounds in range(1, max(1, round(seconds * rounds_per_s)) + 2):
            began = time.time()
            server.publish(process, port, 1)
            time.sleep(1 / rounds_per_s)  # a question to the sink would be in its way
            took_s.append(sink.wait_heard(rounds * listeners).last_at - began)
    return took_s[1:]  # the first of everything is dearer


async def measure(target: Target, sink: Sink, listeners: int, floor_s: list[float], options: Any) -> dict[str, Any]:
    async with (
        httpx.AsyncClient(base_url=target.url, timeout=60) as client,
        Callers(target.port) as callers,
    ):
        load = Load(target, client, callers, options.requests, options.changes)
        await load.fill()
        await trio.sleep(SETTLE_S)
        begin = await _head(client)
        cpu_before_s = cpu_s(target.pid)
        print(f"{listeners:,} listeners, {options.seconds:g} s", file=sys.stderr)
        load_core = Watch()
        await load.run(options.seconds)
        load_percent = load_core.percent()
        used_s = cpu_s(target.pid) - cpu_before_s
        await trio.sleep(SETTLE_S)
        events = await _events(client, begin)
    told = await _told(sink, events, listeners)
    known = {event["id"]: datetime.fromisoformat(event["time"]).timestamp() for event in events}
    first = [told[id_][1] - at for id_, at in known.items()]
    last = [told[id_][2] - at for id_, at in known.items()]
    spread = [told[id_][2] - told[id_][1] for id_ in known]
    seen = [told[event["id"]][2] - known[event["id"]] for event in events if event["type"].startswith("participant")]
    return {
        "listeners": listeners,
        "events": len(events),
        "first p50 ms": percentile(first, 0.5) * 1000,
        "first p99 ms": percentile(first, 0.99) * 1000,
        "last p50 ms": percentile(last, 0.5) * 1000,
        "last p99 ms": percentile(last, 0.99) * 1000,
        "first to last p50 ms": percentile(spread, 0.5) * 1000,
        "first to last p99 ms": percentile(spread, 0.99) * 1000,
        "floor p50 ms": percentile(floor_s, 0.5) * 1000,
        "floor p99 ms": percentile(floor_s, 0.99) * 1000,
        "poll to last p50 ms": percentile(seen, 0.5) * 1000,
        "poll to last p99 ms": percentile(seen, 0.99) * 1000,
        "requests": len(load.waits_s),
        "failed": load.failures,
        "REST p50 ms": percentile(load.waits_s, 0.5) * 1000,
        "REST p99 ms": percentile(load.waits_s, 0.99) * 1000,
        "service CPU %": used_s / options.seconds * 100,
        "load core %": load_percent,
    }


async def _told(sink: Sink, events: list[dict[str, Any]], listeners: int) -> dict[int, tuple[int, float, float]]:
    """When the events were heard, once all listeners have them: the last of them may have been told just now."""
    give_up = trio.current_time() + DELIVERY_S
    while True:
        told = sink.times()
        missing = [event["id"] for event in events if told.get(event["id"], (0,))[0] != listeners]
        if not missing:
            return told
        if trio.current_time() > give_up:
            raise SystemExit(f"{len(missing)} of {len(events)} events did not reach every listener")
        await trio.sleep(0.1)


async def _head(client: httpx.AsyncClient) -> int:
    events = await _events(client, 0)
    return int(events[-1]["id"]) if events else 0


async def _events(client: httpx.AsyncClient, after: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while page := (await client.get("/events", params={"after": after, "limit": 500})).json()["events"]:
        events += page
        after = page[-1]["id"]
    return events


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--listeners", type=int, nargs="+", default=[1, 100, 10_000], help="listeners, a row each")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each row takes")
    parser.add_argument("--requests", type=float, default=200.0, help="REST requests a second")
    parser.add_argument("--changes", type=float, default=4.0, help="joins, leaves, ends and creations a second")
    options = parser.parse_args()
    pin(LOAD_CORE)
    rows = []
    for listeners in options.listeners:
        floor_s = floor(listeners, options.changes, options.seconds)
        with (
            running_service(PRESENCE_POLL_S=f"{POLL_S:g}", **room_for(listeners)) as target,
            listening(target.port, "/ws", listeners) as sink,
        ):
            rows.append(trio.run(measure, target, sink, listeners, floor_s, options))
    report("latency", rows, options)
    if options.plot:
        columns = ["last p50 ms", "last p99 ms", "first to last p99 ms", "floor p50 ms", "floor p99 ms"]
        plot(options.plot, "To the last listener", "listeners", columns, rows, unit="ms")


if __name__ == "__main__":
    main()
