"""The sandbox for programs that are not on Trio: in a thread of its own, with a Trio loop of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

import attrs
import trio

from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.handle import SandboxHandle
from transport_trio.sandbox.server import serve_sandbox

START_S = 30.0  # generous: a loaded machine
STOP_S = 10.0


@attrs.define(eq=False)
class _Run:
    """One server in its thread. `started` gets its URL, or None when it ended without one: then `crash` says why."""

    config: SandboxConfig
    started: SimpleQueue[str | None] = attrs.field(factory=SimpleQueue)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    token: trio.lowlevel.TrioToken | None = None
    crash: BaseException | None = None

    def body(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as exc:
            self.crash = exc
        finally:
            self.started.put(None)

    async def _main(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        with self.scope:
            await serve_sandbox(self.config, task_status=_Started(self.started))

    def cancel(self) -> None:
        assert self.token is not None
        with suppress(trio.RunFinishedError):  # it has crashed, which the caller is told
            self.token.run_sync_soon(self.scope.cancel)


@attrs.frozen
class _Started(trio.TaskStatus[str]):
    _queue: SimpleQueue[str | None]

    def started(self, value: str | None = None) -> None:
        self._queue.put(value)


@contextmanager
def sandbox_in_thread(config: SandboxConfig | None = None) -> Iterator[SandboxHandle]:
    """A running sandbox; it stops when the block ends.

    Raises:
        OSError: its address cannot be listened on.
    """
    run = _Run(config or SandboxConfig())
    thread = threading.Thread(target=run.body, name="daily sandbox", daemon=True)
    thread.start()
    url = run.started.get(timeout=START_S)
    try:
        if url is not None:
            yield SandboxHandle(
                url,
                api_key=run.config.api_key,
                domain=run.config.domain,
                further_domains=run.config.further_domains,
            )
    finally:
        run.cancel()
        thread.join(STOP_S)
    if run.crash is not None:
        raise run.crash
