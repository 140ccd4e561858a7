"""Our stream: made if absent, never changed, and a wrong one is named while the bus waits."""

from __future__ import annotations

import pytest
import trio
from bus_rig import LIMIT_S, PATIENT, WATCHFUL, Writer, until_ready, until_told
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from nats_server import STREAM, Onlooker, Place
from transport_trio.bus import NatsBus, StreamPlan, open_nats
from transport_trio.errors import BusUnavailable
from transport_trio.models import CheckStatus

DAY_S = 86400


async def test_stream_is_made_as_the_contract_says(bus: NatsBus, onlooker: Onlooker) -> None:
    with trio.fail_after(LIMIT_S):
        config = (await onlooker.info()).config
    assert config.subjects == ["transport.events.>"]
    assert config.storage == StorageType.FILE
    assert config.retention == RetentionPolicy.LIMITS
    assert config.max_age == 7 * DAY_S
    assert config.duplicate_window == 600
    assert config.max_bytes == config.max_msgs == config.max_msg_size == -1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"storage": StorageType.MEMORY}, "storage is memory, not file"),
        ({"max_age": 3600.0}, "max_age is 3600 s, not 604800 s"),
        ({"duplicate_window": 1.0}, "duplicate_window is 1 s, not 600 s"),
        ({"subjects": ["transport.events.*.*"]}, "subjects is ['transport.events.*.*'], not ['transport.events.>']"),
        ({"retention": RetentionPolicy.WORK_QUEUE}, "retention is workqueue, not limits"),
        ({"max_msg_size": 1000}, "max_msg_size is 1000, not -1"),
        ({"no_ack": True}, "no_ack is True, not False"),
    ],
)
async def test_wrong_stream_is_named_and_left_alone(
    asyncio_loop: None, place: Place, onlooker: Onlooker, changes: dict[str, object], named: str
) -> None:
    wanted = StreamPlan().config().evolve(**changes)
    with trio.fail_after(LIMIT_S):
        await onlooker.ask(lambda jetstream: jetstream.add_stream(wanted))
        before = (await onlooker.info()).config
        async with open_nats(place.url, settings=PATIENT) as bus:
            assert STREAM in await until_told(bus, named)
            assert bus.health().status is CheckStatus.DEGRADED
            with pytest.raises(BusUnavailable):
                await Writer(bus).write()
        assert (await onlooker.info()).config == before


async def test_bus_goes_on_when_a_person_has_put_the_stream_right(
    asyncio_loop: None, place: Place, onlooker: Onlooker
) -> None:
    plan = StreamPlan().config()
    with trio.fail_after(LIMIT_S):
        await onlooker.ask(lambda jetstream: jetstream.add_stream(plan.evolve(max_age=3600.0)))
        async with open_nats(place.url, settings=WATCHFUL) as bus:
            await until_told(bus, "max_age")
            await onlooker.ask(lambda jetstream: jetstream.update_stream(plan))
            await until_ready(bus)
            assert bus.health().status is CheckStatus.OK
            await Writer(bus).write()


async def test_how_a_stream_is_described_and_packed_is_the_operators_affair(
    asyncio_loop: None, place: Place, onlooker: Onlooker
) -> None:
    theirs = StreamPlan().config().evolve(description="ours", compression="s2", allow_direct=True, deny_delete=True)
    with trio.fail_after(LIMIT_S):
        await onlooker.ask(lambda jetstream: jetstream.add_stream(theirs))
        async with open_nats(place.url, settings=PATIENT) as bus:
            await until_ready(bus)
            await Writer(bus).write()
        assert (await onlooker.info()).config.description == "ours"


async def test_vanished_stream_is_made_again(bus: NatsBus, onlooker: Onlooker) -> None:
    with trio.fail_after(LIMIT_S):
        ours = Writer(bus)
        await ours.write()
        await onlooker.delete_stream()
        with pytest.raises(BusUnavailable):
            await ours.write()
        await until_ready(bus)
        assert await bus.last_of(ours.session_id) is None
        ours.fence = 0
        assert await ours.write() == 1


async def test_stream_that_vanishes_unused_is_made_again_too(
    asyncio_loop: None, place: Place, onlooker: Onlooker
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_nats(place.url, settings=WATCHFUL) as bus:
            await until_ready(bus)
            await onlooker.delete_stream()
            while not await stream_exists(onlooker):  # noqa: ASYNC110 -- another program's doing
                await trio.sleep(0.005)


async def test_questions_to_a_vanished_stream_are_not_answered_with_nothing(bus: NatsBus, onlooker: Onlooker) -> None:
    """ "No such message" would have the relay publish again what it must look for."""
    with trio.fail_after(LIMIT_S):
        await onlooker.delete_stream()
        with pytest.raises(BusUnavailable):
            await bus.last_of(Writer(bus).session_id)


async def test_ack_of_another_stream_does_not_count_and_that_stream_is_named(
    asyncio_loop: None, place: Place, onlooker: Onlooker
) -> None:
    """Somebody deleted ours and made one that takes our subjects too: nobody reads what is stored there."""
    with trio.fail_after(LIMIT_S):
        async with open_nats(place.url, settings=PATIENT) as bus:
            await until_ready(bus)
            await replace_stream(onlooker, "OTHER")
            try:
                with pytest.raises(BusUnavailable, match="'OTHER' has taken over our subjects"):
                    await Writer(bus).write()
                await until_told(bus, "overlap")
            finally:
                await onlooker.delete_stream("OTHER")
            await until_ready(bus)


async def replace_stream(onlooker: Onlooker, name: str) -> None:
    """In one connection, so that the bus has no time to make its stream again."""

    async def replace(jetstream: object) -> None:
        await jetstream.delete_stream(STREAM)  # type: ignore[attr-defined]
        await jetstream.add_stream(StreamConfig(name=name, subjects=["transport.>"]))  # type: ignore[attr-defined]

    await onlooker.ask(replace)


async def stream_exists(onlooker: Onlooker) -> bool:
    names = await onlooker.ask(lambda jetstream: jetstream.streams_info())
    return STREAM in {info.config.name for info in names}
