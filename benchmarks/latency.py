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

"floor" is what the machine and the libraries take by themselves, right before, for as long: an empty handler of
Quart-Trio under Hypercorn answers as many requests, and beside it bare sends go to as many listeners, at the pace of
the changes. From publishing to the last receipt, and how long the empty answers took.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import trio

from callers import Callers
from harness import LOAD_CORE, Target, Watch, arguments, cpu_s, percentile, pin, plot, report, room_for, running_service
from servers import PLAIN, running
from sink import Sink, listening

POLL_S = 2.0
SESSIONS = 10  # alive at a time
CALLERS = 32
SETTLE_S = POLL_S + 1.0  # what has changed at the very end is seen by then
DELIVERY_S = 10.0


class Load:
    """What goes on while it is measured."""

    def __init__(
        self, target: Target, client: httpx.AsyncClient, callers: Callers, requests_per_s: float, changes_per_s: float
    ) -> None:
        self._sandbox = f"{target.sandbox_url}/sandbox"
        self._client = client
        self._callers = callers
        self._requests_per_s = requests_per_s
        self._changes_every_s = 1 / changes_per_s
        self._chance = random.Random(1)
        self._sessions: list[dict[str, Any]] = []
        self._present: dict[str, list[str]] = {}  # by room

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._change)
                nursery.start_soon(keep_asking, self._callers, self._requests_per_s, self._path)

    async def fill(self) -> None:
        for _ in range(SESSIONS):
            await self._create()

    def _path(self) -> str:
        session_id = self._chance.choice(self._sessions)["session_id"]
        return self._chance.choice([f"/sessions/{session_id}"] * 6 + ["/sessions?limit=10", "/events?limit=10"])

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


async def keep_asking(callers: Callers, requests_per_s: float, path: Callable[[], str]) -> None:
    """At a pace that does not wait for slow answers."""
    async with trio.open_nursery() as nursery:
        due = trio.current_time()
        while True:
            due += 1 / requests_per_s
            await trio.sleep_until(due)
            nursery.start_soon(callers.ask, path(), due)


def floor(listeners: int, options: Any) -> dict[str, float]:
    """What the plain server takes."""
    print(f"{listeners:,} listeners, {options.seconds:g} s of the plain server", file=sys.stderr)
    with running(PLAIN) as (process, port), listening(port, PLAIN.path, listeners) as sink:
        return trio.run(_floor, partial(PLAIN.publish, process, port, 1), port + 1, sink, listeners, options)


async def _floor(publish: Callable[[], None], port: int, sink: Sink, listeners: int, options: Any) -> dict[str, float]:
    took_s = []
    async with Callers(port, CALLERS) as callers, trio.open_nursery() as nursery:
        nursery.start_soon(keep_asking, callers, options.requests, lambda: "/")
        for rounds in range(1, max(1, round(options.seconds * options.changes)) + 2):
            began = time.time()
            publish()
            await trio.sleep(1 / options.changes)  # a question to the sink would be in its way
            heard = await trio.to_thread.run_sync(sink.wait_heard, rounds * listeners)
            took_s.append(heard.last_at - began)
        nursery.cancel_scope.cancel()
    if callers.failures:
        raise SystemExit(f"{callers.failures} requests to the plain server failed")
    return {
        "floor p50 ms": percentile(took_s[1:], 0.5) * 1000,  # the first of everything is dearer
        "floor p99 ms": percentile(took_s[1:], 0.99) * 1000,
        "floor REST p50 ms": percentile(callers.waits_s, 0.5) * 1000,
        "floor REST p99 ms": percentile(callers.waits_s, 0.99) * 1000,
    }


async def measure(target: Target, sink: Sink, listeners: int, options: Any) -> dict[str, Any]:
    async with (
        httpx.AsyncClient(base_url=target.url, timeout=60) as client,
        Callers(target.port, CALLERS) as callers,
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
        "poll to last p50 ms": percentile(seen, 0.5) * 1000,
        "poll to last p99 ms": percentile(seen, 0.99) * 1000,
        "requests": len(callers.waits_s),
        "failed": callers.failures,
        "REST p50 ms": percentile(callers.waits_s, 0.5) * 1000,
        "REST p99 ms": percentile(callers.waits_s, 0.99) * 1000,
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
        at_best = floor(listeners, options)
        with (
            running_service(PRESENCE_POLL_S=f"{POLL_S:g}", **room_for(listeners)) as target,
            listening(target.port, "/ws", listeners) as sink,
        ):
            rows.append(trio.run(measure, target, sink, listeners, options) | at_best)
    report("latency", rows, options)
    if options.plot:
        columns = ["last p50 ms", "last p99 ms", "first to last p99 ms", "floor p50 ms", "floor p99 ms"]
        plot(options.plot, "To the last listener", "listeners", columns, rows, unit="ms")


if __name__ == "__main__":
    main()
