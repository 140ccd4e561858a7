"""Starts the program many times a minute: by forks of a process that has imported all of it, and done nothing else.

Importing takes two thirds of a start, and is the same each time. From `main` on a fork is what a shell would have
started: its own environment, arguments, working files and signals. `python -m drills.frame.launcher` reads one JSON
request a line from its standard input, answers each with one, and takes its children along when it ends.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import trio

PR_SET_PDEATHSIG = 1
FILES_MAX = 256
# What `serve` and `sandbox` import by the time they answer.
IMPORTED = ("transport_trio.cli.service", "transport_trio.runtime", "transport_trio.cli.sandbox", "hypercorn.trio")


class Forked:
    """A process that the launcher has started for us: the part of `trio.Process` that drills use."""

    def __init__(self, launcher: Launcher, pid: int) -> None:
        self._launcher = launcher
        self._over = os.pidfd_open(pid)
        self._turn = trio.Lock()  # one task at a time may wait for a file
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, minus the signal's number where it was killed; None while it runs."""
        if self.returncode is None:
            self.returncode = self._launcher.ask({"poll": self.pid})["code"]
            if self.returncode is not None:
                os.close(self._over)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        async with self._turn:
            while (code := self.poll()) is None:
                await trio.lowlevel.wait_readable(self._over)
        return code


class Launcher:
    """The process that forks. Each request takes it milliseconds, so we wait for its answers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=own_environ(),
        )

    def start(self, arguments: list[str], environ: dict[str, str], log: Path) -> Forked:
        """`python -m transport_trio ARGUMENT...` with this environment; what it prints is added to `log`."""
        request = {"arguments": arguments, "environ": environ, "log": str(log.absolute())}
        return Forked(self, self.ask(request)["pid"])

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and whatever it has started; its processor time then counts as ours."""
        self._process.communicate()


def own_environ() -> dict[str, str]:
    """For Python processes of drills: they find what we find. Under `make test` coverage would slow them down."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return {**ours, "PYTHONPATH": os.pathsep.join(sys.path)}


_launchers: list[Launcher] = []


def launcher() -> Launcher:
    """The one of this process, started when it is first wanted."""
    if not _launchers:
        _launchers.append(Launcher())
    return _launchers[0]


def close_launcher() -> None:
    """Nothing that was started by forks lives on."""
    while _launchers:
        _launchers.pop().close()


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the first collection in each fork copies all of it
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            pid = os.fork()
            if pid == 0:
                _become(request)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> NoReturn:
    """Be the program from here on, and end with it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, FILES_MAX)
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = ["transport-trio", *request["arguments"]]
    code = 1
    try:
        importlib.import_module("transport_trio.cli").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
