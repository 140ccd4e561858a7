"""A service with everything around it, each a child process: to be killed, stopped, frozen and started again."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from drills.frame.launcher import Forked, launcher
from nats_server import NatsServer
from ports import free_port
from service_process import KEPT
from transport_trio.connectors.daily.exchange import WholeBody
from transport_trio.sandbox import SandboxHandle

START_S = 30.0
STOP_S = 60.0
LOOK_S = 0.01
# Reading the machine's certificates costs more than a hundred questions, and everything is on loopback.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
LISTENING = "0A"  # in /proc/net/tcp
# What the loader or the interpreter reads before any of our code runs: a fork would come too late for it.
READ_BEFORE_MAIN = frozenset({"LD_PRELOAD", "TZ"})
# Looks into rooms and confirmations of leaves, so that a drill need not wait for a beat of 15 seconds.
QUICK = {"PRESENCE_POLL_S": "0.5", "PRESENCE_CONFIRM_S": "1"}


def http_client(url: str, timeout_s: float = 30.0, connections: int = 10) -> httpx.AsyncClient:
    """A client whose requests can be cancelled, or broken by a kill, and leave nothing to the garbage collector."""

    async def send_whole(request: httpx.Request) -> None:
        request.stream = WholeBody(request.content)

    return httpx.AsyncClient(
        base_url=url,
        timeout=timeout_s,
        trust_env=False,
        verify=NO_TLS,
        limits=httpx.Limits(max_connections=connections),
        event_hooks={"request": [send_whole]},
    )


class Program:
    """A command of ours that writes its output to a file and has one child process at a time."""

    def __init__(self, command: list[str], environ: dict[str, str], log: Path, ready: str) -> None:
        self.environ = environ
        self.log = log
        self.starts = 0
        self._arguments = command
        self._through: list[str] = []
        self._ready = ready.encode()
        self._process: trio.Process | Forked | None = None
        self._begin = 0  # where in the log the present process began

    def through(self, command: list[str]) -> None:
        """Have another program start it from now on; that one must become it, so that the pid is the same."""
        self._through = command

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def launch(self, *args: str) -> None:
        """Start it, with further arguments, and return at once."""
        kept = {name: value for name, value in os.environ.items() if name in KEPT}
        environ = {**kept, **self.environ}
        with self.log.open("ab") as log:
            self._begin = log.tell()
            if self._through or not READ_BEFORE_MAIN.isdisjoint(environ):
                command = [*self._through, sys.executable, "-m", "transport_trio", *self._arguments, *args]
                self._process = await trio.lowlevel.open_process(
                    command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            else:
                self._process = launcher().start([*self._arguments, *args], environ, self.log)
        self.starts += 1

    async def start(self, *args: str) -> None:
        """Start it, with further arguments, and return when it answers."""
        await self.launch(*args)
        await self.ready()

    async def ready(self) -> None:
        with trio.fail_after(START_S):
            while self._ready not in self.printed():
                if not self.running:
                    raise AssertionError(f"it ended at its start:\n{self.printed().decode()[-2000:]}")
                await trio.sleep(LOOK_S)

    def printed(self) -> bytes:
        """What the present process has written so far."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read()

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit code as `ended` gives it."""
        assert self._process is not None
        self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; the exit code, minus the signal's number where it was killed."""
        assert self._process is not None
        with trio.fail_after(STOP_S):
            return await self._process.wait()

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def close(self) -> None:
        if self.running:
            with trio.CancelScope(shield=True):
                await self.kill()


class Service(Program):
    """`transport-trio serve` on a port that stays the same over its starts."""

    def __init__(self, folder: Path, port: int, settings: dict[str, str]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.socket_url = f"ws://127.0.0.1:{port}/ws"
        self.data_dir = Path(settings.get("DATA_DIR", str(folder / "data")))
        environ = {"PORT": str(port), "LOG_FORMAT": "json", "DATA_DIR": str(self.data_dir), **settings}
        super().__init__(["serve"], environ, folder / "service.log", '"event": "service started"')

    async def get(self, path: str) -> Any:
        """The JSON of an answer, whatever its status."""
        async with http_client(self.url) as client:
            return (await client.get(path)).json()

    async def checks(self) -> dict[str, str]:
        """What `/ready` says: status by check, and of all under `ready`."""
        answer = await self.get("/ready")
        return {"ready": answer["status"], **{each["name"]: each["status"] for each in answer["checks"]}}

    async def metrics(self) -> dict[str, float]:
        """Every sample by name and labels as the text form writes them."""
        async with http_client(self.url) as client:
            text = (await client.get("/metrics")).text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def metric(self, name: str) -> float:
        return (await self.metrics()).get(name, 0.0)


@attrs.frozen(kw_only=True)
class World:
    folder: Path
    service: Service
    sandbox: SandboxHandle
    sandbox_program: Program
    nats: NatsServer | None = None

    def rooms(self) -> set[str]:
        """The names of the rooms that exist at the provider; the sandbox keeps those that have expired for a while."""
        now = self.sandbox.now()
        return {room["name"] for room in self.sandbox.rooms() if room["config"].get("exp", now + 1) > now}


@asynccontextmanager
async def open_world(
    folder: Path, *, nats: bool = True, sandbox_args: tuple[str, ...] = ("--no-rate-limits",), **settings: str
) -> AsyncIterator[World]:
    """Sandbox and, if wanted, a NATS server, both running; the service is configured and not yet started.

    `settings` are the service's variables; NATS_URL is the server's unless given.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sandbox_port, service_port = free_port(), free_port()
    sandbox = Program(["sandbox", "--port", str(sandbox_port), *sandbox_args], {}, folder / "sandbox.log", "Ctrl-C")
    server = NatsServer(folder / "nats") if nats else None
    account = {
        "DAILY_API_URL": f"http://127.0.0.1:{sandbox_port}/v1",
        "DAILY_API_KEY": "sandbox",
        "DAILY_DOMAIN": "sandbox",
        # What is tried is the service, not the wait for a provider's rate limit.
        "DAILY_RATE_LIMITS": "false",
    }
    if server is not None:
        account["NATS_URL"] = server.url
    service = Service(folder, service_port, {**account, **QUICK, **settings})
    try:
        if server is not None:
            server.start()
        await sandbox.start()
        handle = SandboxHandle(f"http://127.0.0.1:{sandbox_port}", api_key="sandbox", domain="sandbox")
        yield World(folder=folder, service=service, sandbox=handle, sandbox_program=sandbox, nats=server)
    finally:
        await service.close()
        await sandbox.close()
        if server is not None:
            server.kill()


async def until(holds: Callable[[], Awaitable[bool]], within_s: float, every_s: float = 0.05) -> bool:
    """Ask again and again; whether it came to hold in time."""
    with trio.move_on_after(within_s):
        while not await holds():
            await trio.sleep(every_s)
        return True
    return False


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int | str) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(*, local: int | None = None, remote: int | None = None) -> int:
    """TCP connections of this machine, by their port here or there, that some process still holds open."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, *_, inode = line.split()[:10]
        ports = int(here.rpartition(":")[2], 16), int(there.rpartition(":")[2], 16)
        wanted = local in (None, ports[0]) and remote in (None, ports[1])
        count += wanted and state != LISTENING and inode != "0"
    return count


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@contextmanager
def frozen(pid: int) -> Any:
    """The process stands still during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
