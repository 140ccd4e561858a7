"""Every benchmark runs to its end and tells what it should; what the figures are is not for a test."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
WITHIN_S = 120.0

pytestmark = pytest.mark.tools  # the listeners are written in C


def run(folder: Path, name: str, *options: str) -> list[dict[str, Any]]:
    """The rows of a benchmark; it must have drawn its plot."""
    results, picture = folder / "results.json", folder / "picture.png"
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options, "--json", str(results), "--plot", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows: list[dict[str, Any]] = json.loads(results.read_text())["rows"]
    for row in rows:
        assert all(f"{value:,}".split(".")[0] in done.stdout for value in row.values() if isinstance(value, int))
    return rows


@contextmanager
def from_benchmarks() -> Iterator[None]:
    """For an import of their modules, which is as from a script beside them."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield
    finally:
        sys.path.remove(str(FOLDER))


def test_fan_out(tmp_path: Path) -> None:
    options = ["--servers", "bare", "hub", "nats", "--listeners", "20", "50", "--rounds", "1", "--deliveries", "2000"]
    rows = run(tmp_path, "fan_out", *options)
    assert [(row["server"], row["listeners"]) for row in rows] == [
        (server, listeners) for listeners in (20, 50) for server in ("bare", "hub", "nats")
    ]
    assert all(row["one at a time, CPU us"] > 0 for row in rows)
    assert all(row["messages per second"] > 0 for row in rows)


def test_connect_listeners(tmp_path: Path) -> None:
    (row,) = run(tmp_path, "connect_listeners", "--listeners", "200", "--heartbeat-s", "1")
    assert row["connects per second"] > 0
    assert row["CPU ms per connect"] > 0
    assert row["KiB per listener"] > 0


def test_latency(tmp_path: Path) -> None:
    few, many = run(tmp_path, "latency", "--listeners", "1", "50", "--seconds", "5", "--requests", "25")
    for row in (few, many):
        assert row["events"] > 0
        assert row["requests"] >= 100
        assert row["failed"] == 0
        assert 0 < row["first p50 ms"] <= row["last p50 ms"] <= row["last p99 ms"]
        assert 0 < row["floor p50 ms"] <= row["floor p99 ms"]
        assert 0 < row["floor REST p50 ms"] <= row["floor REST p99 ms"]


def test_joins(tmp_path: Path) -> None:
    without, with_webhook = run(tmp_path, "joins", "--sessions", "3", "--lag-s", "0")
    assert (without["webhook"], without["told by webhook"]) == ("no", 0)
    assert (with_webhook["webhook"], with_webhook["told by webhook"]) == ("yes", 3)
    assert 0 < without["p50 ms"] <= without["p99 ms"]


def test_rest(tmp_path: Path) -> None:
    rows = run(tmp_path, "rest", "--connections", "1", "4", "--seconds", "0.5")
    requests = ["empty", "health", "session", "ten sessions", "ten events"]
    assert [(row["request"], row["connections"]) for row in rows] == [(one, n) for one in requests for n in (1, 4)]
    assert all(row["CPU ms each"] > 0 for row in rows)
    assert all(row["per second"] > 0 and 0 < row["p50 ms"] <= row["p99 ms"] for row in rows)


def test_resume(tmp_path: Path) -> None:
    rows = run(tmp_path, "resume", "--listeners", "1", "20", "--events", "300")
    assert [row["listeners"] for row in rows] == [1, 20]
    assert all(row["events"] >= 300 for row in rows)


def test_live_sessions(tmp_path: Path) -> None:
    rows = run(tmp_path, "live_sessions", "--sessions", "100", "200", "--poll-s", "2")
    assert [row["sessions"] for row in rows] == [100, 200]
    assert all(row["CPU ms per session and look"] > 0 for row in rows)


def test_presence(tmp_path: Path) -> None:
    (together, alone) = run(tmp_path, "presence", "--sessions", "150", "--seconds", "16")
    assert (together["rooms"], alone["rooms"]) == ("together", "one by one")
    assert 0 < together["most in 5 s"] < alone["most in 5 s"] <= 100
    assert together["requests per second"] < alone["requests per second"]
    assert together["failed looks"] == alone["failed looks"] == 0
    assert all(row["oldest s"] > 0 and row["CPU ms per session and look"] > 0 for row in (together, alone))


def test_create_sessions(tmp_path: Path) -> None:
    late = ("--tokens", "minted", "signed", "--provider-ms", "20")
    rows = run(tmp_path, "create_sessions", "--sessions", "20", "--callers", "1", "4", *late)
    assert [(row["callers"], row["tokens"], row["sessions"]) for row in rows] == [
        (callers, tokens, 20) for callers in (1, 4) for tokens in ("minted", "signed")
    ]
    # Each request to the provider takes 20 ms, and signing spares one of two.
    assert all(row["mean ms"] - row["mean less provider ms"] >= 20 for row in rows)
    assert all(row["mean ms"] >= 40 for row in rows if row["tokens"] == "minted")


def test_relay_backlog(tmp_path: Path) -> None:
    rows = run(tmp_path, "relay_backlog", "--events", "300", "--sessions", "1", "8")
    assert all(row["per second"] > 0 for row in rows)


@pytest.mark.parametrize("name", ["bare", "uvicorn", "picows"])
def test_a_server_tells_each_listener_everything_once(name: str) -> None:
    """What is measured is divided by the number of messages."""
    with from_benchmarks():
        from servers import SERVERS, running  # type: ignore[import-not-found]
        from sink import listening  # type: ignore[import-not-found]
    server = SERVERS[name]
    with running(server) as (process, port), listening(port, server.path, 30) as sink:
        for count in (1, 1, 100):
            server.publish(process, port, count)
        sink.wait_heard(30 * 102)
        time.sleep(0.1)
        assert sink.heard().messages == 30 * 102
        assert sink.heard().lost == 0


def test_the_sink_counts_what_is_sent() -> None:
    """It is what everything else is measured with: welcomes, events one by one, and a burst."""
    with from_benchmarks():
        from servers import SERVERS, running
        from sink import listening
    server = SERVERS["hub"]
    with running(server) as (process, port), listening(port, "/ws", 30) as sink:
        for count in (1, 1, 100):
            server.publish(process, port, count)
        while sink.heard().messages < 30 * 103:
            pass
        assert sink.heard().messages == 30 * 103  # the welcome, and 102 events
        times = sink.times()
        assert sorted(times) == list(range(1, 103))
        assert {count for count, _, _ in times.values()} == {30}
        assert sink.heard().lost == 0
