"""Sweeps for rooms of ours without a session: at the start, now and again, and when somebody asks.

What a sweep does is in `sweeping`; here is when, and what becomes known of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from transport_trio.concurrency import doubling_s
from transport_trio.errors import TransportError
from transport_trio.models import Sweep
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.sweeping import Holder, Sweeping

log = logging.getLogger(__name__)

RETRY_S = 60.0
NAMED_IN_LOG = 10


class OrphanSweeps:
    """Sweeps each provider at the start, then now and again, and when somebody asks; one sweep of each at a time."""

    def __init__(self, deps: Deps, holder: Holder) -> None:
        self._deps = deps
        self._holder = holder
        self._latest: dict[str, Sweep] = {}
        self._asked = trio.Event()
        self._delete_asked = False
        self.is_running = False
        self.completed = 0  # sweeps of all providers

    @property
    def latest(self) -> Sequence[Sweep]:
        return tuple(self._latest[name] for name in self._deps.connectors.names if name in self._latest)

    def ask(self, *, delete: bool) -> int:
        """Have a sweep begin as soon as none is under way; how many will be `completed` when it is over."""
        self._delete_asked = self._delete_asked or delete
        self._asked.set()
        return self.completed + 1 + self.is_running

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self._deps.settings
        failures = 0
        if settings.orphan_sweep == "off":
            await self._asked.wait()
        while True:
            self._asked, asked_to_delete, self._delete_asked = trio.Event(), self._delete_asked, False
            done = await self._sweep_all(delete=asked_to_delete or settings.orphan_sweep == "delete")
            failures = 0 if done else failures + 1
            wait_s = settings.orphan_sweep_s
            if failures:
                wait_s = min(wait_s, doubling_s(failures, base_s=RETRY_S, max_s=wait_s))
            if settings.orphan_sweep == "off":
                wait_s = float("inf")
            with trio.move_on_after(wait_s * self._deps.jitter.uniform(0.9, 1.0)):
                await self._asked.wait()

    async def _sweep_all(self, *, delete: bool) -> bool:
        self.is_running = True
        try:
            # Side by side: each has a request limit of its own, and a slow one shall not keep the others waiting.
            async with trio.open_nursery() as nursery:
                for provider in self._deps.connectors.names:
                    nursery.start_soon(self._sweep, provider, delete, name=f"orphan sweep {provider}")
        finally:
            self.is_running = False
        self.completed += 1
        return all(sweep.failure is None for sweep in self.latest)

    async def _sweep(self, provider: str, delete: bool) -> None:
        sweeping = Sweeping(self._deps, self._holder, self._deps.connectors.get(provider), delete)
        failure = None
        try:
            await sweeping.run()
        except TransportError as exc:
            failure = str(exc)
            self._deps.metrics.orphan_sweep_failures.labels(provider=provider).inc()
        sweep = sweeping.told(failure)
        self._latest[provider] = sweep
        self._tell(sweep)

    def _tell(self, sweep: Sweep) -> None:
        left, metrics = sweep.left(), self._deps.metrics
        if sweep.failure is None:  # else nobody knows what there is: the figures of before stay
            for kind, count in left.items():
                metrics.orphan_rooms.labels(provider=sweep.provider, kind=kind).set(count)
            metrics.orphan_sweep_time.labels(provider=sweep.provider).set(sweep.finished_at.timestamp())
        told = {
            "provider": sweep.provider,
            "rooms": sweep.rooms,
            **{str(kind): count for kind, count in left.items()},
            "deleted": sweep.deleted,
            "first": [orphan.room.name for orphan in sweep.orphans[:NAMED_IN_LOG]],
            **({} if sweep.failure is None else {"error": sweep.failure}),
        }
        level = logging.WARNING if sweep.failure or sweep.orphans else logging.INFO
        log.log(level, "orphan sweep broke off" if sweep.failure else "orphan sweep done", extra=told)
