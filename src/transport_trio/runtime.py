"""The composition root: open everything in order, surround Hypercorn, stop in order.

What is opened first closes last, so the order of opening is the plan for stopping (docs/architecture.md).
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import trio
import trio_asyncio
from prometheus_client import CollectorRegistry

from transport_trio.bus import READER, NatsSettings, Relay, StreamPlan, open_embedded_nats, open_nats
from transport_trio.concurrency import SystemClock, short_pauses
from transport_trio.connectors import ConnectorRegistry
from transport_trio.domains import open_domains
from transport_trio.hub import Hub, open_hub
from transport_trio.journal import SqliteJournal, open_instance, open_journal
from transport_trio.metrics import Metrics
from transport_trio.models import Check, CheckStatus
from transport_trio.sessions import open_sessions
from transport_trio.sessions.deps import Deps
from transport_trio.settings import Settings
from transport_trio.web import KeyRing, WebDeps, fit_open_files, serve

log = logging.getLogger(__name__)


@attrs.frozen
class Ready:
    """What a person wants to know when the service has begun to answer."""

    url: str
    nats_url: str | None


@attrs.define
class _State:
    """What `/ready` says of the service itself."""

    stopping: bool = False

    def check(self) -> Check:
        if self.stopping:
            return Check("service", CheckStatus.FAILED, "stopping: no new work is taken")
        return Check("service", CheckStatus.OK)


@attrs.frozen
class _Bus:
    check: Callable[[], Check]
    url: str | None


async def run(
    settings: Settings, *, new_epoch: bool = False, on_ready: Callable[[Ready], None] = lambda ready: None
) -> None:
    """Run the service until SIGTERM or SIGINT; a second signal ends the process at once.

    Raises:
        TransportError: it cannot start, or cannot listen there; the message is for the operator.
    """
    stop = trio.Event()
    settings = fit_open_files(settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, stop)
        await _serve_until(stop, settings, new_epoch=new_epoch, on_ready=on_ready)
        nursery.cancel_scope.cancel(reason="the service has stopped")


async def _serve_until(
    stop: trio.Event, settings: Settings, *, new_epoch: bool, on_ready: Callable[[Ready], None]
) -> None:
    metrics = Metrics.create(CollectorRegistry())
    metrics.watch(metrics.tasks, lambda: trio.lowlevel.current_statistics().tasks_living)
    clock = SystemClock(on_jump=metrics.clock_jumps.inc)
    metrics.watch(metrics.clock_correction, lambda: clock.correction_s)
    state = _State()
    async with AsyncExitStack() as stack:
        pauses = stack.enter_context(short_pauses())
        metrics.watch(metrics.garbage_pause, lambda: pauses.latest_s)
        domains = await stack.enter_async_context(open_domains(settings, metrics, clock.now))
        await domains.prepare(clock)
        journal = await stack.enter_async_context(
            open_journal(
                settings.data_dir,
                metrics=metrics,
                clock=clock,
                max_mib=settings.journal_max_mib,
                events_keep_s=settings.events_keep_s,
                sessions_keep_s=settings.sessions_keep_s,
                new_epoch=new_epoch,
                # Without a bus nobody comes back for what an earlier bus had not taken.
                readers=frozenset({READER} if settings.nats_url else ()),
            )
        )
        instance = await stack.enter_async_context(open_instance(settings.data_dir, clock))
        hub = await stack.enter_async_context(open_hub(journal, metrics, settings))
        journal.on_commit(hub.tell)
        bus = await stack.enter_async_context(_open_bus(settings, journal, hub, metrics))
        connectors = ConnectorRegistry(metrics)
        for daily in domains.connectors:
            connectors.register(daily)
        await stack.enter_async_context(domains.watch(clock))
        deps = Deps(
            journal=journal,
            connectors=connectors,
            clock=clock,
            metrics=metrics,
            settings=settings,
            ownership=instance,
        )
        service = await stack.enter_async_context(open_sessions(deps))
        web = WebDeps(
            settings=settings,
            service=service,
            journal=journal,
            hub=hub,
            metrics=metrics,
            keys=KeyRing(settings.api_keys),
            clock=clock,
            checks=lambda: [state.check(), journal.health(), bus.check(), *domains.checks(), clock.check()],
            started_at=trio.current_time(),
            stopping=lambda: state.stopping,
            doors={daily.name: daily.door for daily in domains.connectors},
        )
        async with trio.open_nursery() as http:
            url = await http.start(partial(serve, web, stop=stop))
            log.info("service started", extra={"url": url, "epoch": journal.epoch})
            if not settings.api_keys:
                log.warning("open to everybody who reaches the port: API_KEYS is not set", extra={"url": url})
            on_ready(Ready(url, bus.url))
            http.start_soon(domains.keep_webhooks, url, stop)
            await stop.wait()
            log.info("service stopping")
            state.stopping = True
            hub.close()
            await service.drain(settings.drain_s)
    log.info("service stopped")


async def _stop_on_signal(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.is_set():
                # Nothing that was answered is lost: the journal is durable at every instant.
                os._exit(128 + number)
            stop.set()


@asynccontextmanager
async def _open_bus(settings: Settings, journal: SqliteJournal, hub: Hub, metrics: Metrics) -> AsyncIterator[_Bus]:
    """The relay at work, or nothing where no NATS is configured. Leaving gives it a last, bounded chance."""
    if settings.nats_url is None:
        yield _Bus(lambda: Check("nats", CheckStatus.OFF, "NATS_URL is not set"), None)
        return

    async def begin_new_epoch() -> None:
        await journal.begin_new_epoch()
        hub.tell(())  # listeners learn at once that the ids they know mean nothing any more

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(trio_asyncio.open_loop())
        url = settings.nats_url
        if url == "embedded":
            folder = settings.data_dir / "nats"
            url = await stack.enter_async_context(open_embedded_nats(folder, settings.nats_port, metrics=metrics))
        plan = StreamPlan(duplicate_window_s=float(settings.nats_duplicate_window_s))
        nats = await stack.enter_async_context(open_nats(url, settings=NatsSettings(stream=plan)))
        metrics.watch(metrics.bus_away, lambda: nats.health().status is not CheckStatus.OK)
        relay = Relay(journal, nats, metrics, on_rollback=begin_new_epoch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.run, name="relay")
            try:
                yield _Bus(nats.health, url)
            finally:
                if relay.pending:
                    told = {"pending": relay.pending, "at_most_s": settings.drain_s}
                    log.info("waiting for NATS to take the last events; a second signal ends at once", extra=told)
                with trio.move_on_after(settings.drain_s, shield=True) as last_chance:
                    await relay.drain()
                if last_chance.cancelled_caught:
                    log.warning("events left for the next start", extra={"pending": relay.pending})
                nursery.cancel_scope.cancel(reason="the service is stopping")
