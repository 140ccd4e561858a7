"""The use-cases, with time and the provider in the test's hands."""

from __future__ import annotations

import json
from datetime import timedelta

import attrs
import pytest
import trio
import trio.lowlevel
from session_builders import a_request
from session_world import World
from trio.testing import MockClock, wait_all_tasks_blocked

from fakes_connector import EPOCH, trio_time
from transport_trio.errors import (
    Busy,
    IdempotencyMismatch,
    InvalidRequest,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
    RequestInProgress,
    RoomExists,
    RoomNotFound,
    SessionNotFound,
    Stopping,
    StorageUnavailable,
    UnknownProvider,
)
from transport_trio.models import EndReason, ProviderCleanup, RoomConfig, RoomIntent, Session, SessionStatus
from transport_trio.models.orphans import session_id_in
from transport_trio.ports import Change, SessionPage, SessionQuery
from transport_trio.sessions import IdempotencyKey
from transport_trio.settings import Settings

KEY = IdempotencyKey(caller="c", key="k1", fingerprint="f1")


async def test_a_session_has_a_room_a_token_and_an_end(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        created = await service.create(a_request())
        session = created.session
        assert created.meeting_token == "token-1"
        assert session.room.name == f"tt-{session.id}"
        assert session.expires_at == EPOCH + timedelta(seconds=14400)
        assert session.token.expires_at == EPOCH + timedelta(seconds=3600)
        assert world.connector.rooms[session.room.name].room.expires_at == session.expires_at
        assert world.types() == ["session_created"]
        assert await service.get(session.id) == session
        assert world.metric("active_sessions") == 1
        assert await world.journal.intents() == ()


async def test_no_token_outlives_its_session(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        created = await service.create(a_request(session_ttl_s=60))
        assert created.session.token.expires_at == created.session.expires_at


async def test_ends_are_whole_seconds_and_never_too_short(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        await trio.sleep(0.25)
        session = (await service.create(a_request(session_ttl_s=1))).session
        assert session.expires_at.microsecond == 0
        assert session.expires_at >= trio_time() + timedelta(seconds=1)


async def test_an_unknown_provider_makes_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        with pytest.raises(UnknownProvider):
            await service.create(a_request(provider="zoom"))
        assert world.connector.calls == []


async def test_a_taken_name_is_told_and_the_foreign_room_left_alone(autojump_clock: MockClock, world: World) -> None:
    world.connector.add_foreign_room("mine", EPOCH + timedelta(hours=4))
    async with world.service() as service:
        with pytest.raises(RoomExists):
            await service.create(a_request(room_config=RoomConfig(name="mine")))
        await trio.sleep(200)
    assert "mine" in world.connector.rooms
    assert world.connector.count("delete_room") == 0
    assert await world.journal.debts() == ()
    assert await world.journal.intents() == ()


async def test_two_live_sessions_cannot_share_a_name(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        first = await service.create(a_request(room_config=RoomConfig(name="stage")))
        with pytest.raises(RoomExists):
            await service.create(a_request(room_config=RoomConfig(name="stage")))
        assert world.connector.count("create_room") == 1
        await service.end(first.session.id)
        await trio.sleep(1)
        assert (await service.create(a_request(room_config=RoomConfig(name="stage")))).session.room.name == "stage"


async def test_without_a_token_the_room_is_deleted(autojump_clock: MockClock, world: World) -> None:
    world.connector.fail("create_token", ProviderRejected("daily", 403, "no"))
    async with world.service() as service:
        with pytest.raises(ProviderRejected):
            await service.create(a_request())
        await trio.sleep(1)
        assert world.connector.rooms == {}
        assert await world.journal.debts() == ()
        assert world.types() == []
        assert world.metric("active_sessions") == 0


async def test_a_lost_answer_is_followed_by_a_look(autojump_clock: MockClock, world: World) -> None:
    lost = ProviderUnreachable("daily", "connection reset", in_doubt=True)
    world.connector.fail("create_room", lost, takes_effect=True)
    async with world.service() as service:
        session = (await service.create(a_request())).session
        assert world.connector.count("create_room") == 1
        assert session.room.name in world.connector.rooms


async def test_a_lost_request_is_told_and_looked_after_for_a_while(autojump_clock: MockClock, world: World) -> None:
    world.connector.fail("create_room", ProviderTimeout("daily", "too slow", in_doubt=True))
    async with world.service() as service:
        with pytest.raises(ProviderTimeout):
            await service.create(a_request(room_config=RoomConfig(name="late")))
        (debt,) = await world.journal.debts()
        # The provider carries the request out after all.
        world.connector.add_foreign_room("late", debt.expires_at)
        await trio.sleep(120)
        assert world.connector.rooms == {}
        assert await world.journal.debts() == ()


async def test_a_refusal_of_the_callers_own_options_is_their_fault(autojump_clock: MockClock, world: World) -> None:
    world.connector.fail("create_room", ProviderRejected("daily", 400, "invalid property name 'x'"))
    async with world.service() as service:
        with pytest.raises(InvalidRequest) as caught:
            await service.create(a_request(provider_options={"x": 1}))
    assert caught.value.faults == (("$.options.daily", "invalid property name 'x'"),)
    assert await world.journal.intents() == ()


async def test_a_refusal_of_the_token_is_not_blamed_on_the_callers_options(
    autojump_clock: MockClock, world: World
) -> None:
    world.connector.fail("create_token", ProviderRejected("daily", 400, "invalid-request-error"))
    async with world.service() as service:
        with pytest.raises(ProviderRejected):
            await service.create(a_request(provider_options={"lang": "de"}))


async def test_a_bug_in_one_creation_is_told_to_its_caller_alone(autojump_clock: MockClock, world: World) -> None:
    world.connector.crash("broken", ZeroDivisionError("a bug"))
    async with world.service() as service:
        with pytest.raises(ZeroDivisionError):
            await service.create(a_request(room_config=RoomConfig(name="broken")), idempotency=KEY)
        assert not (await service.create(a_request(), idempotency=attrs.evolve(KEY, fingerprint="f2"))).replayed
        await trio.sleep(200)
        assert await world.journal.intents() == ()


async def test_a_provider_that_hangs_is_given_up(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_room", 3600)
    async with world.service() as service:
        with pytest.raises(ProviderTimeout):
            await service.create(a_request())
        assert trio.current_time() == 30
        assert len(await world.journal.debts()) == 1


async def test_a_caller_who_hangs_up_changes_nothing(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_room", 2)
    async with world.service() as service:
        with trio.move_on_after(1):
            await service.create(a_request(), idempotency=KEY)
        await trio.sleep(5)
        assert world.types() == ["session_created"]
        replay = await service.create(a_request(), idempotency=KEY)
        assert replay.replayed
        assert replay.session.id == world.told[0].session_id


async def test_end_deletes_the_room_and_says_so_last(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        ended = await service.end(session.id)
        assert ended.end_reason is EndReason.REQUESTED
        assert ended.provider_cleanup is ProviderCleanup.PENDING
        await trio.sleep(1)
        assert world.connector.rooms == {}
        assert (await service.get(session.id)).provider_cleanup is ProviderCleanup.DONE
        assert (await service.end(session.id)).status is SessionStatus.ENDED
        assert world.types() == ["session_created", "session_updated", "session_ended"]
        assert world.metric("active_sessions") == 0


async def test_an_outage_of_the_provider_never_makes_end_fail(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        for operation in ("find_room", "delete_room"):
            world.connector.fail(operation, ProviderUnreachable("daily", "down"), times=None)
        assert (await service.end(session.id)).has_ended
        await trio.sleep(600)
        assert world.metric("transport_rooms_owed") == 1
        tries = world.connector.count("find_room")
        assert 10 < tries < 30
        world.connector.recover()
        await trio.sleep(61)
        assert world.connector.rooms == {}
        assert world.metric("transport_rooms_owed") == 0


async def test_a_foreign_room_of_our_name_is_left_alone_at_the_end(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request(room_config=RoomConfig(name="stage")))).session
        world.connector.drop_room("stage")
        world.connector.add_foreign_room("stage", session.expires_at)
        await service.end(session.id)
        await trio.sleep(5)
        assert "stage" in world.connector.rooms
        assert world.metric("transport_rooms_owed") == 0


@pytest.mark.parametrize(
    ("operation", "name"),
    [("find_room", "stage"), ("delete_room", "stage"), ("find_room", None), ("delete_room", None)],
)
async def test_one_404_does_not_make_us_forget_a_room(
    operation: str, name: str | None, autojump_clock: MockClock, world: World
) -> None:
    """A provider whose servers do not agree for a moment: a room wrongly forgotten would live on until its `exp`."""
    async with world.service() as service:
        session = (await service.create(a_request(room_config=RoomConfig(name=name)))).session
        world.connector.fail(operation, RoomNotFound("daily", session.room.name))
        await service.end(session.id)
        await trio.sleep(0.5)
        assert session.room.name in world.connector.rooms
        assert world.metric("transport_rooms_owed") == 1
        await trio.sleep(20)
        assert world.connector.rooms == {}
        assert world.metric("transport_rooms_owed") == 0


async def test_a_room_that_is_gone_is_settled_by_the_second_look(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.drop_room(session.room.name)
        before = world.connector.count("find_room")
        await service.end(session.id)
        await trio.sleep(14)
        assert (await service.get(session.id)).provider_cleanup is ProviderCleanup.PENDING
        await trio.sleep(2)
        assert (await service.get(session.id)).provider_cleanup is ProviderCleanup.DONE
        assert world.connector.count("find_room") == before + 2


async def test_a_deletion_whose_answer_is_lost_never_hits_the_next_room_of_that_name(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service:
        first = (await service.create(a_request(room_config=RoomConfig(name="stage")))).session
        lost = ProviderUnreachable("daily", "connection reset", in_doubt=True)
        world.connector.fail("delete_room", lost, takes_effect=True)
        await service.end(first.id)
        second = (await service.create(a_request(room_config=RoomConfig(name="stage")))).session
        await trio.sleep(60)
        assert world.connector.rooms["stage"].room.provider_id == second.room.provider_id
        assert world.connector.count("delete_room") == 1
        assert (await service.get(first.id)).provider_cleanup is ProviderCleanup.DONE


async def test_a_name_of_our_choice_that_somebody_took_is_as_foreign_as_any_other(
    autojump_clock: MockClock, world: World
) -> None:
    """The deletion was carried out, its answer lost; a caller, who knows the name, takes it; then we start anew."""
    async with world.service() as service:
        first = (await service.create(a_request())).session
        lost = ProviderUnreachable("daily", "connection reset", in_doubt=True)
        world.connector.fail("delete_room", lost, takes_effect=True)
        await service.end(first.id)
        second = (await service.create(a_request(room_config=RoomConfig(name=first.room.name)))).session
    async with world.service() as service:
        await trio.sleep(60)
        assert world.connector.rooms[second.room.name].room.provider_id == second.room.provider_id
        assert (await service.get(second.id)).status is SessionStatus.CREATED


async def test_ending_or_reading_what_is_not_there(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        for call in (service.end, service.get):
            with pytest.raises(SessionNotFound):
                await call("00000000-0000-4000-8000-000000000000")


async def test_lists_show_what_is_known_now(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        await trio.sleep(20)
        page = await service.list(SessionQuery())
        assert page.total == 1
        assert page.sessions[0].presence_checked_at == EPOCH + timedelta(seconds=15)
        assert page.sessions[0].id == session.id


async def test_a_list_shows_an_end_that_its_session_has_not_heard_of_yet(
    autojump_clock: MockClock, world: World
) -> None:
    commit = world.journal.commit

    async def committed_late(change: Change) -> Session | None:
        committed = await commit(change)
        await trio.sleep(1)
        return committed

    async with world.service() as service, trio.open_nursery() as nursery:
        session = (await service.create(a_request())).session
        world.journal.commit = committed_late  # type: ignore[method-assign]
        nursery.start_soon(service.end, session.id)
        await trio.sleep(0.5)
        shown = (await service.list(SessionQuery(status=SessionStatus.ENDED))).sessions
        assert [(one.status, one.end_reason) for one in shown] == [(SessionStatus.ENDED, EndReason.REQUESTED)]


async def test_a_list_leaves_out_what_has_changed_its_status_meanwhile(autojump_clock: MockClock, world: World) -> None:
    read = world.journal.sessions

    async def read_slowly(query: SessionQuery) -> SessionPage:
        page = await read(query)
        await trio.sleep(1)
        return page

    world.journal.sessions = read_slowly  # type: ignore[method-assign]
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.join(session.room.name)
        await trio.sleep(14.5)  # the look at 15 s finds somebody
        assert (await service.list(SessionQuery(status=SessionStatus.CREATED))).sessions == ()
        assert (await service.get(session.id)).status is SessionStatus.ACTIVE


# --- idempotency ---------------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_same_session_and_the_same_claims(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        first = await service.create(a_request(room_config=RoomConfig(name="stage")), idempotency=KEY)
        await trio.sleep(100)
        second = await service.create(a_request(room_config=RoomConfig(name="stage")), idempotency=KEY)
        assert second.replayed
        assert not first.replayed
        assert second.session.id == first.session.id
        assert second.meeting_token == "token-2"
        assert world.connector.tokens[0] == world.connector.tokens[1]
        assert world.connector.count("create_room") == 1


async def test_a_key_with_another_body_is_refused(autojump_clock: MockClock, world: World) -> None:
    other = attrs.evolve(KEY, fingerprint="f2")
    async with world.service() as service:
        await service.create(a_request(), idempotency=KEY)
        with pytest.raises(IdempotencyMismatch):
            await service.create(a_request(), idempotency=other)


async def test_keys_of_two_callers_do_not_meet(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        one = await service.create(a_request(), idempotency=KEY)
        two = await service.create(a_request(), idempotency=attrs.evolve(KEY, caller="other"))
        assert one.session.id != two.session.id


async def test_a_failure_frees_the_key(autojump_clock: MockClock, world: World) -> None:
    world.connector.fail("create_room", ProviderRejected("daily", 500, "no"))
    async with world.service() as service:
        with pytest.raises(ProviderRejected):
            await service.create(a_request(), idempotency=KEY)
        assert not (await service.create(a_request(), idempotency=KEY)).replayed


async def test_a_replay_after_the_tokens_end_has_no_token(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        await service.create(a_request(), idempotency=KEY)
        await trio.sleep(3601)
        replay = await service.create(a_request(), idempotency=KEY)
        assert replay.replayed
        assert replay.meeting_token is None


async def test_a_replay_after_the_sessions_end_has_no_token(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request(), idempotency=KEY)).session
        await service.end(session.id)
        replay = await service.create(a_request(), idempotency=KEY)
        assert replay.session.has_ended
        assert replay.meeting_token is None


async def test_a_key_is_forgotten_after_a_day(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        first = await service.create(a_request(), idempotency=KEY)
        await trio.sleep(24 * 3600 + 1)
        second = await service.create(a_request(), idempotency=KEY)
        assert not second.replayed
        assert second.session.id != first.session.id


async def test_a_repeat_waits_for_the_first(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_room", 5)
    ids: list[str] = []
    async with world.service() as service, trio.open_nursery() as nursery:

        async def call() -> None:
            ids.append((await service.create(a_request(), idempotency=KEY)).session.id)

        for _ in range(5):
            nursery.start_soon(call)
    assert len(ids) == 5
    assert len(set(ids)) == 1
    assert world.connector.count("create_room") == 1


async def test_a_repeat_waits_no_longer_than_its_patience(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_room", 25)
    async with world.service() as service, trio.open_nursery() as nursery:

        async def first() -> None:
            await service.create(a_request(), idempotency=KEY)

        nursery.start_soon(first)
        await trio.sleep(1)
        with pytest.raises(RequestInProgress) as caught:
            await service.create(a_request(), idempotency=KEY)
        assert trio.current_time() == 11
        assert caught.value.retry_after_s > 0
        with pytest.raises(IdempotencyMismatch):
            await service.create(a_request(), idempotency=attrs.evolve(KEY, fingerprint="f2"))


# --- limits, storage, stopping ----------------------------------------------------------------------------------


class TestLimits:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(create_queue_max=2, sessions_max=3)

    async def test_creations_at_once_are_bounded(self, autojump_clock: MockClock, world: World) -> None:
        world.connector.delay("create_room", 5)
        async with world.service() as service, trio.open_nursery() as nursery:

            async def call() -> None:
                await service.create(a_request())

            nursery.start_soon(call)
            nursery.start_soon(call)
            await trio.sleep(1)
            with pytest.raises(Busy, match="CREATE_QUEUE_MAX") as caught:
                await service.create(a_request())
            assert caught.value.retry_after_s > 0

    async def test_live_sessions_are_bounded(self, autojump_clock: MockClock, world: World) -> None:
        async with world.service() as service:
            sessions = [(await service.create(a_request())).session for _ in range(3)]
            with pytest.raises(Busy, match="SESSIONS_MAX"):
                await service.create(a_request())
            await service.end(sessions[0].id)
            await wait_all_tasks_blocked()
            await service.create(a_request())


async def test_what_cannot_be_stored_is_not_created(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        world.journal.unavailable = "disk full"
        with pytest.raises(StorageUnavailable):
            await service.create(a_request())
        assert world.connector.calls == []
        world.journal.unavailable = None
        await service.create(a_request())


async def test_a_journal_that_fails_half_way_leaves_no_room(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_token", 1)
    async with world.service() as service, trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(StorageUnavailable):
                await service.create(a_request())

        nursery.start_soon(call)
        await trio.sleep(0.5)
        world.journal.unavailable = "disk full"
        await trio.sleep(10)
        assert len(world.connector.rooms) == 1
        world.journal.unavailable = None
        await trio.sleep(130)
        assert world.connector.rooms == {}
        assert await world.journal.intents() == ()
        assert world.types() == []


async def test_an_end_that_cannot_be_stored_has_not_happened(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.journal.unavailable = "disk full"
        with pytest.raises(StorageUnavailable):
            await service.end(session.id)
        assert not (await service.get(session.id)).has_ended
        world.journal.unavailable = None
        assert (await service.end(session.id)).has_ended


async def test_a_drain_lets_creations_finish_and_takes_no_more(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_room", 3)
    answered: list[str] = []
    async with world.service() as service, trio.open_nursery() as nursery:

        async def call() -> None:
            answered.append((await service.create(a_request())).session.id)

        nursery.start_soon(call)
        await trio.sleep(1)
        await service.drain(10)
        assert trio.current_time() == 3
        with pytest.raises(Stopping):
            await service.create(a_request())
    assert len(answered) == 1


async def test_a_drain_is_bounded(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("create_room", 20)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(Stopping):
                await service.create(a_request())

        async with world.service() as service:
            nursery.start_soon(call)
            await trio.sleep(1)
            await service.drain(5)
            assert trio.current_time() == 6
    assert len(await world.journal.intents()) == 1


async def test_a_dry_run_makes_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        shown = service.dry_run(a_request(room_config=RoomConfig(name="stage")))
        assert shown["room"]["name"] == "stage"
        assert shown["token"]["claims"]["exp"] == int((EPOCH + timedelta(seconds=3600)).timestamp())
        assert world.connector.calls == []
        assert service.managed_options("daily") == frozenset({"exp"})
        unnamed = service.dry_run(a_request(room_config=RoomConfig()))
        assert session_id_in(unnamed["room"]["name"]) is not None, "of the form that real ones have"


# --- starting again ------------------------------------------------------------------------------------------


async def test_sessions_go_on_after_a_restart(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(20)
    world.connector.join(session.room.name, "Grace", "u2")
    async with world.service() as service:
        await trio.sleep(20)
        now = await service.get(session.id)
        assert [who.name for who in now.participants] == ["Ada", "Grace"]
        await trio.sleep(14400)
        assert (await service.get(session.id)).end_reason is EndReason.EXPIRED
    assert world.types()[-1] == "session_ended"


async def test_a_stop_ends_no_session(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
    stored = await world.journal.get(session.id)
    assert stored is not None
    assert not stored.has_ended
    assert session.room.name in world.connector.rooms


async def test_debts_are_paid_after_a_restart(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.fail("find_room", ProviderUnreachable("daily", "down"), times=None)
        await service.end(session.id)
    world.connector.recover()
    async with world.service():
        await trio.sleep(1)
        assert world.connector.rooms == {}


def an_intent(room_name: str, *, intended_s: float = 0.0) -> RoomIntent:
    return RoomIntent(
        session_id="33333333-3333-4333-8333-333333333333",
        provider="daily",
        room_name=room_name,
        expires_at=EPOCH + timedelta(hours=4),
        intended_at=EPOCH + timedelta(seconds=intended_s),
    )


async def test_a_room_of_an_interrupted_creation_is_deleted_later(autojump_clock: MockClock, world: World) -> None:
    intent = an_intent("half-made")
    await world.journal.commit(Change(add_intent=intent))
    world.connector.add_foreign_room("half-made", intent.expires_at)
    async with world.service():
        await trio.sleep(2)
        assert world.connector.rooms == {}
        assert await world.journal.intents() == ()
        assert await world.journal.debts() == ()


@pytest.mark.parametrize(
    ("ends_h", "intended_s"), [(5, 0.0), (None, 0.0), (4, 30.0)], ids=["other end", "no end", "older than the intent"]
)
async def test_a_room_that_did_not_come_of_the_intent_is_left_alone(
    autojump_clock: MockClock, world: World, ends_h: float | None, intended_s: float
) -> None:
    await world.journal.commit(Change(add_intent=an_intent("theirs", intended_s=intended_s)))
    ends = None if ends_h is None else EPOCH + timedelta(hours=ends_h)
    world.connector.add_foreign_room("theirs", ends)
    async with world.service():
        await trio.sleep(200)
        assert "theirs" in world.connector.rooms
        assert await world.journal.intents() == ()


async def test_debts_wait_while_the_journal_is_away(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.fail("find_room", ProviderUnreachable("daily", "down"), times=None)
        await service.end(session.id)
    world.connector.recover()
    async with world.service():
        world.journal.unavailable = "disk broken"
        await trio.sleep(10)
        assert world.connector.rooms != {}
        world.journal.unavailable = None
        await trio.sleep(8)
        assert world.connector.rooms == {}


async def test_an_intent_becomes_a_debt_that_waits_while_the_provider_is_away(
    autojump_clock: MockClock, world: World
) -> None:
    intent = an_intent("half-made")
    await world.journal.commit(Change(add_intent=intent))
    world.connector.add_foreign_room("half-made", intent.expires_at)
    world.connector.fail("find_room", ProviderUnreachable("daily", "down"), times=None)
    async with world.service():
        await trio.sleep(100)
        assert await world.journal.intents() == ()
        assert len(await world.journal.debts()) == 1
        world.connector.recover()
        await trio.sleep(61)
        assert world.connector.rooms == {}


async def test_what_is_told_holds_no_token(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        created = await service.create(a_request())
        assert created.meeting_token is not None
        assert created.meeting_token not in repr(created)
        assert all(created.meeting_token.encode() not in event.body for event in world.told)
        stored = await world.journal.get(created.session.id)
        assert created.meeting_token not in json.dumps(attrs.asdict(stored), default=str)
