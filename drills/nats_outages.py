"""NATS away in every way: stopped, cut off, frozen, deaf, killed, wiped; with two services on one stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller, Follower, consuming
from drills.frame.load import Load, claim_full_speed, pace
from drills.frame.report import Report
from drills.frame.truth import check_dense, check_heard, check_stored
from drills.frame.world import Service, World, open_world, rss_bytes, until
from lossy_proxy import LossyProxy, open_lossy_proxy
from nats_server import NatsServer, Onlooker, Stored
from ports import free_port

WINDOW_S = 2  # of the stream, for messages that come twice: every long outage here outlasts it
# docs/adr/0030: an answer is waited for 5 s, the stream looked at every 10 s; reconnecting takes two tries of 5 s each
# and a pause of 5 s. Then the machine is shared.
NOTICED_S, BACK_S = 15 + 10, 15 + 10
DELIVERED_S = 40.0
RSS_GROWTH_BYTES = 48 * 1024 * 1024
IN_FLIGHT, FEW = 64, 10
CALM_S, CALM_SHORT_S = 4.0, 1.0


@attrs.define(eq=False)
class _Side:
    """One of the services, with those who use it."""

    service: Service
    caller: Caller
    listener: Follower
    load: Load
    epoch: str = ""
    rss: list[int] = attrs.field(factory=list)

    async def says(self, status: str) -> bool:
        return (await self.service.checks())["nats"] == status

    async def is_away(self) -> bool:
        return await self.service.metric("transport_bus_away") == 1

    async def is_well(self) -> bool:
        """NATS is not away, and under load only what is new waits."""
        return await self.says("ok") and not await self.is_away() and await self.pending() <= FEW

    async def pending(self) -> float:
        return await self.service.metric("pending_messages")


@attrs.frozen
class _Stage:
    report: Report
    server: NatsServer
    proxy: LossyProxy
    sides: tuple[_Side, _Side]

    async def is_well(self) -> bool:
        return all([await side.is_well() for side in self.sides])

    async def all_delivered(self) -> bool:
        return not any([await side.pending() for side in self.sides])


async def run(report: Report, folder: Path, *, short: bool) -> None:
    async with open_world(folder, NATS_DUPLICATE_WINDOW_S=str(WINDOW_S)) as world:
        assert world.nats is not None
        async with open_lossy_proxy(world.nats) as proxy:
            world.service.environ["NATS_URL"] = proxy.url
            own = {"PORT", "DATA_DIR"}
            settings = {name: value for name, value in world.service.environ.items() if name not in own}
            other = Service(folder / "second", free_port(), settings)
            other.log.parent.mkdir(exist_ok=True)
            try:
                await world.service.launch()
                await other.launch()
                async with _side(world.service, world) as one, _side(other, world) as two:
                    await _play(_Stage(report, world.nats, proxy, (one, two)), short=short)
            finally:
                await other.close()


@asynccontextmanager
async def _side(service: Service, world: World) -> AsyncIterator[_Side]:
    await service.ready()
    async with Caller(service.url) as caller, trio.open_nursery() as nursery:
        side = _Side(service, caller, Follower(service.socket_url), Load(caller, world.sandbox))
        side.epoch = (await caller.get("/events"))["epoch"]
        nursery.start_soon(side.listener.run)
        yield side
        nursery.cancel_scope.cancel()


async def _play(stage: _Stage, *, short: bool) -> None:
    report, (one, two) = stage.report, stage.sides
    callers = 1 if short else 3
    async with trio.open_nursery() as watch:
        watch.start_soon(_weigh, one)
        with consuming(stage.server.url) as consumer:
            async with _churning(stage, callers):
                began = trio.current_time()
                await trio.sleep(CALM_SHORT_S if short else CALM_S)
                weight = max(one.rss)
                for fault in _faults(stage, short=short):
                    began = await _suffer(stage, fault, began)
                    if two.service.starts == 1 or not short:
                        await two.service.kill()
                        await two.service.start()
            await _delivered(stage)
            info = await Onlooker(stage.server.url).info()
            report.holds("the stream has the window that was set", info.config.duplicate_window == WINDOW_S)
            first = await Onlooker(stage.server.url).stored()
            await until(partial(consumer.has_taken, len(first)), DELIVERED_S)
            taken = consumer.first_deliveries()
            for side, events in await _all_told(stage):
                check_stored(report, "the stream", [m for m in first if m.epoch == side.epoch], events)
                mine = [message for message in taken if message.epoch == side.epoch]
                # What a server has sent and then dies with, JetStream sends again later, behind newer messages.
                check_stored(report, "a durable consumer", mine, events, in_order=False)
        await _wipe(stage, callers, short=short)
        heaviest = max(one.rss)
        report.figure("kills of the second service", two.service.starts - 1)
        report.figure("RSS before (MiB)", weight / 2**20)
        report.figure("RSS at most (MiB)", heaviest / 2**20)
        report.holds(
            "memory is bounded", heaviest - weight <= RSS_GROWTH_BYTES, f"{(heaviest - weight) / 2**20:.1f} MiB"
        )
        events = await one.caller.events()
        delivered = await one.service.metric("delivered_messages_total")
        report.holds("delivered_messages_total counts each event once", delivered == len(events), f"{delivered:,.0f}")
        report.holds("the first service was never restarted", one.service.starts == 1 and one.service.running)
        watch.cancel_scope.cancel()


# --- faults ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Fault:
    name: str
    begin: Callable[[], Awaitable[object]]
    end: Callable[[], Awaitable[object]]
    lasts_s: float
    is_noticed: bool = True  # it lasts longer than an answer is waited for


def _faults(stage: _Stage, *, short: bool) -> list[_Fault]:
    server, proxy = stage.server, stage.proxy

    async def refuse() -> None:
        proxy.refuse()
        await proxy.cut()

    async def heal() -> None:
        proxy.heal()

    async def hear_again() -> None:
        acks_were_lost()
        proxy.heal()
        if short:  # else the services find out by themselves, which takes them the wait for an answer
            await proxy.cut()

    async def lose_acks() -> None:
        proxy.lose_acks()

    def acks_were_lost() -> None:
        stage.report.count("messages stored whose ack was lost", proxy.acks_lost)
        stage.report.holds("acks were lost of messages that are stored", proxy.acks_lost > 0)

    in_thread = trio.to_thread.run_sync
    stop, start = partial(in_thread, server.stop), partial(_start, server)
    if short:
        return [
            _Fault("stopped", stop, start, 1),
            _Fault("acks lost", lose_acks, hear_again, WINDOW_S + 0.5, is_noticed=False),
        ]
    return [
        _Fault("stopped", stop, start, 5),
        _Fault("cut off", refuse, heal, 3),
        _Fault("killed", partial(in_thread, server.kill), start, 1),
        _Fault("frozen", partial(in_thread, server.freeze), partial(in_thread, server.thaw), 9),
        _Fault("acks lost", lose_acks, hear_again, 9),
    ]


async def _start(server: NatsServer) -> None:
    server.start()


async def _suffer(stage: _Stage, fault: _Fault, calm_since: float) -> float:
    """Go through one fault; the time from when on all was well again."""
    report, one = stage.report, stage.sides[0]
    report.progress(fault.name)
    before = pace(one.load, one.listener, calm_since, trio.current_time())
    await fault.begin()
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for side in stage.sides if fault.is_noticed else ():
            nursery.start_soon(_notice, report, fault.name, side)
    await trio.sleep_until(begun + fault.lasts_s)
    ended = trio.current_time()
    waiting = await one.pending()
    report.figure(f"{fault.name}: events waiting at its end", int(waiting))
    report.holds("pending_messages rises", waiting > 0, f"{fault.name}: {waiting:.0f}")
    claim_full_speed(report, fault.name, before, pace(one.load, one.listener, begun, ended))
    await fault.end()
    back = trio.current_time()
    well = await until(stage.is_well, BACK_S + DELIVERED_S)
    took_s = trio.current_time() - back
    report.figure(f"{fault.name}: until /ready says ok and no event waits (s)", took_s)
    report.holds(
        "/ready says that nats is ok again, and what waited is delivered", well, f"{fault.name}: {took_s:.1f} s"
    )
    return trio.current_time()


async def _notice(report: Report, fault: str, side: _Side) -> None:
    """What the service says of the fault. It may look good again in between, until the next answer is missing."""
    began = trio.current_time()
    noticed = await until(partial(side.says, "degraded"), NOTICED_S)
    took_s = trio.current_time() - began
    checks = await side.service.checks()
    away = await until(side.is_away, NOTICED_S)
    report.figure(f"{fault}: until /ready says degraded (s)", took_s)
    report.holds("/ready says that nats is degraded", noticed, f"{fault}: {took_s:.1f} s")
    report.holds("/ready is 200 meanwhile", checks["ready"] == "ready", fault)
    report.holds("transport_bus_away is 1", away, fault)


async def _delivered(stage: _Stage) -> None:
    began = trio.current_time()
    done = await until(stage.all_delivered, DELIVERED_S, 0.1)
    took = trio.current_time() - began
    stage.report.holds("pending_messages falls back to 0", done, f"{took:.1f} s after the last session")


async def _wipe(stage: _Stage, callers: int, *, short: bool) -> None:
    """The store is lost while events wait: what comes after goes on from the bookmark."""
    report, server, proxy = stage.report, stage.server, stage.proxy
    settled = {side.epoch: (await side.caller.events())[-1]["id"] for side in stage.sides}
    first: list[Stored] = []

    async def lose_store() -> None:
        proxy.refuse()
        await proxy.cut()
        first.extend(await Onlooker(server.url).stored())
        for step in (server.kill, server.wipe):
            await trio.to_thread.run_sync(step)

    async def come_back_empty() -> None:
        await _start(server)
        proxy.heal()

    async with _churning(stage, callers):
        began = trio.current_time()
        await trio.sleep(0.5 if short else 2)
        await _suffer(stage, _Fault("wiped", lose_store, come_back_empty, 1 if short else 3), began)
    await _delivered(stage)
    second = await Onlooker(server.url).stored()
    for side, events in await _all_told(stage):
        old, new = ({m.event_id for m in stored if m.epoch == side.epoch} for stored in (first, second))
        report.count("events of before the wipe", len(old))
        report.count("events after the wipe", len(new))
        mark = max(settled[side.epoch], max(old) - IN_FLIGHT)
        wanted = [event for event in events if event["id"] not in old or event["id"] in new]
        check_stored(report, "the stream after a wipe", [m for m in second if m.epoch == side.epoch], wanted)
        early = [event_id for event_id in new if event_id <= mark]
        report.none("after a wipe nothing of before the bookmark comes again", early, of=len(new))


@asynccontextmanager
async def _churning(stage: _Stage, callers: int) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for side in stage.sides:
            side.load.over = False
            nursery.start_soon(side.load.run, callers)
        yield
        for side in stage.sides:
            side.load.over = True


async def _weigh(side: _Side) -> None:
    while True:
        side.rss.append(rss_bytes(side.service.pid))
        await trio.sleep(0.2)


async def _all_told(stage: _Stage) -> list[tuple[_Side, list[dict[str, Any]]]]:
    """Each side with its journal's events: no more come, all its sessions have ended. No listener noticed anything."""
    found = [(side, await side.caller.events()) for side in stage.sides]
    for side, events in found:
        with trio.move_on_after(DELIVERED_S):
            await side.listener.wait_id(events[-1]["id"])
        check_dense(stage.report, events)
        check_heard(stage.report, "a listener", side.listener.heard, events)
    return found
