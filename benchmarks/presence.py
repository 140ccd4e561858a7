"""What watching rooms costs at the provider, and how old what we know becomes: asked for together, and one by one.

    python benchmarks/presence.py
    python benchmarks/presence.py --sessions 1 100 10000 --seconds 60 --json presence.json --plot presence.png

In every second room is somebody. The service keeps under Daily's limits, of which a table row shows how near it came:
`most in 5 s` are requests of one route, of which Daily allows 100. `oldest s` is how old the knowledge of some room
became. Looks are 15 seconds apart, as by default. The provider is the sandbox on the other core. It counts what arrives
as Daily does and refuses what is too much: `refused` says how often. Answers can be counted closer to each other than
their requests were.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import trio
from prometheus_client.parser import text_string_to_metric_families

from harness import LOAD_CORE, Progress, Sandbox, Target, arguments, cpu_s, pin, plot, report, running_sandbox

CALLERS = 8
POLL_S = 15.0
# Every room has been looked into since the start, and it is known that they are many.
SETTLE_S = POLL_S + 5.0
LIMIT_PERIOD_S = 5
ROUTES = ("presence", "domain_presence")

Sample = dict[str, float]


async def create(target: Target, count: int) -> None:
    """Sessions, with somebody in every second one's room."""
    progress = Progress("sessions", count)
    numbers = itertools.count(1)

    async def caller() -> None:
        while (number := next(numbers)) <= count:
            made = (await client.post("/sessions", json={"provider": "daily"})).raise_for_status().json()
            if number % 2:
                people = f"{target.sandbox_url}/sandbox/rooms/{made['room_name']}/participants"
                (await client.post(people, json={"user_name": "somebody"})).raise_for_status()
            progress.show(number)

    async with httpx.AsyncClient(base_url=target.url, timeout=60) as client, trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)


def sample(client: httpx.Client) -> Sample:
    text = client.get("/metrics").raise_for_status().text
    found = {**dict.fromkeys((*ROUTES, "failed", "refused", "age"), 0.0), "at": time.monotonic()}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name == "transport_provider_requests_total" and one.labels["operation"] in ROUTES:
                found[one.labels["operation"]] += one.value
                found["refused"] += one.value if one.labels["outcome"] == "throttled" else 0
            elif one.name == "transport_presence_polls_total" and one.labels["outcome"] not in {"ok", "unchanged"}:
                found["failed"] += one.value
            elif one.name == "transport_presence_age_seconds":
                found["age"] = one.value
    return found


def most(samples: Sequence[Sample], route: str) -> float:
    """Requests of a route in the busiest period of the limit. A sample that came late is of a longer one."""
    pairs = zip(samples, samples[LIMIT_PERIOD_S:], strict=False)
    return max(
        (after[route] - before[route]) * LIMIT_PERIOD_S / (after["at"] - before["at"]) for before, after in pairs
    )


def measure(target: Target, sessions: int, seconds: int, *, together: bool) -> dict[str, Any]:
    time.sleep(SETTLE_S)
    with httpx.Client(base_url=target.url, timeout=60) as client:
        samples, cpu_before_s, began = [sample(client)], cpu_s(target.pid), time.monotonic()
        for second in range(seconds):
            time.sleep(max(began + second + 1 - time.monotonic(), 0))
            samples.append(sample(client))
        lasted_s, used_s = time.monotonic() - began, cpu_s(target.pid) - cpu_before_s
    first, last = samples[0], samples[-1]
    return {
        "rooms": "together" if together else "one by one",
        "sessions": sessions,
        "requests per second": sum(last[route] - first[route] for route in ROUTES) / lasted_s,
        "most in 5 s": max(most(samples, route) for route in ROUTES),
        "oldest s": max(one["age"] for one in samples),
        "refused": last["refused"],
        "failed looks": last["failed"] - first["failed"],
        "CPU ms per session and look": used_s / (sessions * lasted_s / POLL_S) * 1000,
    }


def keep_limits(target: Target, keep: bool) -> None:
    settings = f"{target.sandbox_url}/sandbox/settings"
    httpx.patch(settings, json={"rate_limits": keep}).raise_for_status()


def rows_for(sandbox: Sandbox, sessions: int, seconds: int) -> list[dict[str, Any]]:
    rows = []
    for together in (True, False):
        print(f"{sessions:,} sessions, {'together' if together else 'one by one'}", file=sys.stderr)
        settings = {} if together else {"DAILY_SHARED_PRESENCE_ROOMS": "0"}
        with sandbox.service(SESSIONS_MAX="1000000", DAILY_RATE_LIMITS="true", **settings) as target:
            keep_limits(target, keep=True)
            rows.append(measure(target, sessions, seconds, together=together))
    return rows


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--sessions", type=int, nargs="+", default=[1, 10, 100, 1000, 10_000], help="rising, two rows each"
    )
    parser.add_argument("--seconds", type=int, default=45, help="of each row; the limit is counted over 5")
    options = parser.parse_args()
    pin(LOAD_CORE)
    rows: list[dict[str, Any]] = []
    live = 0
    with running_sandbox() as sandbox:
        for sessions in options.sessions:
            # Nobody looks into rooms meanwhile, and the limit of creations is not kept.
            with sandbox.service(CREATE_QUEUE_MAX="1000", SESSIONS_MAX="1000000", PRESENCE_POLL_S="3600") as target:
                keep_limits(target, keep=False)
                trio.run(create, target, sessions - live)
            live = sessions
            rows += rows_for(sandbox, sessions, options.seconds)
    report("presence", rows, options)
    if options.plot:
        columns = ["requests per second", "oldest s"]
        plot(options.plot, "Presence", "sessions", columns, rows, unit="", by="rooms", wide=True)


if __name__ == "__main__":
    main()
