"""The sandbox for programs that are not on Trio: in a thread of its own, with a Trio loop of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue

import trio

from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.handle import SandboxHandle
from transport_trio.sandbox.server import serve_sandbox

START_S = 30.0  # generous: a loaded machine
STOP_S = 10.0


@contextmanager
def sandbox_in_thread(config: SandboxConfig | None = None) -> Iterator[SandboxHandle]:
    """A running sandbox; it stops when the block ends.

    Raises:
        OSError: its address cannot be listened on.
    """
    config = config or SandboxConfig()
    started: SimpleQueue[str | BaseException] = SimpleQueue()
    stop: SimpleQueue[trio.lowlevel.TrioToken] = SimpleQueue()
    scope = trio.CancelScope()

    async def run() -> None:
        stop.put(trio.lowlevel.current_trio_token())
        with scope:
            async with trio.open_nursery() as nursery:
                started.put(await nursery.start(partial(serve_sandbox, config)))

    def body() -> None:
        try:
            trio.run(run)
        except BaseException as exc:
            started.put(exc)

    thread = threading.Thread(target=body, name="daily sandbox", daemon=True)
    thread.start()
    url = started.get(timeout=START_S)
    if isinstance(url, BaseException):
        thread.join(STOP_S)
        raise url
    try:
        yield SandboxHandle(url, api_key=config.api_key, domain=config.domain)
    finally:
        stop.get().run_sync_soon(scope.cancel)
        thread.join(STOP_S)
