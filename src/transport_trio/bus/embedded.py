"""The bundled nats-server as a supervised child: for the first run and for small installations."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from transport_trio.bus import leash
from transport_trio.bus.home import Home, find_program
from transport_trio.concurrency import RestartPolicy, supervise
from transport_trio.errors import BusError, BusStartFailed, BusUnavailable
from transport_trio.metrics import Metrics

log = logging.getLogger(__name__)

START_S = 30.0  # a large store is read before the server listens
STOP_S = 5.0
KILL_S = 1.0
LINE_MAX = 64 * 1024
# It is restarted for as long as the service lives: without it there is no bus, but REST and WebSocket go on.
RESTARTS = RestartPolicy(max_restarts=1000, period_s=60.0, base_delay_s=0.5, max_delay_s=10.0)

_LINE = re.compile(r"\[\d+\] (?:\S+ \S+ )?\[(?P<level>[A-Z]{3})\] (?P<text>.*)")
_LISTENING = re.compile(r"Listening for client connections on \S+:(?P<port>\d+)")
_LEASH = (sys.executable, "-I", "-S", leash.__file__)
_LEVELS = {"WRN": logging.WARNING, "ERR": logging.ERROR, "FTL": logging.ERROR}


class _Child:
    """A running server and its log."""

    def __init__(self, program: str, home: Home) -> None:
        read_end, write_end = os.pipe()
        try:
            # Not in a worker thread, as Trio would: the kernel takes the end of the thread for that of the parent.
            self._process = subprocess.Popen(  # noqa: S603
                [*_LEASH, str(os.getpid()), str(home.pidfile), program, "-c", str(home.config)],
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                # Ctrl-C in a terminal goes to us alone: the relay needs the server for its last messages.
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        self._output = trio.lowlevel.FdStream(read_end)
        self._buffer = b""
        self.pid = self._process.pid
        self.fault = ""

    async def ready(self) -> int:
        """Return the port when the server can be used.

        Raises:
            BusStartFailed: it has ended, or does not get that far.
        """
        port = None
        with trio.move_on_after(START_S):
            while (text := await self._next_line()) is not None:
                if match := _LISTENING.search(text):
                    port = int(match["port"])
                if port is not None and "Server is ready" in text:
                    return port
            raise BusStartFailed(f"the embedded nats-server does not start: {self.fault or 'it ended at once'}")
        raise BusStartFailed(f"the embedded nats-server is not ready after {START_S:g} s")

    async def ended(self) -> int:
        """Pass its log on until it ends; the exit code."""
        while await self._next_line() is not None:
            pass
        return await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)

    async def stop(self, patience_s: float) -> None:
        """End it in order within `patience_s`, else by force, and reap it."""
        self._process.terminate()
        with trio.move_on_after(patience_s, shield=True):
            await self.ended()
        if self._process.poll() is None:
            log.warning("nats-server did not stop and is killed", extra={"pid": self.pid})
            self._process.kill()
            with trio.move_on_after(KILL_S, shield=True):
                await self.ended()
        await trio.aclose_forcefully(self._output)

    async def _next_line(self) -> str | None:
        """The text of the next log line, also sent to our log; None at the end."""
        while b"\n" not in self._buffer and len(self._buffer) < LINE_MAX:
            data = await self._output.receive_some()
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return self._tell(line.decode(errors="replace"))

    def _tell(self, line: str) -> str:
        match = _LINE.match(line)
        level = _LEVELS.get(match["level"], logging.DEBUG) if match else logging.DEBUG
        text = match["text"] if match else line
        if level == logging.ERROR:
            self.fault = text
        log.log(level, "nats-server says", extra={"line": text})
        return text


class _Server:
    """One server after the other on the same folder and port."""

    def __init__(self, home: Home, port: int, stop_s: float) -> None:
        self._home, self._port, self._stop_s = home, port, stop_s
        self._program = find_program()
        self._child: _Child | None = None

    async def start(self) -> str:
        """Start it and return its URL; from the second time on it has the port of the first."""
        await self._home.end_orphan()
        self._home.configure(self._port)
        child = self._child = _Child(self._program, self._home)
        try:
            self._port = await child.ready()
        except BusStartFailed as exc:
            await self.stop()
            if "address already in use" in str(exc):
                raise BusStartFailed(
                    f"port {self._port} of 127.0.0.1 is taken; set NATS_PORT to another one, or to 0 for a free one"
                ) from exc
            raise
        log.info("nats-server started", extra={"pid": child.pid, "port": self._port})
        return f"nats://127.0.0.1:{self._port}"

    async def mind(self) -> None:
        """Start it if it is not running, and raise `BusUnavailable` when it ends."""
        if self._child is None:
            await self.start()
        assert self._child is not None
        code = await self._child.ended()
        await self.stop()
        raise BusUnavailable(f"the embedded nats-server ended with code {code}")

    async def stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.stop(self._stop_s)


@asynccontextmanager
async def open_embedded_nats(
    folder: Path, port: int, *, metrics: Metrics, stop_s: float = STOP_S
) -> AsyncIterator[str]:
    """Run a server with its store in `folder` on 127.0.0.1 and yield its URL; `port` 0 picks a free one.

    When it dies it is started again, with the same URL. It ends when the block is left, in order within `stop_s` or
    else by force; and, on Linux, when this process is killed.

    Raises:
        BusBinaryMissing: it is not installed.
        BusStartFailed: the port is taken, the folder is in use, or the server does not start.
    """
    home = Home(folder)
    with home.locked():
        server = _Server(home, port, stop_s)
        try:
            url = await server.start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_supervise, server, metrics, name="nats-server")
                try:
                    yield url
                finally:
                    nursery.cancel_scope.cancel(reason="the service is stopping")
        finally:
            await server.stop()


async def _supervise(server: _Server, metrics: Metrics) -> None:
    restarts = metrics.task_restarts.labels("nats-server")
    await supervise("nats-server", server.mind, RESTARTS, restart_on=BusError, on_restart=restarts.inc)
