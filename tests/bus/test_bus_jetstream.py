"""The port `Bus` on a real server: messages, fences, and what can be found out about the stream."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import trio
from bus_rig import LIMIT_S, NOON, Writer, event

from nats_server import Onlooker
from transport_trio.bus import NatsBus
from transport_trio.bus.delivery import IN_FLIGHT_MAX
from transport_trio.bus.message import headers_of, size_of
from transport_trio.errors import BusOutOfSequence, BusRefused
from transport_trio.events import EventType
from transport_trio.models import CheckStatus, new_session_id
from transport_trio.ports import BusMessage


async def test_message_has_the_contracts_subject_body_and_headers(bus: NatsBus, onlooker: Onlooker) -> None:
    with trio.fail_after(LIMIT_S):
        session_id, epoch = new_session_id(), str(uuid.uuid4())
        body = '{"type":"session_created","name":"ä"}'.encode()
        created = event(7, session_id, EventType.SESSION_CREATED, body=body, time=NOON + timedelta(milliseconds=5))
        seq = await bus.publish(BusMessage(event=created, epoch=epoch, expected_last=0))
        (stored,) = await onlooker.stored()
    assert stored.seq == seq == 1
    assert stored.subject == f"transport.events.{session_id}.session_created"
    assert stored.body == body
    fence = "Nats-Expected-Last-Subject-Sequence"
    assert {name: value for name, value in stored.headers.items() if not name.startswith(fence)} == {
        "Nats-Msg-Id": f"{epoch}:7",
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "7",
        "ce-source": f"urn:uuid:{epoch}",
        "ce-type": "transport_trio.session_created",
        "ce-time": "2026-01-01T12:00:00.005Z",
        "ce-subject": session_id,
    }


async def test_many_side_by_side_each_hear_of_their_own(bus: NatsBus, onlooker: Onlooker) -> None:
    with trio.fail_after(LIMIT_S):
        writers = [Writer(bus) for _ in range(IN_FLIGHT_MAX)]
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.write)
        stored = await onlooker.stored()
    assert {message.session_id: message.seq for message in stored} == {one.session_id: one.fence for one in writers}


async def test_fence_refuses_a_message_when_the_sessions_last_is_another(bus: NatsBus, onlooker: Onlooker) -> None:
    with trio.fail_after(LIMIT_S):
        ours, other = Writer(bus), Writer(bus)
        await ours.write()
        await other.write()
        for wrong in (0, 2, 99):
            ours.fence = wrong
            with pytest.raises(BusOutOfSequence):
                await ours.write(2)
        ours.fence = 1
        await ours.write(2)
        stored = await onlooker.stored()
    assert [(m.session_id, m.event_id) for m in stored] == [
        (ours.session_id, 1),
        (other.session_id, 1),
        (ours.session_id, 2),
    ]
    assert bus.health().status is CheckStatus.OK


async def test_fence_covers_every_type_of_the_session(bus: NatsBus) -> None:
    with trio.fail_after(LIMIT_S):
        session_id, epoch = new_session_id(), str(uuid.uuid4())
        created = event(1, session_id, EventType.SESSION_CREATED)
        joined = event(2, session_id, EventType.PARTICIPANT_JOINED)
        seq = await bus.publish(BusMessage(event=created, epoch=epoch, expected_last=0))
        with pytest.raises(BusOutOfSequence):
            await bus.publish(BusMessage(event=joined, epoch=epoch, expected_last=0))
        assert await bus.publish(BusMessage(event=joined, epoch=epoch, expected_last=seq)) == seq + 1


async def test_message_that_the_stream_will_never_take_is_refused_and_harms_nothing(
    bus: NatsBus, onlooker: Onlooker
) -> None:
    """A person may limit the stream between two of our looks."""
    with trio.fail_after(LIMIT_S):
        limited = (await onlooker.info()).config.evolve(max_msg_size=2000)
        await onlooker.ask(lambda jetstream: jetstream.update_stream(limited))
        ours = Writer(bus)
        with pytest.raises(BusRefused):
            await ours.write(body=b"x" * 3000)
        assert bus.health().status is CheckStatus.OK
        await ours.write()


async def test_largest_message_is_that_of_the_server_headers_included(bus: NatsBus) -> None:
    """nats-py looks at the body alone, and the server cuts off who sends more."""
    with trio.fail_after(LIMIT_S):
        ours = Writer(bus)
        message = BusMessage(event=event(1, ours.session_id, body=b""), epoch=ours.epoch, expected_last=0)
        room = 1024 * 1024 - size_of(headers_of(message), b"")
        with pytest.raises(BusRefused, match="has 1048577 bytes, the server takes 1048576"):
            await ours.write(1, body=b"x" * (room + 1))
        await ours.write(1, body=b"x" * room)


async def test_last_of_a_session_is_its_newest_message(bus: NatsBus) -> None:
    with trio.fail_after(LIMIT_S):
        ours, other = Writer(bus), Writer(bus)
        assert await bus.last_of(ours.session_id) is None
        await ours.write(5)
        await ours.write(8)
        await other.write(9)
        assert await bus.last_of(ours.session_id) == (2, ours.epoch, 8)


async def test_last_of_looks_below_a_strangers_message(bus: NatsBus, onlooker: Onlooker) -> None:
    """Whether our newest event is there must not depend on who wrote after it."""
    with trio.fail_after(LIMIT_S):
        ours = Writer(bus)
        await ours.write(5)
        await onlooker.publish(f"transport.events.{ours.session_id}.session_updated")
        await ours_after(ours, 6)
        for name in ("note", "session_updated"):
            last = await onlooker.publish(f"transport.events.{ours.session_id}.{name}", headers={"Nats-Msg-Id": name})
        assert await bus.last_of(ours.session_id) == (last, ours.epoch, 6)
        stranger = new_session_id()
        only = await onlooker.publish(f"transport.events.{stranger}.note")
        assert await bus.last_of(stranger) == (only, "", 0)


async def ours_after(writer: Writer, event_id: int) -> None:
    last = await writer.bus.last_of(writer.session_id)
    assert last is not None
    writer.fence = last[0]
    await writer.write(event_id)


async def test_newest_id_is_the_highest_of_its_epoch(bus: NatsBus) -> None:
    with trio.fail_after(LIMIT_S):
        epoch = str(uuid.uuid4())
        assert await bus.newest_id(epoch, None) is None
        one, two, other = Writer(bus, epoch), Writer(bus, epoch), Writer(bus)
        for writer, event_id in ((one, 3), (two, 9), (one, 4), (other, 77)):
            await writer.write(event_id)
        assert await bus.newest_id(epoch, None) == 9
        assert await bus.newest_id(other.epoch, None) == 77
        assert await bus.newest_id(str(uuid.uuid4()), None) is None


async def test_newest_id_is_found_behind_what_others_wrote_since(bus: NatsBus) -> None:
    with trio.fail_after(LIMIT_S):
        ours, other = Writer(bus), Writer(bus)
        await ours.write(5)
        for _ in range(IN_FLIGHT_MAX + 20):
            await other.write()
        now = datetime.now(UTC)
        assert await bus.newest_id(ours.epoch, now - timedelta(minutes=1)) == 5
        # Nothing of ours can be among what was stored before our journal's last event.
        assert await bus.newest_id(ours.epoch, now + timedelta(hours=1)) is None


async def test_newest_id_passes_over_deleted_messages(bus: NatsBus, onlooker: Onlooker) -> None:
    with trio.fail_after(LIMIT_S):
        ours, other = Writer(bus), Writer(bus)
        await ours.write(5)
        gone = await other.write()
        await onlooker.ask(lambda jetstream: jetstream.delete_msg("TRANSPORT_EVENTS", gone))
        assert await bus.newest_id(ours.epoch, None) == 5
