"""What is owed to the provider always has an owner, whatever breaks off; and a name comes free as soon as it can."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import attrs
import pytest
import trio
from session_builders import a_request
from session_world import World
from trio.testing import MockClock

from fakes import MemoryJournal
from fakes_connector import EPOCH, trio_time
from transport_trio.errors import Busy, ProviderUnreachable, RoomExists
from transport_trio.events import RecordedEvent
from transport_trio.models import (
    EndReason,
    ProviderCleanup,
    RoomConfig,
    RoomIntent,
    Session,
    SessionId,
    SessionRequest,
)
from transport_trio.ports import Change
from transport_trio.sessions import IdempotencyKey, open_sessions

KEY = IdempotencyKey(caller="c", key="k1", fingerprint="f1")
DOWN = ProviderUnreachable("daily", "down")
LOST = ProviderUnreachable("daily", "connection reset", in_doubt=True)
STAGE = RoomConfig(name="stage")


def on_stage(**changes: object) -> SessionRequest:
    return a_request(room_config=STAGE, **changes)


def an_intent(
    room_name: str = "stage", *, number: int = 3, intended_s: float = 0.0, ends_s: float = 14400
) -> RoomIntent:
    return RoomIntent(
        session_id=SessionId(f"{str(number) * 8}-3333-4333-8333-333333333333"),
        provider="daily",
        room_name=room_name,
        expires_at=EPOCH + timedelta(seconds=ends_s),
        intended_at=EPOCH + timedelta(seconds=intended_s),
    )


async def nothing_is_owed(world: World) -> bool:
    return await world.journal.intents() == () and await world.journal.debts() == ()


# --- nothing is owed to nobody ---------------------------------------------------------------------------------


async def test_a_lost_answer_and_a_failed_look_leave_no_room(autojump_clock: MockClock, world: World) -> None:
    """The provider makes the room and goes away: neither its answer nor the look after it comes back."""
    world.connector.fail("create_room", LOST, takes_effect=True)
    world.connector.fail("find_room", DOWN, times=5)
    async with world.service() as service:
        with pytest.raises(ProviderUnreachable):
            await service.create(a_request())
        assert len(world.connector.rooms) == 1
        await trio.sleep(120)
        assert world.connector.rooms == {}
        assert await nothing_is_owed(world)


async def test_looking_after_old_intents_never_costs_a_session_its_room(
    autojump_clock: MockClock, world: World
) -> None:
    """Sessions begin while what a crash left is looked up, slowly: their intents are not mistaken for its."""
    for number in (1, 2, 3):
        await world.journal.commit(Change(add_intent=an_intent(f"half-made-{number}", number=number)))
    world.connector.delay("find_room", 5)
    world.connector.fail("find_room", DOWN, times=3)
    world.connector.delay("create_room", 1)
    async with world.service() as service, trio.open_nursery() as nursery:
        made: list[str] = []

        async def create() -> None:
            made.append((await service.create(a_request())).session.room.name)

        for _ in range(60):
            nursery.start_soon(create)
            await trio.sleep(1.3)
        await trio.sleep(120)
        assert world.connector.rooms.keys() == set(made)


async def test_a_room_that_appears_long_after_its_intent_is_deleted(autojump_clock: MockClock, world: World) -> None:
    """With a long PROVIDER_TIMEOUT_S the request can have gone out just before the crash, whatever the intent's age."""
    await world.journal.commit(Change(add_intent=an_intent(intended_s=-300)))
    async with world.service():
        await trio.sleep(20)
        world.connector.add_foreign_room("stage", an_intent().expires_at)
        await trio.sleep(60)
        assert world.connector.rooms == {}
        await trio.sleep(60)
        assert await nothing_is_owed(world)


async def test_what_a_bug_breaks_off_is_cleaned_up_at_once(autojump_clock: MockClock, world: World) -> None:
    world.connector.crash_token(ZeroDivisionError("a bug"))
    async with world.service() as service:
        with pytest.raises(ZeroDivisionError):
            await service.create(a_request())
        await trio.sleep(2)
        assert world.connector.rooms == {}
        assert await nothing_is_owed(world)
        assert world.metric("transport_creations_interrupted_total") == 1


async def test_an_older_room_with_our_end_is_not_ours_in_doubt_either(autojump_clock: MockClock, world: World) -> None:
    world.connector.add_foreign_room("stage", EPOCH + timedelta(seconds=14430))
    async with world.service() as service:
        await trio.sleep(30)
        world.connector.fail("create_room", LOST)
        with pytest.raises(ProviderUnreachable):
            await service.create(on_stage())
        await trio.sleep(200)
        assert "stage" in world.connector.rooms
        assert await nothing_is_owed(world)


async def test_interrupted_creations_are_counted(autojump_clock: MockClock, world: World) -> None:
    for number in (1, 2):
        await world.journal.commit(Change(add_intent=an_intent(f"half-{number}", number=number)))
    async with world.service():
        assert world.metric("transport_creations_interrupted_total") == 2
        assert world.metric("transport_rooms_owed") == 2


# --- a name comes free -----------------------------------------------------------------------------------------


async def test_a_name_is_free_as_soon_as_its_session_has_ended(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("find_room", 0.5)
    world.connector.delay("delete_room", 0.5)
    async with world.service() as service:
        first = (await service.create(on_stage())).session
        await service.end(first.id)
        began = trio.current_time()
        second = (await service.create(on_stage())).session
        assert trio.current_time() - began == 1
        await trio.sleep(120)
        assert world.connector.rooms["stage"].room.provider_id == second.room.provider_id
        assert not (await service.get(second.id)).has_ended


async def test_a_wait_for_a_name_does_not_shorten_the_session(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("delete_room", 8)
    async with world.service() as service:
        await service.end((await service.create(on_stage())).session.id)
        second = (await service.create(on_stage())).session
        assert second.expires_at - second.created_at == timedelta(seconds=14400)


async def test_a_retry_after_a_crash_gets_its_name(autojump_clock: MockClock, world: World) -> None:
    """The room was made, and the process died before it could answer."""
    intent = an_intent()
    await world.journal.commit(Change(add_intent=intent))
    old = world.connector.add_foreign_room("stage", intent.expires_at)
    async with world.service() as service:
        created = await service.create(on_stage(), idempotency=KEY)
        assert trio.current_time() < 1
        await trio.sleep(200)
        assert world.connector.rooms["stage"].room.provider_id == created.session.room.provider_id != old.provider_id
        assert not (await service.get(created.session.id)).has_ended
        assert await nothing_is_owed(world)


async def test_a_room_that_may_still_appear_does_not_hold_up_its_name(autojump_clock: MockClock, world: World) -> None:
    """The process died before the provider made the room. The new one may end at the very same second."""
    await world.journal.commit(Change(add_intent=an_intent()))
    async with world.service() as service:
        created = await service.create(on_stage(), idempotency=KEY)
        assert trio.current_time() < 1
        await trio.sleep(200)
        assert world.connector.rooms["stage"].room.provider_id == created.session.room.provider_id
        assert not (await service.get(created.session.id)).has_ended
        assert await nothing_is_owed(world)


async def test_a_late_room_gives_way_to_the_retry(autojump_clock: MockClock, world: World) -> None:
    """Nothing is there when the retry looks, and the old request is carried out just before the new one."""
    intent = an_intent()
    await world.journal.commit(Change(add_intent=intent))
    world.connector.delay("create_room", 2)
    async with world.service() as service, trio.open_nursery() as nursery:

        async def retry() -> None:
            created = await service.create(on_stage(), idempotency=KEY)
            made.append(created.session.room.provider_id)

        made: list[str | None] = []
        nursery.start_soon(retry)
        await trio.sleep(1.99)  # the reaper has looked just before
        old = world.connector.add_foreign_room("stage", intent.expires_at)
        await trio.sleep(10)
        assert [world.connector.rooms["stage"].room.provider_id] == made != [old.provider_id]
        await trio.sleep(200)
        assert "stage" in world.connector.rooms


async def test_a_room_that_appears_after_the_retry_has_ended_is_deleted(
    autojump_clock: MockClock, world: World
) -> None:
    """As long as the retry's room is there the provider refuses the old request; after its end it does not."""
    intent = an_intent()
    await world.journal.commit(Change(add_intent=intent))
    async with world.service() as service:
        created = await service.create(on_stage())
        await trio.sleep(10)
        await service.end(created.session.id)
        await trio.sleep(5)
        assert world.connector.rooms == {}
        world.connector.add_foreign_room("stage", intent.expires_at)
        await trio.sleep(120)
        assert world.connector.rooms == {}
        assert await nothing_is_owed(world)


async def test_a_foreign_room_is_no_reason_to_wait(autojump_clock: MockClock, world: World) -> None:
    await world.journal.commit(Change(add_intent=an_intent()))
    world.connector.add_foreign_room("stage", EPOCH + timedelta(hours=9))
    async with world.service() as service:
        with pytest.raises(RoomExists) as caught:
            await service.create(on_stage())
        assert trio.current_time() < 1
        assert caught.value.retry_after_s is None
        await trio.sleep(200)
        assert "stage" in world.connector.rooms
        assert world.connector.count("delete_room") == 0


async def test_a_wait_for_a_name_ends(autojump_clock: MockClock, world: World) -> None:
    """The provider does not let us delete the room: the caller is told when to come back, within a creation's time."""
    async with world.service() as service:
        await service.end((await service.create(on_stage())).session.id)
        first = trio_time()
        world.connector.fail("delete_room", DOWN, times=None)
        await service.create(a_request())  # other names do not wait
        for _ in range(3):
            began = trio.current_time()
            with pytest.raises(RoomExists) as caught:
                await service.create(on_stage())
            assert trio.current_time() - began <= 30
            assert caught.value.retry_after_s is not None
        tries = world.connector.count("delete_room")
        assert tries <= (trio_time() - first).total_seconds() + 3  # about once a second, while somebody waits
        world.connector.recover()
        assert (await service.create(on_stage())).session.room.name == "stage"


async def test_one_of_two_gets_a_name_that_comes_free(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("delete_room", 2)
    async with world.service() as service, trio.open_nursery() as nursery:
        await service.end((await service.create(on_stage())).session.id)
        outcomes: list[str] = []

        async def create() -> None:
            try:
                await service.create(on_stage())
                outcomes.append("made")
            except RoomExists:
                outcomes.append("taken")

        for _ in range(4):
            nursery.start_soon(create)
        await trio.sleep(5)
        assert sorted(outcomes) == ["made", "taken", "taken", "taken"]


async def test_who_waits_for_a_name_goes_before_the_rest(autojump_clock: MockClock, world: World) -> None:
    """Many rooms are owed and deletions are slow."""
    world.connector.delay("delete_room", 5)
    async with world.service() as service:
        crowd = [(await service.create(a_request())).session for _ in range(40)]
        stage = (await service.create(on_stage())).session
        for session in (*crowd, stage):
            await service.end(session.id)
        began = trio.current_time()
        await service.create(on_stage())
        assert trio.current_time() - began == 5
        await trio.sleep(60)
        assert world.connector.rooms.keys() == {"stage"}


async def test_a_hung_up_creation_that_waits_for_its_name_is_made(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("delete_room", 5)
    async with world.service() as service:
        await service.end((await service.create(on_stage())).session.id)
        with trio.move_on_after(1):
            await service.create(on_stage(), idempotency=KEY)
        again = await service.create(on_stage(), idempotency=KEY)
        assert again.replayed
        assert trio.current_time() == 5


async def test_an_end_is_never_answered_for_a_session_that_goes_on(autojump_clock: MockClock, world: World) -> None:
    """The session is in the journal, and listeners are told, an instant before its task takes it up."""
    ended: list[EndReason | None] = []
    async with world.service() as service, trio.open_nursery() as nursery:

        async def end(session_id: str) -> None:
            try:
                ended.append((await service.end(session_id)).end_reason)
            except Busy:
                ended.append((await service.end(session_id)).end_reason)

        def on_told(events: Sequence[RecordedEvent]) -> None:
            if events[0].type == "session_created":
                nursery.start_soon(end, events[0].session_id)

        world.journal.on_commit(on_told)
        session = (await service.create(a_request())).session
        await trio.sleep(1)
        assert ended == [EndReason.REQUESTED]
        assert (await service.get(session.id)).has_ended


async def test_no_debt_costs_a_live_session_its_room(autojump_clock: MockClock, world: World) -> None:
    """Should the journal ever hold both: the disk failed at the very end of a commit, say."""
    async with world.service() as service:
        session = (await service.create(a_request())).session
    intent = attrs.evolve(an_intent(session.room.name), session_id=session.id, expires_at=session.expires_at)
    await world.journal.commit(Change(add_intent=intent))
    async with world.service():
        await trio.sleep(120)
        assert session.room.name in world.connector.rooms
        assert await nothing_is_owed(world)


class LateAnswers(MemoryJournal):
    """Commits at once, and says so later."""

    late_s = 0.0

    async def commit(self, change: Change) -> Session | None:
        stored = await super().commit(change)
        await trio.sleep(self.late_s)
        return stored


async def test_an_end_whose_commit_was_not_waited_for_still_owes_its_room(
    autojump_clock: MockClock, world: World
) -> None:
    """A bug of the poller's restarts the session's tasks while its end is being stored."""
    journal = LateAnswers()
    async with open_sessions(attrs.evolve(world.deps, journal=journal)) as service:
        session = (await service.create(on_stage())).session
        await trio.sleep(14.5)  # the poller looks at 15
        world.connector.crash("stage", ZeroDivisionError("a bug"))
        journal.late_s = 2
        with pytest.raises(Busy):
            await service.end(session.id)
        journal.late_s = 0
        world.connector.recover_room("stage")
        await trio.sleep(5)
        assert (await service.end(session.id)).has_ended
        assert world.connector.rooms == {}
        assert (await service.get(session.id)).provider_cleanup is ProviderCleanup.DONE
        assert await journal.debts() == ()
