"""From somebody's coming, at the provider, to the event at a listener: by looks alone, and with the webhook.

    python benchmarks/joins.py
    python benchmarks/joins.py --sessions 200 --lag-s 0 15 --json joins.json --plot joins.png

In each of many sessions somebody comes, one after the other within some seconds. What a listener hears has the
provider's own time of the join. `lag s` is how late the provider's presence is: Daily's was measured at 10 to 25
seconds. Looks are 15 seconds apart, as by default. The provider is the sandbox on the same machine.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

import httpx

from harness import LOAD_CORE, Progress, Target, arguments, percentile, pin, plot, report, running_service
from sink import Sink, listening

WITHIN_S = 10.0  # in which they all come
HEARD_S = 60.0
READY_S = 20.0


def measure(target: Target, sink: Sink, sessions: int, lag_s: float, *, webhook: bool) -> dict[str, Any]:
    with httpx.Client(base_url=target.url, timeout=60) as client:
        sandbox = f"{target.sandbox_url}/sandbox"
        httpx.patch(f"{sandbox}/settings", json={"presence_lag_s": lag_s}).raise_for_status()
        _wait_ready(client)
        rooms = [client.post("/sessions", json={"provider": "daily"}).json()["room_name"] for _ in range(sessions)]
        for room in rooms:
            httpx.post(f"{sandbox}/rooms/{room}/participants", json={"user_name": "somebody"}).raise_for_status()
            time.sleep(WITHIN_S / sessions)
        joins = _joins(client, sessions)
    told = sink.times()
    waits_s = [told[join["id"]][1] - datetime.fromisoformat(join["occurred_at"]).timestamp() for join in joins]
    return {
        "webhook": "yes" if webhook else "no",
        "lag s": lag_s,
        "joins": len(waits_s),
        "told by webhook": sum(join["source"] == "webhook" for join in joins),
        "p50 ms": percentile(waits_s, 0.5) * 1000,
        "p99 ms": percentile(waits_s, 0.99) * 1000,
    }


def _wait_ready(client: httpx.Client) -> None:
    """Until the webhook is in force, where there is one."""
    give_up = time.monotonic() + READY_S
    while any(check["status"] == "degraded" for check in client.get("/ready").json()["checks"]):
        if time.monotonic() > give_up:
            raise SystemExit(f"not ready: {client.get('/ready').text}")
        time.sleep(0.1)


def _joins(client: httpx.Client, wanted: int) -> list[dict[str, Any]]:
    """The events once all have been told."""
    give_up = time.monotonic() + HEARD_S
    progress = Progress("joins told", wanted)
    while True:
        joins: list[dict[str, Any]] = []
        after = 0
        while page := client.get(
            "/events", params={"after": after, "types": "participant_joined", "limit": 500}
        ).json()["events"]:
            joins += page
            after = page[-1]["id"]
        progress.show(len(joins))
        if len(joins) >= wanted:
            return joins
        if time.monotonic() > give_up:
            raise SystemExit(f"only {len(joins)} of {wanted} joins were told within {HEARD_S:g} s")
        time.sleep(0.2)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sessions", type=int, default=100, help="in each somebody comes")
    parser.add_argument("--lag-s", type=float, nargs="+", default=[0.0, 15.0], help="of presence, two rows each")
    options = parser.parse_args()
    pin(LOAD_CORE)
    rows = []
    for webhook in (False, True):
        for lag_s in options.lag_s:
            print(f"{'with' if webhook else 'without'} webhook, presence {lag_s:g} s late", file=sys.stderr)
            settings = {"DAILY_WEBHOOK_URL": "self"} if webhook else {}
            with running_service(**settings) as target, listening(target.port, "/ws", 1) as sink:
                rows.append(measure(target, sink, options.sessions, lag_s, webhook=webhook))
    report("joins", rows, options)
    if options.plot:
        plot(options.plot, "Joins", "lag s", ["p50 ms", "p99 ms"], rows, unit="ms", by="webhook")


if __name__ == "__main__":
    main()
