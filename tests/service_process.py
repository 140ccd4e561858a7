"""Programs as child processes of a test, and the service as one: what a user starts in a terminal, on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import attrs
import trio

T = TypeVar("T")

LINE_S = 30.0  # bounds a test that hangs; nothing waits for it on purpose
STOP_S = 15.0
# What a child keeps of our environment: none of our settings, and no proxy.
KEPT = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR"})


class Child:
    """A running program and what it has printed, standard output and error together."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = trio.Event()
        self._silent = False  # the end of its output

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, text: str, *, start: int = 0) -> str:
        """The first line, from number `start` on, that holds `text`; waits for it.

        Raises:
            AssertionError: it ended, or `LINE_S` passed, without such a line. The message has what it printed.
        """
        looked = start
        with trio.move_on_after(LINE_S):
            while True:
                for line in self.lines[looked:]:
                    if text in line:
                        return line
                looked = len(self.lines)
                if self._silent:
                    break
                await self._news.wait()
        raise AssertionError(f"no line with {text!r} in:\n" + "\n".join(self.lines))

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        with trio.fail_after(STOP_S):
            code = await self.process.wait()
            while not self._silent:  # all that it printed is here
                await self._news.wait()
        return code

    async def read(self) -> None:
        """Task body: collects the output until its end."""
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *whole, rest = (rest + chunk).split(b"\n")
            self.lines += [line.decode() for line in whole]
            self._tell()
        self._silent = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def child_process(
    command: Sequence[str], environ: dict[str, str] | None = None, *, cwd: Path | None = None, coverage: bool = False
) -> AsyncIterator[Child]:
    """Run a program during the block; killed at its end if it is still there."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or (coverage and name.startswith("COV"))}
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            command,
            env={**kept, **(environ or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        child = Child(process)
        nursery.start_soon(child.read)
        try:
            yield child
        finally:
            if process.returncode is None:
                process.kill()
            with trio.move_on_after(STOP_S, shield=True):
                await process.wait()
            nursery.cancel_scope.cancel(reason="the block has ended")


@attrs.frozen
class Service:
    """A service that answers at `url`, with the key it wants if it wants one."""

    child: Child
    url: str
    api_key: str | None

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/ws"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit code."""
        return await self.child.stop(number)


async def logged(child: Child, event: str) -> dict[str, Any]:
    """The first log line of this event; waits for it. The child logs JSON."""
    found: dict[str, Any] = json.loads(await child.line(f'"event": "{event}"'))
    return found


@asynccontextmanager
async def service_process(
    data_dir: Path, *args: str, api_key: str | None = None, **settings: str
) -> AsyncIterator[Service]:
    """`transport-trio serve` on a free port, up and answering; `settings` are its variables.

    What still runs at the end of the block is stopped as an operator would.
    """
    environ = {"DATA_DIR": str(data_dir), "PORT": "0", "LOG_FORMAT": "json", **settings}
    if api_key is not None:
        environ["API_KEYS"] = api_key
    command = [sys.executable, "-m", "transport_trio", "serve", *args]
    async with child_process(command, environ, coverage=True) as child:
        started = await logged(child, "service started")
        try:
            yield Service(child, started["url"], api_key)
        finally:
            if child.process.returncode is None:
                with trio.move_on_after(STOP_S, shield=True):
                    child.process.terminate()
                    await child.process.wait()


@contextmanager
def in_thread(open_: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """What `open_` opens, kept open by a Trio loop in a thread: for fixtures that outlive a test.

    Of a service only the plain values (`url`, `headers`) may be used; its methods belong to that loop.
    """
    opened: SimpleQueue[T | BaseException] = SimpleQueue()
    close: SimpleQueue[None] = SimpleQueue()

    async def keep_open() -> None:
        async with open_() as value:
            opened.put(value)
            await trio.to_thread.run_sync(close.get)

    def body() -> None:
        try:
            trio.run(keep_open)
        except BaseException as exc:
            opened.put(exc)

    thread = threading.Thread(target=body)
    thread.start()
    value = opened.get()
    try:
        if isinstance(value, BaseException):
            raise value
        yield value
    finally:
        close.put(None)
        thread.join()
