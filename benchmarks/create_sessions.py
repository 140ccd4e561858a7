"""How many sessions a second, and how long a caller waits; the provider's own time subtracted.

    python benchmarks/create_sessions.py
    python benchmarks/create_sessions.py --tokens minted signed --provider-ms 50 --callers 1
    python benchmarks/create_sessions.py --sessions 500 --callers 1 8 32 --json create.json --plot create.png

The provider is the sandbox on the same machine, without its rate limits. What it takes is read from the service's own
metric (`transport_provider_seconds`) and subtracted from the mean; the percentiles are as callers see them. With
`--provider-ms` each answer of the provider comes so much later, as from a real one over the internet. Tokens can be
minted by the provider, or signed by the service.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import httpx
import trio

from harness import Progress, Target, Watch, arguments, cpu_s, percentile, plot, report, running_service


async def measure(target: Target, sessions: int, callers: int, tokens: str = "minted") -> dict[str, Any]:
    waits_s: list[float] = []
    progress = Progress(f"{callers} callers", sessions)
    limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
    async with httpx.AsyncClient(base_url=target.url, limits=limits, timeout=60) as client:
        provider_before_s = await provider_seconds(client)
        cpu_before_s, started = cpu_s(target.pid), time.perf_counter()

        async def caller() -> None:
            while len(waits_s) + waiting[0] < sessions:
                waiting[0] += 1
                began = time.perf_counter()
                answer = await client.post("/sessions", json={"provider": "daily"})
                waiting[0] -= 1
                if answer.status_code != httpx.codes.CREATED:
                    raise SystemExit(f"POST /sessions answered {answer.status_code}: {answer.text}")
                waits_s.append(time.perf_counter() - began)
                progress.show(len(waits_s))

        waiting = [0]
        load_core = Watch()
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(caller)
        took_s = time.perf_counter() - started
        load_percent = load_core.percent()
        used_s = cpu_s(target.pid) - cpu_before_s
        provider_s = await provider_seconds(client) - provider_before_s
    mean_s = sum(waits_s) / len(waits_s)
    return {
        "callers": callers,
        "tokens": tokens,
        "sessions": len(waits_s),
        "per second": len(waits_s) / took_s,
        "p50 ms": percentile(waits_s, 0.5) * 1000,
        "p99 ms": percentile(waits_s, 0.99) * 1000,
        "mean ms": mean_s * 1000,
        "mean less provider ms": (mean_s - provider_s / len(waits_s)) * 1000,
        "CPU ms each": used_s / len(waits_s) * 1000,
        "load core %": load_percent,
    }


async def provider_seconds(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("transport_provider_seconds_sum")
        and ('operation="create_room"' in line or 'operation="create_token"' in line)
    )


def slow_down(target: Target, provider_ms: float) -> None:
    fault = {"kind": "delay", "delay_s": provider_ms / 1000}
    httpx.put(f"{target.sandbox_url}/sandbox/faults", json={"faults": [fault]}).raise_for_status()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sessions", type=int, default=300, help="sessions to create in each row")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 16], help="callers at once, a row each")
    parser.add_argument(
        "--tokens",
        choices=("minted", "signed"),
        nargs="+",
        default=["minted"],
        help="whence meeting tokens come, by turns",
    )
    parser.add_argument("--provider-ms", type=float, default=0.0, help="how much later the provider answers")
    options = parser.parse_args()
    settings = {"CREATE_QUEUE_MAX": "1000", "SESSIONS_MAX": "1000000", "PRESENCE_POLL_S": "3600"}
    rows = []
    with ExitStack() as stack:
        targets = {
            tokens: stack.enter_context(running_service(DAILY_SIGN_TOKENS=str(tokens == "signed").lower(), **settings))
            for tokens in options.tokens
        }
        for target in targets.values():
            trio.run(measure, target, 20, 2)  # warm up
            if options.provider_ms:
                slow_down(target, options.provider_ms)
        for callers in options.callers:
            for tokens, target in targets.items():
                rows.append(trio.run(measure, target, options.sessions, callers, tokens))
    report("create_sessions", rows, options)
    if options.plot:
        columns = ["p50 ms", "p99 ms", "mean less provider ms"]
        plot(options.plot, "Creating sessions", "callers", columns, rows, unit="ms", by="tokens")


if __name__ == "__main__":
    main()
