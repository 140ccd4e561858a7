"""What the benchmarks share: the service and its sandbox as child processes, progress, tables, plots, results.

A figure is only worth something beside the machine it was measured on: see `machine()`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import httpx

RECORDED = Path(__file__).parent / "recorded"
# What is measured has one core for itself, and all that loads it the other.
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
# Of what a run was asked for, these say nothing about its figures.
OUTPUTS = {"json", "plot", "record"}
# The columns that say what was done; all others say how it went.
DONE = (
    "server",
    "request",
    "rooms",
    "tokens",
    "webhook",
    "lag s",
    "TLS",
    "listeners",
    "sessions",
    "callers",
    "connections",
    "bus",
)
START_S = 20.0
STOP_S = 30.0
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@attrs.frozen
class Target:
    """A running service and the sandbox behind it."""

    url: str
    pid: int
    sandbox_url: str
    sandbox_pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults are shown, and the examples keep their lines."""


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=_Help)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--plot", type=Path, help="also draw the results into this PNG file")
    parser.add_argument("--record", action="store_true", help="keep the results as what later runs are compared with")
    return parser


@contextmanager
def running_service(**settings: str) -> Iterator[Target]:
    """Start sandbox and service on free ports with a fresh data directory; stop both at the end. Each has its core."""
    with running_sandbox() as sandbox, sandbox.service(**settings) as target:
        yield target


@attrs.frozen
class Sandbox:
    """A running sandbox, and the folder of the service beside it: the next one goes on with what is in it."""

    address: str
    pid: int
    folder: str
    environ: dict[str, str] = attrs.field(repr=False)

    @contextmanager
    def service(self, **settings: str) -> Iterator[Target]:
        environ = {
            **self.environ,
            "PORT": "0",
            "DATA_DIR": f"{self.folder}/data",
            "DAILY_API_URL": f"{self.address}/v1",
            "LOG_LEVEL": "warning",
            "API_KEYS": "",  # the load brings none, whatever the shell has set
            # What is measured is the service, not the wait for a provider's rate limit.
            "DAILY_RATE_LIMITS": "false",
            **settings,
        }
        with _child(["serve"], SERVER_CORE, environ, self.folder) as service:
            yield Target(service.address, service.pid, self.address, self.pid)


@contextmanager
def running_sandbox() -> Iterator[Sandbox]:
    with tempfile.TemporaryDirectory(prefix="transport-trio-bench-") as folder:
        environ = {**os.environ, "DAILY_API_KEY": "sandbox", "DAILY_DOMAIN": "sandbox", "LOG_FORMAT": "json"}
        command = ["sandbox", "--port", "0", "--no-rate-limits", "--no-people"]
        with _child(command, LOAD_CORE, environ, folder) as sandbox:
            yield Sandbox(sandbox.address, sandbox.pid, folder, environ)


def room_for(listeners: int) -> dict[str, str]:
    """Settings that let so many listeners in: some connections are kept for others."""
    return {"LISTENERS_MAX": str(listeners + 200), "CONNECTIONS_MAX": str(listeners * 5 // 4 + 1000)}


@attrs.frozen
class _Child:
    pid: int
    address: str


@contextmanager
def _child(command: Sequence[str], core: int, environ: dict[str, str], folder: str) -> Iterator[_Child]:
    output = Path(folder) / f"{command[0]}.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "transport_trio", *command],
            env=environ,
            stdout=sink,
            stderr=sink,
        )
    try:
        yield _Child(process.pid, _wait_for_address(process, output))
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server, in order if it does so in time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_address(process: subprocess.Popen[bytes], output: Path) -> str:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        found = ADDRESS.search(output.read_text(errors="replace"))
        if found and _answers(found[0]):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not start:\n{output.read_text(errors='replace')[-2000:]}")


def _answers(address: str) -> bool:
    try:
        httpx.get(address, timeout=1)
    except httpx.TransportError:
        return False
    return True


def cpu_s(pid: int) -> float:
    """Processor time that a process has used so far, threads that have ended included."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of it on Linux; /proc counts in 10 ms


def pin(core: int) -> None:
    """Have this process, and those that it starts, run on one core."""
    if SERVER_CORE == LOAD_CORE:
        raise SystemExit("two cores are needed: one for what is measured, one for what loads it")
    os.sched_setaffinity(0, {core})


class Watch:
    """How busy the core of the load was since this was made, whoever used it."""

    def __init__(self) -> None:
        self._before = self._ticks()

    def percent(self) -> float:
        idle, total = (now - then for now, then in zip(self._ticks(), self._before, strict=True))
        return 100 * (1 - idle / total) if total else 0.0

    def _ticks(self) -> tuple[int, int]:
        (line,) = (line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{LOAD_CORE} "))
        ticks = [int(number) for number in line.split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)  # idle, and waiting for a disk


def rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"process {pid} is gone")


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class Progress:
    """A line that moves on a terminal, and a few lines elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._shown = 0.0

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown < (0.2 if sys.stderr.isatty() else 2.0) and done < self._total:
            return
        self._shown = now
        end = "\r" if sys.stderr.isatty() and done < self._total else "\n"
        print(f"{self._what}: {done}/{self._total}", end=end, file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with equal keys as an aligned table."""
    titles = list(rows[0])
    cells = [titles, *([_cell(row[title]) for title in titles] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _cell(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "processor": next((line.partition(": ")[2] for line in _cpuinfo() if line.startswith("model name")), "unknown"),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpuinfo() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()


def _commit() -> str:
    """Of what was measured."""
    command = ["git", "-C", str(RECORDED), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def report(name: str, rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the table, and beside the last recorded run; write JSON and plot where asked for."""
    print(table(rows))
    parameters = {key: value for key, value in vars(options).items() if key not in OUTPUTS}
    result = {
        "benchmark": name,
        "machine": machine(),
        "commit": _commit(),
        "parameters": parameters,
        "rows": list(rows),
    }
    recorded = RECORDED / f"{name}.json"
    if recorded.exists():
        _compare(result, json.loads(recorded.read_text()))
    targets = [target for target in (options.json, recorded if options.record else None) if target is not None]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=2) + "\n")
        print(f"results written to {target}", file=sys.stderr)


def _compare(result: dict[str, Any], recorded: dict[str, Any]) -> None:
    """Each figure divided by the one that was recorded for the same row, and what else was not the same."""
    before = {_key(row): row for row in recorded["rows"]}
    ratios = [
        {title: _ratio(title, value, then.get(title)) for title, value in row.items()}
        for row in result["rows"]
        if (then := before.get(_key(row))) is not None
    ]
    if not ratios:
        return
    print(f"\nas multiples of what was recorded at {recorded['machine']['measured_at']}, commit {recorded['commit']}:")
    print(table(ratios))
    for what in ("machine", "parameters"):
        for name, then in recorded[what].items():
            now = result[what].get(name)
            if now != then and name not in {"measured_at", "servers", *DONE}:
                print(f"not the same: {name} was {then}, is {now}")


def _ratio(title: str, value: Any, then: Any) -> Any:
    if title in DONE or not isinstance(value, int | float) or not then:
        return value
    return f"x {value / then:.2f}"


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(title) for title in DONE)


def plot(
    path: Path,
    title: str,
    x: str,
    ys: Sequence[str],
    rows: Sequence[dict[str, Any]],
    *,
    unit: str,
    by: str | None = None,
    wide: bool = False,
) -> None:
    """Draw some columns of the rows against another, a picture each where there is a line for each value of `by`.

    With `wide` both axes are logarithmic: for figures that differ by powers of ten.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pictures = [[y] for y in ys] if by else [list(ys)]
    figure, axes = plt.subplots(1, len(pictures), figsize=(7 * len(pictures), 4.5), squeeze=False)
    for picture, columns in zip(axes[0], pictures, strict=True):
        for y in columns:
            for one in dict.fromkeys(row[by] for row in rows) if by else [None]:
                chosen = [row for row in rows if one is None or row[by or ""] == one]
                label = y if one is None else f"{by} {one}" if one in {"yes", "no"} else str(one)
                picture.plot([row[x] for row in chosen], [row[y] for row in chosen], marker="o", label=label)
        picture.set(title=columns[0] if by else title, xlabel=x, ylabel=unit)
        if wide:
            picture.set(xscale="log", yscale="log")
        else:
            picture.set_ylim(bottom=0)
        picture.grid(alpha=0.3, which="both")
        picture.legend(fontsize="small")
    told = machine()
    figure.suptitle(
        f"{title} · {told['measured_at'][:10]} · {told['cores']} cores, {told['processor']}", fontsize="small"
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"plot written to {path}", file=sys.stderr)
