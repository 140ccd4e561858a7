"""A later end: asked of the provider, stored in an order that a crash cannot spoil, and honest about who is put out."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import attrs
import pytest
import trio
from session_builders import NOON, a_request, a_session, after, somebody
from session_world import World
from trio.testing import MockClock

from fakes_connector import at
from transport_trio.errors import (
    Busy,
    InvalidRequest,
    ProviderRejected,
    ProviderUnreachable,
    RoomNotFound,
    SessionHasEnded,
)
from transport_trio.models import (
    FurtherGrant,
    News,
    ParticipantConfig,
    Presence,
    Room,
    RoomDebt,
    Session,
    TokenGrant,
    TokenOptions,
)
from transport_trio.ports import Change
from transport_trio.sessions import Extended, ExtensionRequest, SessionService
from transport_trio.sessions.extension import (
    PAST_ENDS_MAX,
    ExtensionDone,
    ExtensionIntended,
    check,
    ejections,
    extended,
)
from transport_trio.sessions.presence import believe, observe

MONTH_S = 2592000


def told(world: World, type_: str) -> list[dict[str, Any]]:
    return [json.loads(event.body) for event in world.told if event.type == type_]


def room_end(world: World, session: Session) -> datetime | None:
    return world.connector.rooms[session.room.name].room.expires_at


async def a_short_session(service: SessionService, **changes: object) -> Session:
    return (await service.create(a_request(session_ttl_s=100, token_ttl_s=100, **changes))).session


async def to(service: SessionService, session: Session, seconds: float, **more: Any) -> Extended:
    wanted = ExtensionRequest(expires_at=at(seconds), **more)
    return await service.extensions.extend(session.id, wanted)


async def test_the_session_ends_at_its_new_end_and_the_room_with_it(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        extended = await to(service, session, 500)
        assert extended.session.expires_at == room_end(world, session) == at(500)
        [event] = told(world, "session_extended")
        assert (event["session_expires_at"], event["expired_before_at"]) == (
            "2026-01-01T12:08:20Z",
            "2026-01-01T12:01:40Z",
        )
        await trio.sleep(499)
        assert told(world, "session_ended") == []
        await trio.sleep(2)
        assert [one["reason"] for one in told(world, "session_ended")] == ["expired"]
    assert world.metric("transport_extensions_total", outcome="done") == 1


async def test_repeating_it_changes_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        for _ in range(2):
            assert (await to(service, session, 500)).session.expires_at == at(500)
    assert world.connector.count("extend_room") == 1
    assert len(told(world, "session_extended")) == 1


async def test_a_length_counts_from_now(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        await trio.sleep(50.5)
        done = await service.extensions.extend(session.id, ExtensionRequest(ttl_s=200))
        assert done.session.expires_at == at(251)


@pytest.mark.parametrize(("end_s", "says"), [(99, "earlier"), (MONTH_S + 1, "later"), (100, "from now")])
async def test_ends_that_it_cannot_have(autojump_clock: MockClock, world: World, end_s: float, says: str) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        await trio.sleep(98)
        with pytest.raises(InvalidRequest, match=says):
            await to(service, session, end_s)
    assert world.connector.count("extend_room") == 0


async def test_an_ended_session_stays_ended(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        await service.end(session.id)
        with pytest.raises(SessionHasEnded):
            await to(service, session, 500)


async def test_who_was_inside_is_put_out_at_the_old_end_and_who_comes_later_is_not(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        done = await to(service, session, 500)
        assert [(one.participant.id, one.at, one.source) for one in done.ejections] == [(ada.id, at(100), "room")]
        [event] = told(world, "session_extended")
        assert event["will_still_be_ejected"] == [{"participant_id": ada.id, "at": "2026-01-01T12:01:40Z"}]
        await trio.sleep(1)
        bob = world.connector.join(session.room.name, "Bob", "u2")
        await trio.sleep(16)
        again = await to(service, session, 900)
        assert {(one.participant.id, one.at) for one in again.ejections} == {(ada.id, at(100)), (bob.id, at(500))}
        # Ada comes anew: the end of then counts.
        await trio.sleep(1)
        world.connector.leave(session.room.name, ada)
        world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        last = await to(service, session, 900)
        assert [one.participant.id for one in last.ejections] == [bob.id]


async def test_who_is_named_late_was_inside_all_the_same(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        assert (await to(service, session, 500)).ejections == ()
        await trio.sleep(16)
        assert [one.at for one in (await to(service, session, 500)).ejections] == [at(100)]


async def test_tokens_are_made_anew_for_those_who_will_be_put_out(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service, participant_config=ParticipantConfig(name="Ada", user_id="u1"))
        for name, user_id in (("Ada", "u1"), ("Eve", "u9")):
            world.connector.join(session.room.name, name, user_id)
        await trio.sleep(16)
        done = await to(service, session, 500, reissue_tokens=True)
        [token] = done.tokens
        assert (token.granted.id, token.granted.participant.user_id) == (session.id, "u1")
        assert at(498) <= token.granted.grant.expires_at <= at(500)
        assert world.connector.tokens[-1].expires_at == token.granted.grant.expires_at


async def test_a_room_with_a_ceiling_needs_no_question_and_puts_nobody_out(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service:
        session = await a_short_session(service, max_duration_s=1000)
        assert (session.expires_at, room_end(world, session)) == (at(100), at(1000))
        world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        assert (await to(service, session, 1000)).ejections == ()
        with pytest.raises(InvalidRequest, match="longest duration"):
            await to(service, session, 1001)
        await service.end(session.id)
        await trio.sleep(20)
        assert session.room.name not in world.connector.rooms
    assert world.connector.count("extend_room") == 0


async def test_a_ceiling_s_room_goes_at_the_session_s_end(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service, max_duration_s=1000)
        await trio.sleep(130)
        assert [one["reason"] for one in told(world, "session_ended")] == ["expired"]
        assert session.room.name not in world.connector.rooms


async def test_a_refusal_leaves_everything_as_it_was(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        for error in (ProviderRejected("daily", 400, "no"), RoomNotFound("daily", session.room.name)):
            world.connector.fail("extend_room", error)
            with pytest.raises(type(error)):
                await to(service, session, 500)
            known = await service.get(session.id)
            assert (known.expires_at, known.extending_to) == (at(100), None)
    assert told(world, "session_extended") == []


async def test_a_lost_answer_is_looked_up(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        lost = ProviderUnreachable("daily", "lost")
        world.connector.fail("extend_room", lost, takes_effect=True)
        assert (await to(service, session, 500)).session.expires_at == at(500)
        world.connector.fail("extend_room", lost)
        with pytest.raises(ProviderUnreachable):
            await to(service, session, 600)
        known = await service.get(session.id)
        assert (known.expires_at, known.extending_to) == (at(500), None)


async def test_a_doubt_is_settled_when_the_provider_is_back(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
        world.connector.fail("extend_room", ProviderUnreachable("daily", "lost"), takes_effect=True)
        world.connector.fail("find_room", ProviderUnreachable("daily", "down"), times=3)
        with pytest.raises(ProviderUnreachable):
            await to(service, session, 500)
        assert (await service.get(session.id)).extending_to == at(500)
        with pytest.raises(Busy):
            await to(service, session, 600)
        await trio.sleep(10)
        assert (await service.get(session.id)).expires_at == at(500)


async def test_a_room_that_is_denied_for_a_moment_leaves_the_doubt(autojump_clock: MockClock, world: World) -> None:
    """As long as Daily denies a room, nobody knows which end it has."""
    async with world.service() as service:
        session = await a_short_session(service)
        world.connector.fail("extend_room", ProviderUnreachable("daily", "lost"), takes_effect=True)
        world.connector.fail("find_room", RoomNotFound("daily", session.room.name), times=3)
        with pytest.raises(ProviderUnreachable):
            await to(service, session, 500)
        assert (await service.get(session.id)).extending_to == at(500)
        await trio.sleep(10)
        known = await service.get(session.id)
        assert (known.expires_at, known.extending_to) == (at(500), None)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_crash_behind_the_intent_is_settled_by_the_room(
    autojump_clock: MockClock, world: World, carried_out: bool
) -> None:
    async with world.service() as service:
        session = await a_short_session(service)
    stored = await world.journal.get(session.id)
    assert stored is not None
    intended, _ = extended(stored, ExtensionIntended(until=at(500)))
    await world.journal.commit(Change(session=intended, expected_version=stored.version))
    if carried_out:
        await world.connector.extend_room(session.room.name, at(500))
    async with world.service() as service:
        await trio.sleep(1)
        known = await service.get(session.id)
        assert (known.expires_at, known.extending_to) == (at(500) if carried_out else at(100), None)
        assert len(told(world, "session_extended")) == carried_out


async def test_one_at_a_time(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("extend_room", 5)
    async with world.service() as service, trio.open_nursery() as nursery:
        session = await a_short_session(service)
        nursery.start_soon(to, service, session, 500)
        await trio.sleep(1)
        stored = await world.journal.get(session.id)
        assert stored is not None
        assert stored.extending_to == at(500)  # written down before the provider is asked: a crash would need it
        with pytest.raises(Busy):
            await to(service, session, 600)


async def test_an_end_meanwhile_answers_the_caller(autojump_clock: MockClock, world: World) -> None:
    world.connector.delay("extend_room", 200)
    async with world.service() as service:
        session = await a_short_session(service)
        with pytest.raises(SessionHasEnded):
            await to(service, session, 500)


# --- pure


def with_people(*people: Presence, **changes: Any) -> Session:
    return attrs.evolve(a_session(session_s=1000), present=people, **changes)


def test_the_provider_s_own_word_and_the_token_s_count_more_than_the_room() -> None:
    told_by_webhook = attrs.evolve(somebody("p1", "u1"), will_eject_at=after(50))
    tokens = tuple(
        FurtherGrant(
            id=id_,
            participant=ParticipantConfig(user_id=id_),
            options=options,
            grant=TokenGrant(expires_at=after(300)),
            ttl_s=None,
            created_at=NOON,
        )
        for id_, options in (
            ("u2", TokenOptions(eject_at_expiry=True)),
            ("u3", TokenOptions(eject_after_s=70, eject_at_expiry=True)),
            ("u4", TokenOptions()),
        )
    )
    people = (told_by_webhook, *(somebody(f"p{n}", f"u{n}", joined_s=10) for n in (2, 3, 4)))
    session = with_people(*(Presence(participant=who, last_seen_at=NOON) for who in people), further_tokens=tokens)
    found = [(one.participant.id, one.at, one.source) for one in ejections(session, after(20))]
    assert found == [("p1", after(50), "webhook"), ("p3", after(80), "token"), ("p2", after(300), "token")]


def test_what_was_fixed_at_the_door_ends_with_the_connection() -> None:
    pushed = attrs.evolve(somebody("p1", "u1"), will_eject_at=after(50))
    (one,) = believe((), (), (), News(participant=pushed, came=True, occurred_at=NOON), NOON).present
    assert one.participant.will_eject_at == after(50)
    (seen,) = observe((one,), (), (somebody("p1", "u1"),), after(5), 15).present
    assert seen.participant.will_eject_at == after(50)
    (anew,) = observe((seen,), (), (somebody("p2", "u1", joined_s=20),), after(25), 15).present
    assert (anew.participant.will_eject_at, anew.entered_at) == (None, after(20))
    again = News(participant=attrs.evolve(pushed, id="p3", joined_at=after(30)), came=True, occurred_at=after(30))
    (pushed_anew,) = believe((anew,), (), (), again, after(30)).present
    assert (pushed_anew.participant.will_eject_at, pushed_anew.entered_at) == (after(50), after(30))
    assert pushed_anew.participant.joined_at == NOON


def test_past_ends_do_not_grow_without_bound_and_err_on_the_early_side() -> None:
    session = a_session(session_s=10)
    for number in range(1, PAST_ENDS_MAX + 20):
        room = attrs.evolve(session.room, expires_at=after(10 + 10 * number))
        session, _ = extended(session, ExtensionDone(at=after(number), until=after(10 + 10 * number), room=room))
    assert len(session.past_ends) == PAST_ENDS_MAX
    early = attrs.evolve(session, present=(Presence(participant=somebody("p", joined_s=0.5), last_seen_at=NOON),))
    late = attrs.evolve(session, present=(Presence(participant=somebody("p", joined_s=10), last_seen_at=NOON),))
    assert [one.at for one in ejections(early, NOON)] == [after(10)]
    assert [one.at for one in ejections(late, NOON)] <= [after(110)]


def test_a_provider_that_cuts_the_end_is_told_of() -> None:
    session = a_session(session_s=100)
    room = attrs.evolve(session.room, expires_at=after(300))
    cut, (event,) = extended(session, ExtensionDone(at=NOON, until=after(500), room=room))
    assert cut.expires_at == after(300)
    assert event.session_expires_at == after(300)  # type: ignore[attr-defined] # it is that event


def test_a_session_s_longest_duration() -> None:
    check(a_session(session_s=10), after(60), NOON, 60, "$")
    with pytest.raises(InvalidRequest):
        check(a_session(session_s=10), after(61), NOON, 60, "$")


def test_a_debt_knows_both_ends_while_nobody_knows_which() -> None:
    debt = RoomDebt(
        session_id=a_session().id,
        provider="daily",
        room_name="r",
        provider_id=None,
        expires_at=after(100),
        owed_at=NOON,
        other_end=after(500),
    )
    for end, ours in ((100, True), (500, True), (300, False)):
        assert debt.covers(Room(name="r", url="", expires_at=after(end))) is ours
    unextended = attrs.evolve(debt, other_end=None)
    assert not unextended.covers(Room(name="r", url="", expires_at=None))


def test_a_room_that_somebody_else_extended_is_not_deleted_for_its_old_end() -> None:
    """As by another service, in a copy of the data folder."""
    ours = RoomDebt(
        session_id=a_session().id,
        provider="daily",
        room_name="r",
        provider_id="room-1",
        expires_at=after(100),
        owed_at=NOON,
        other_end=after(500),
    )
    for id_, end, covered in (("room-1", 100, True), ("room-1", 500, True), ("room-1", 501, False), ("x", 100, False)):
        assert ours.covers(Room(name="r", url="", provider_id=id_, expires_at=after(end))) is covered
