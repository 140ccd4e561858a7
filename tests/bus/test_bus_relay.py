"""The relay between a real journal and a real server: each event once and in order, whatever breaks in between."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from bus_rig import HASTY, LIMIT_S, PATIENT, QUICK_RELAY, WATCHFUL, tells, until, until_away, until_ready, with_window
from nats.js.client import JetStreamContext
from prometheus_client import CollectorRegistry

from lossy_proxy import open_lossy_proxy
from nats_server import NatsServer, Onlooker, Place, Stored
from transport_trio.bus import NatsBus, NatsSettings, Relay, open_nats
from transport_trio.bus.lookup import LOOK_BACK
from transport_trio.concurrency import SystemClock
from transport_trio.journal import SqliteJournal, open_journal
from transport_trio.metrics import Metrics
from transport_trio.models import SessionId, new_session_id
from transport_trio.ports import EventQuery

WEEK_S = 604800
# The server's own memory of message ids must not be what keeps doubles out.
FORGETFUL = with_window(PATIENT, 0.1)


@attrs.define(eq=False)
class Service:
    """What of the service matters here: a journal, a bus, and the relay between them."""

    journal: SqliteJournal
    bus: NatsBus
    relay: Relay
    metrics: Metrics
    ours: list[SessionId] = attrs.field(factory=lambda: [new_session_id() for _ in range(5)])

    async def tell(self, rounds: int) -> None:
        """Events of all our sessions, in turn."""
        for _ in range(rounds):
            await self.journal.commit(tells(*self.ours))

    def metric(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0

    async def written(self) -> dict[str, list[int]]:
        """The event ids of each session, as the journal has them."""
        found: dict[str, list[int]] = defaultdict(list)
        after = 0
        while (page := await self.journal.events(EventQuery(after=after, limit=500))).events:
            for event in page.events:
                found[event.session_id].append(event.id)
            after = page.last_event_id
        return dict(found)


@asynccontextmanager
async def open_service(folder: Path, url: str, settings: NatsSettings = PATIENT) -> AsyncIterator[Service]:
    metrics = Metrics.create(CollectorRegistry())
    async with (
        open_journal(
            folder,
            metrics=metrics,
            clock=SystemClock(),
            max_mib=64,
            events_keep_s=WEEK_S,
            sessions_keep_s=WEEK_S,
        ) as journal,
        open_nats(url, settings=settings) as bus,
    ):
        relay = Relay(journal, bus, metrics, on_rollback=journal.begin_new_epoch, settings=QUICK_RELAY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.run)
            yield Service(journal, bus, relay, metrics)
            nursery.cancel_scope.cancel(reason="the test is over")


def by_session(stored: Sequence[Stored], epoch: str | None = None) -> dict[str, list[int]]:
    """The event ids of each session, in the order of the stream; what others wrote is left out."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in stored:
        if ":" in message.headers.get("Nats-Msg-Id", "") and epoch in (None, message.epoch):
            found[message.session_id].append(message.event_id)
    return dict(found)


async def test_every_event_arrives_once_in_order_and_unchanged(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_service(tmp_path, place.url) as service:
            await service.tell(60)
            await service.relay.drain()
            stored = await onlooker.stored()
            assert by_session(stored, service.journal.epoch) == await service.written()
            page = await service.journal.events(EventQuery(limit=1000))
            assert {m.event_id: m.body for m in stored} == {event.id: event.body for event in page.events}
            assert service.metric("delivered_messages_total") == len(stored) == 300
            assert service.metric("pending_messages") == 0
            assert await service.journal.bookmark("nats") == 300


async def test_restarts_neither_lose_nor_double(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    """The bookmark lags behind what is stored, as after a crash: the stream is asked what is there."""
    with trio.fail_after(LIMIT_S):
        sessions = [new_session_id() for _ in range(3)]
        for _ in range(3):
            async with open_service(tmp_path, place.url, FORGETFUL) as service:
                service.ours = sessions
                await service.tell(10)
                await service.relay.drain()
                await service.journal.advance("nats", max(0, service.journal.head - 25))
            await has_forgotten_ids(onlooker)
        async with open_service(tmp_path, place.url, FORGETFUL) as service:
            await service.relay.drain()
            assert by_session(await onlooker.stored()) == await service.written()


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
async def test_server_that_ends_again_and_again_loses_nothing(
    asyncio_loop: None, own_server: NatsServer, tmp_path: Path, end: Callable[[NatsServer], None]
) -> None:
    with trio.fail_after(LIMIT_S):
        async with (
            open_service(tmp_path / "data", own_server.url, FORGETFUL) as service,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(service.tell, 150)
            for count in (50, 200, 400):
                await until(lambda count=count: service.metric("delivered_messages_total") >= count)  # type: ignore[misc]
                end(own_server)
                await until_away(service.bus)
                own_server.start()
            await until(lambda: service.journal.head == 750)
            await service.relay.drain()
            assert by_session(await Onlooker(own_server.url).stored()) == await service.written()
            assert service.metric("delivered_messages_total") == 750


async def test_journal_waits_for_a_server_that_was_never_there(
    asyncio_loop: None, own_server: NatsServer, tmp_path: Path
) -> None:
    own_server.stop()
    with trio.fail_after(LIMIT_S):
        async with open_service(tmp_path / "data", own_server.url) as service:
            await service.tell(40)
            await until(lambda: service.metric("pending_messages") == 200)
            own_server.start()
            await service.relay.drain()
            assert by_session(await Onlooker(own_server.url).stored()) == await service.written()


async def test_lost_acks_and_an_outage_longer_than_the_duplicate_window_double_nothing(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    """The server has stored them and forgotten their ids; nobody was told. Only the fence knows."""
    window_s = 2.0
    settings = with_window(HASTY, window_s)
    with trio.fail_after(LIMIT_S):
        async with (
            open_lossy_proxy(place) as proxy,
            open_service(tmp_path, proxy.url, settings) as service,
        ):
            await service.tell(5)
            await service.relay.drain()
            proxy.lose_answers()
            await service.tell(5)
            while len(await onlooker.stored()) == 25:  # noqa: ASYNC110 -- another program's doing
                await trio.sleep(0.01)
            proxy.refuse()
            await proxy.cut()
            stored_in_doubt = len(await onlooker.stored())
            assert stored_in_doubt > 25
            assert service.relay.pending == 25
            await has_forgotten_ids(onlooker)
            proxy.heal()
            await service.relay.drain()
            assert by_session(await onlooker.stored(), service.journal.epoch) == await service.written()
            assert service.metric("delivered_messages_total") == 50


async def has_forgotten_ids(onlooker: Onlooker) -> None:
    """Return when the duplicate window has passed for all that was stored before."""
    probe = {"Nats-Msg-Id": "probe"}
    first = await onlooker.publish("transport.events.probe.probe", headers=probe)
    while await onlooker.publish("transport.events.probe.probe", headers=probe) == first:  # noqa: ASYNC110
        await trio.sleep(0.05)


async def test_copies_that_land_late_are_refused_by_the_fence(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    """They were on their way while the relay had given them up and sent them again."""
    with trio.fail_after(LIMIT_S):
        settings = with_window(HASTY, 0.1)
        async with (
            open_lossy_proxy(place) as proxy,
            open_service(tmp_path, proxy.url, settings) as service,
        ):
            await service.tell(2)
            await service.relay.drain()
            proxy.hold_requests()
            await service.tell(2)
            await proxy.wait_held()
            await proxy.cut()
            await service.relay.drain()
            before = await onlooker.stored()
            await has_forgotten_ids(onlooker)
            await proxy.release()
            # The held requests reach the server before this one, which it answers.
            await service.tell(1)
            await service.relay.drain()
            await proxy.wait_closed()
            stored = await onlooker.stored()
            assert by_session(stored, service.journal.epoch) == await service.written()
            assert len(before) == 20


async def test_event_that_is_too_large_does_not_hold_up_the_rest(
    asyncio_loop: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(tmp_path / "nats", max_payload=2000)
    server.start()
    try:
        with trio.fail_after(LIMIT_S):
            async with open_service(tmp_path / "data", server.url) as service:
                await service.tell(2)
                large = await service.journal.commit(tells(service.ours[0], people=20))
                assert large is None
                await service.tell(2)
                await service.relay.drain()
                written = await service.written()
                assert written[service.ours[0]].pop(2) == 11
                assert by_session(await Onlooker(server.url).stored()) == written
                assert service.metric("transport_bus_messages_refused_total") == 1
                assert service.metric("delivered_messages_total") == 20
                # nats-py counts no headers, and the server closes the connection of who sends too much.
                assert service.metric("transport_bus_publish_failures_total") == 0
    finally:
        server.stop()
    assert "event passed over" in caplog.text


@pytest.mark.parametrize("wipe", [Onlooker.delete_stream, Onlooker.purge])
async def test_wiped_stream_is_gone_on_with_from_the_bookmark(
    asyncio_loop: None,
    place: Place,
    onlooker: Onlooker,
    tmp_path: Path,
    wipe: Callable[[Onlooker], object],
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_service(tmp_path, place.url) as service:
            await service.tell(5)
            await service.relay.drain()
            await wipe(onlooker)  # type: ignore[misc]
            await service.tell(5)
            await service.relay.drain()
            written = await service.written()
            assert by_session(await onlooker.stored()) == {session: ids[5:] for session, ids in written.items()}


async def test_two_services_share_a_stream(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT_S):
        async with (
            open_service(tmp_path / "one", place.url) as one,
            open_service(tmp_path / "two", place.url) as two,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(one.tell, 30)
            await two.tell(30)
            await until(lambda: one.journal.head == two.journal.head == 150)
            await one.relay.drain()
            await two.relay.drain()
            stored = await onlooker.stored()
            for service in (one, two):
                assert by_session(stored, service.journal.epoch) == await service.written()
                assert service.metric("transport_bus_publish_failures_total") == 0


async def test_strangers_messages_in_a_session_are_told_and_lived_with(
    asyncio_loop: None,
    place: Place,
    onlooker: Onlooker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_service(tmp_path, place.url) as service:
            for name in ("note", "session_updated", "a.b.c"):
                await service.tell(3)
                await service.relay.drain()
                await onlooker.publish(f"transport.events.{service.ours[0]}.{name}")
            await service.tell(3)
            await service.relay.drain()
            assert by_session(await onlooker.stored()) == await service.written()
    assert sum("fence refused an event" in record.message for record in caplog.records) == 3


async def outgrow(backup: Path, data: Path, place: Place) -> str:
    """Make a backup, and deliver more that it does not know; the epoch of both."""
    for is_backed_up in (False, True):
        if is_backed_up:
            await trio.to_thread.run_sync(shutil.copytree, data, backup)
        async with open_service(data, place.url) as service:
            await service.tell(4)
            await service.relay.drain()
    return service.journal.epoch


async def test_restored_backup_begins_a_new_epoch_before_it_publishes(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    with trio.fail_after(LIMIT_S):
        old = await outgrow(backup, data, place)
        async with open_service(backup, place.url) as service:
            await until(lambda: service.journal.epoch != old)
            await service.tell(4)
            await service.relay.drain()
            stored = await onlooker.stored()
            written = {session: ids for session, ids in (await service.written()).items() if session in service.ours}
            assert by_session(stored, service.journal.epoch) == written
            # What it lost keeps its name; no two messages have the same.
            assert len({message.headers["Nats-Msg-Id"] for message in stored}) == len(stored) == 60
    (line,) = [record for record in caplog.records if record.message == "journal was rolled back"]
    assert line.levelno == logging.ERROR


async def test_restored_backup_is_noticed_behind_more_than_the_look_sees(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    """The server still knows the ids that come again, and would acknowledge the new events without storing them."""

    async def write(jetstream: JetStreamContext) -> None:  # asyncio flavour
        for number in range(LOOK_BACK + 1):
            await jetstream.publish_async(f"transport.events.other.{number}", b"{}")
        await jetstream.publish_async_completed()

    data, backup = tmp_path / "data", tmp_path / "backup"
    with trio.fail_after(LIMIT_S):
        old = await outgrow(backup, data, place)
        await onlooker.ask(write)
        async with open_service(backup, place.url) as service:
            await service.tell(4)
            await service.relay.drain()
            assert service.journal.epoch != old
            assert service.metric("delivered_messages_total") == 20
            written = {session: ids for session, ids in (await service.written()).items() if session in service.ours}
            assert by_session(await onlooker.stored(), service.journal.epoch) == written


async def test_ordinary_restart_is_no_rollback(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_service(tmp_path, place.url) as service:
            epoch = service.journal.epoch
            await service.tell(40)
            await service.relay.drain()
        async with open_service(tmp_path, place.url) as service:
            await service.tell(1)
            await service.relay.drain()
            assert service.journal.epoch == epoch


async def test_lost_bookmark_doubles_nothing(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    """It then begins at the oldest kept event, and finds everything there."""
    with trio.fail_after(LIMIT_S):
        async with open_service(tmp_path, place.url, FORGETFUL) as service:
            await service.tell(40)
            await service.relay.drain()
        await has_forgotten_ids(onlooker)
        with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
            db.execute("DELETE FROM bookmarks")
        db.close()
        async with open_service(tmp_path, place.url, FORGETFUL) as service:
            await service.relay.drain()
            assert by_session(await onlooker.stored()) == await service.written()


async def test_wrong_stream_holds_the_relay_and_loses_nothing(
    asyncio_loop: None, place: Place, onlooker: Onlooker, tmp_path: Path
) -> None:
    plan = PATIENT.stream.config()
    with trio.fail_after(LIMIT_S):
        await onlooker.ask(lambda jetstream: jetstream.add_stream(plan.evolve(max_age=3600.0)))
        async with open_service(tmp_path, place.url, WATCHFUL) as service:
            await service.tell(4)
            await until(lambda: "max_age" in service.bus.health().message)
            assert await onlooker.stored() == []
            await onlooker.ask(lambda jetstream: jetstream.update_stream(plan))
            await until_ready(service.bus)
            await service.relay.drain()
            assert by_session(await onlooker.stored()) == await service.written()
