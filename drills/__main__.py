"""Runs drills: `python -m drills` all of them, `python -m drills NAME ...` some."""

from __future__ import annotations

import ast
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import click
import trio

from drills.frame.launcher import close_launcher
from drills.frame.report import Report, dump, progress, shown

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
RESULT = "result.json"
# Longest first, so that those that run side by side end together; but see `QUIET`.
NAMES = (
    "compressed_hour",
    "bad_listeners",
    "kill_anytime",
    "nats_outages",
    "provider_faults",
    "presence_lies",
    "webhook_lies",
    "clock_jumps",
    "disk_full",
    "stop_under_load",
    "hostile_bytes",
    "kill_between",
    "hang_up",
    "embedded_kill",
    "journal_rollback",
    "orphans",
)
# It measures how soon its listeners hear, so nothing runs beside it but the longest.
QUIET = "bad_listeners"
BESIDE = 3  # at a time: most of them mostly wait
# The longest takes as long as all others beside it, and has the right of way.
GIVE_WAY = ("nice", "-n", "4")
DRILL_S = 600.0
END_S = 60.0  # for a drill that is interrupted: it waits for those that it ends


async def run_drill(name: str, folder: Path, run_began: float, *, short: bool) -> dict[str, Any]:
    """Run one drill in this process; its result, which says `passed` or what did not hold."""
    report = Report(name, run_began)
    began = trio.current_time()
    module = importlib.import_module(f"drills.{name}")
    try:
        with trio.move_on_after(DRILL_S) as patience:
            await module.run(report, folder, short=short)
    finally:
        close_launcher()
    if patience.cancelled_caught:
        report.holds("the drill comes to its end", False, f"not within {DRILL_S:g} s")
    return {**report.as_json(), "lasted_s": round(trio.current_time() - began, 1), "processor_s": round(_processor_s())}


def _processor_s() -> float:
    """Processor time of this process and of all its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@click.command(
    epilog="""\b
    Examples:
      python -m drills                          all of them; seven to ten minutes on two cores
      python -m drills kill_anytime --short     one, in its short form
      python -m drills --json figures.json
    """
)
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--short", is_flag=True, help="Do everything a few times only, as `make test` does.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the results to this file.")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep logs, journals and streams in this folder."
)
@click.option("--list", "only_list", is_flag=True, help="List the drills and what each is about.")
@click.option("--here", type=float, hidden=True, help="Run the one drill in this process, of a run that began then.")
def main(
    names: tuple[str, ...],
    *,
    short: bool,
    json_file: Path | None,
    keep: Path | None,
    only_list: bool,
    here: float | None,
) -> None:
    """Try the real program under faults: kills, outages, full disks, hostile peers. All drills, or those named.

    Each prints what it did, how often, what it counted, and whether every promise held. The exit code is 1 when one did
    not. docs/reliability.md tells what is promised.
    """
    if here is not None:
        assert keep is not None
        drill = partial(run_drill, names[0], keep, here, short=short)
        result = trio.run(_unless_ended, drill, _standard_input_ends)
        (keep / RESULT).write_text(json.dumps(result))
        return
    if only_list:
        for name in NAMES:
            click.echo(f"{name:20} {_about(name)}")
        return
    names = tuple(dict.fromkeys(names)) or NAMES  # two of one drill would share its folder
    if keep is not None:
        _check_folders(keep, names)
    if json_file is not None:
        _check_writable(json_file)
    try:
        results = trio.run(_unless_ended, partial(_all, names, keep, short))
    except SystemExit:
        click.echo("interrupted", err=True)
        raise
    failed = [result["drill"] for result in results if not result["passed"]]
    if json_file is not None:
        json_file.write_text(dump(results))
    claims = sum(len(result["claims"]) for result in results)
    click.echo(f"{len(results)} drills, {claims} claims: {'FAILED: ' + ', '.join(failed) if failed else 'all hold'}")
    if failed and keep is None:
        again = [*failed, "--short"] if short else failed
        click.echo(f"their logs are gone; to have them: python -m drills {' '.join(again)} --keep FOLDER")
    sys.exit(1 if failed else 0)


def _about(name: str) -> str:
    """The first line of its docstring. It is not imported: what drills need of the tests only their processes find."""
    module = ast.parse((ROOT / "drills" / f"{name}.py").read_text())
    return (ast.get_docstring(module) or "").partition("\n")[0]


def _check_folders(keep: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder with something in it: a drill would take an old journal and an old stream for its own."""
    try:
        keep.mkdir(parents=True, exist_ok=True)
        used = [name for name in names if (keep / name).exists() and any((keep / name).iterdir())]
    except OSError as exc:
        raise click.UsageError(f"--keep {keep} cannot be used: {exc.strerror}") from exc
    if used:
        raise click.UsageError(f"{keep / used[0]} is not empty: remove it, or give --keep another folder.")


def _check_writable(json_file: Path) -> None:
    """Say before the run, rather than after it, that its results could not be written. Makes the file's folder."""
    try:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        is_new = not json_file.exists()
        json_file.open("a").close()
        if is_new:  # who finds a file may take it for results
            json_file.unlink()
    except OSError as exc:
        raise click.UsageError(f"--json {json_file} cannot be written: {exc.strerror}") from exc


async def _unless_ended(work: Callable[[], Awaitable[T]], ends: Callable[[], Awaitable[None]] | None = None) -> T:
    """What `work` returns. SIGINT, SIGTERM and the return of `ends` end it in order: what it has started ends too.

    Raises:
        SystemExit: it was ended, and the code tells by which signal.
    """
    work_scope = trio.CancelScope()
    taken: list[int] = []

    async def take_signals(task_status: trio.TaskStatus[None]) -> None:
        # To the end: a second signal, which `make` may pass on, must not break off what the first one began.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                taken.append(number)
                work_scope.cancel(reason="a signal")

    async def end_with(ends: Callable[[], Awaitable[None]]) -> None:
        await ends()
        work_scope.cancel(reason="nobody waits for it")

    async with trio.open_nursery() as nursery:
        await nursery.start(take_signals)
        if ends is not None:
            nursery.start_soon(end_with, ends)
        with work_scope:
            result = await work()
        nursery.cancel_scope.cancel(reason="the work is over")
    if work_scope.cancelled_caught:
        raise SystemExit(128 + (taken[0] if taken else signal.SIGTERM))
    return result


async def _standard_input_ends() -> None:
    """Return when the process that started us has ended, by whatever: it holds the other end and writes nothing."""
    await trio.lowlevel.wait_readable(sys.stdin)


async def _all(names: tuple[str, ...], keep: Path | None, short: bool) -> list[dict[str, Any]]:
    """Each drill in a process of its own, in a folder of its own, which stays only under `keep`."""
    drills = "1 drill" if len(names) == 1 else f"{len(names)} drills, {BESIDE} at a time"
    click.echo(f"{drills}; logs are kept {f'in {keep}' if keep else 'only with --keep'}", err=True)
    with tempfile.TemporaryDirectory(prefix="transport-trio-drills-") as folder:
        return await _all_in(keep or Path(folder), names, short)


async def _all_in(folder: Path, names: tuple[str, ...], short: bool) -> list[dict[str, Any]]:
    """Side by side, once the one that measures has ended."""
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    numbers = count(1)

    async def one(name: str) -> None:
        gives_way = NAMES[0] in names and name not in {NAMES[0], QUIET}
        progress(began, f"started {name} ({next(numbers)} of {len(names)})")
        result = await _in_a_process(name, folder / name, began, short, GIVE_WAY if gives_way else ())
        click.echo(shown(result))
        results.append(result)

    waiting = deque(name for name in NAMES if name in names and name != QUIET)
    measured = trio.Event()

    async def some() -> None:
        while waiting:
            await one(waiting.popleft())
            await measured.wait()

    async with trio.open_nursery() as nursery:
        if NAMES[0] in names:
            nursery.start_soon(some)
        if QUIET in names:
            await one(QUIET)
        measured.set()
        for _ in range(BESIDE - (NAMES[0] in names)):
            nursery.start_soon(some)
    return sorted(results, key=lambda result: NAMES.index(result["drill"]))


async def _in_a_process(
    name: str, folder: Path, run_began: float, short: bool, through: tuple[str, ...]
) -> dict[str, Any]:
    """The drill's result; one that broke off has failed, and its folder tells more with --keep."""
    folder.mkdir(parents=True, exist_ok=True)
    began = trio.current_time()
    options = ["--here", str(run_began), "--keep", str(folder), *(["--short"] if short else [])]
    drill = [sys.executable, "-m", "drills", name, *options]
    # Processes and servers are started as the tests start theirs.
    paths = [str(ROOT), str(ROOT / "tests")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    code = await _run_process([*through, *drill], environ)
    result = folder / RESULT
    if code == 0 and result.exists():
        told: dict[str, Any] = json.loads(result.read_text())
        return told
    broke = Report(name)
    broke.holds("the drill comes to its end", False, f"it ended with code {code}; see above")
    return {**broke.as_json(), "lasted_s": round(trio.current_time() - began, 1)}


async def _run_process(command: list[str], environ: dict[str, str]) -> int:
    """The exit code of a drill. A cancelled call gives it `END_S` to end in order, and leaves no process behind.

    What a terminal or `timeout` sends to a whole group would end the drill's children before it can: so it has a
    group of its own, and hears of a signal from us. (Not a session: there `nice` means nothing on many systems.)
    Where we are killed, its standard input ends.
    """
    process = await trio.lowlevel.open_process(command, env=environ, cwd=ROOT, stdin=subprocess.PIPE, process_group=0)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            with trio.CancelScope(shield=True):
                with trio.move_on_after(END_S):
                    await process.wait()
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        assert process.stdin is not None
        await process.stdin.aclose()


if __name__ == "__main__":
    main()
