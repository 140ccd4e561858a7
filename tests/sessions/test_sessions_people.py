"""What callers want of people in a room: done by the provider, told by the session's owner, on Trio's clock."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from session_builders import NOON, a_request, a_session, after, somebody
from session_world import World
from trio.testing import MockClock, wait_all_tasks_blocked

from transport_trio.errors import (
    Busy,
    NobodyInCall,
    ParticipantNotFound,
    ProviderTimeout,
    ProviderUnreachable,
    RoomNotFound,
    SessionHasEnded,
    SessionNotFound,
    StorageUnavailable,
)
from transport_trio.events import MessageSent, ParticipantsEjected, PermissionsChanged
from transport_trio.models import EndReason, Permissions, PermissionsChange, Session
from transport_trio.sessions import Eject, Permit, SendMessage, SessionService
from transport_trio.sessions.lifecycle import Acted, EndWanted, Policy, decide
from transport_trio.sessions.people import ACTIONS_MAX
from transport_trio.sessions.presence import mark_ejected, observe, permit
from transport_trio.wire.out import EVENT_MAX_BYTES, event_body

HELLO = SendMessage(recipient="*", data={"say": "hello"}, data_bytes=15)
MUTE = PermissionsChange(can_admin=False, sending=Permissions(can_send_audio=False))


async def a_live_session(service: SessionService) -> Session:
    return (await service.create(a_request())).session


def told(world: World, type_: str) -> list[dict[str, Any]]:
    return [json.loads(event.body) for event in world.told if event.type == type_]


def count(world: World, action: str, outcome: str) -> float:
    return world.metric("transport_people_actions_total", action=action, outcome=outcome)


async def test_an_eject_is_told_and_the_leave_soon_after(autojump_clock: MockClock, world: World) -> None:
    """Without waiting for the next poll, nor for a second answer that fails to name them."""
    async with world.service() as service:
        session = await a_live_session(service)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        bob = world.connector.join(session.room.name, "Bob", "u2")
        await trio.sleep(16)
        event = await service.act(session.id, Eject(participant_ids=(ada.id, "?"), user_ids=("u2",), ban=True))
        assert set(event.participant_ids) == {ada.id, bob.id}
        [ejected] = told(world, "participants_ejected")
        assert (set(ejected["participant_ids"]), ejected["participants_total"]) == ({ada.id, bob.id}, 2)
        assert ejected["ban"] is True
        assert told(world, "participant_left") == []
        await trio.sleep(2.5)
        assert {left["participant"]["id"] for left in told(world, "participant_left")} == {ada.id, bob.id}
        assert world.connector.banned == {(session.room.name, "u1"), (session.room.name, "u2")}
    assert count(world, "eject", "done") == 1


async def test_nobody_ejected_is_no_event(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        event = await service.act(session.id, Eject(participant_ids=("?",)))
        assert event.participant_ids == ()
    assert told(world, "participants_ejected") == []


async def test_who_is_still_named_after_an_eject_leaves_when_the_provider_has_noticed(
    autojump_clock: MockClock, world: World
) -> None:
    """Daily's presence is late: the first look may name them still, the next one without them is enough."""
    async with world.service() as service:
        session = await a_live_session(service)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        world.connector.pretend(session.room.name, [ada])
        await service.act(session.id, Eject(participant_ids=(ada.id,)))
        await trio.sleep(2.5)
        assert told(world, "participant_left") == []
        world.connector.pretend(session.room.name, None)
        await trio.sleep(15)
        assert len(told(world, "participant_left")) == 1


async def test_who_rejoined_is_reached_by_the_id_that_was_told(autojump_clock: MockClock, world: World) -> None:
    """Listeners know Ada by her first id; the provider does not any more."""
    async with world.service() as service:
        session = await a_live_session(service)
        room = session.room.name
        first = world.connector.join(room, "Ada", "u1")
        await trio.sleep(16)
        world.connector.leave(room, first)
        second = world.connector.join(room, "Ada", "u1")
        await trio.sleep(16)
        [shown] = (await service.get(session.id)).participants
        assert shown.id == first.id != second.id
        await service.act(session.id, SendMessage(recipient=first.id, data={}, data_bytes=2))
        await service.act(session.id, Permit(participant_id=first.id, change=MUTE))
        event = await service.act(session.id, Eject(participant_ids=(first.id,)))
        assert world.connector.messages == [(room, second.id, {})]
        assert world.connector.permitted == {(room, second.id): MUTE}
    assert event.participant_ids == (first.id,)
    assert told(world, "message_sent")[0]["recipient"] == first.id
    assert told(world, "permissions_changed")[0]["participant_id"] == first.id


async def test_permissions_and_messages_are_told_without_the_data(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        await service.act(session.id, Permit(participant_id="*", change=MUTE))
        await service.act(session.id, HELLO)
    [changed], [sent] = told(world, "permissions_changed"), told(world, "message_sent")
    assert changed["permissions"] == {
        "can_admin": False,
        "can_send_video": True,
        "can_send_audio": False,
        "can_send_screen_video": True,
        "can_send_screen_audio": True,
    }
    assert (sent["recipient"], sent["data_bytes"]) == ("*", 15)
    assert not [event for event in world.told if b"hello" in event.body]
    assert "session_updated" not in world.types()[1:]
    assert (count(world, "permit", "done"), count(world, "message", "done")) == (1, 1)


@pytest.mark.parametrize(
    "action",
    [Permit(participant_id="u1", change=MUTE), SendMessage(recipient="Ada", data={}, data_bytes=2)],
    ids=lambda action: action.name,
)
async def test_an_id_that_nobody_has_is_refused_and_not_told(
    autojump_clock: MockClock, world: World, action: Permit | SendMessage
) -> None:
    """The provider takes it for done; a user's id or name is none of these ids."""
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        with pytest.raises(ParticipantNotFound):
            await service.act(session.id, action)
    assert (world.connector.messages, world.connector.permitted) == ([], {})
    assert not {"permissions_changed", "message_sent"} & set(world.types())
    assert count(world, action.name, "participant_not_found") == 1


async def test_who_has_come_since_the_last_look_is_reached(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        await trio.sleep(1)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        await service.act(session.id, SendMessage(recipient=ada.id, data={}, data_bytes=2))
        await trio.sleep(16)
        looks = world.connector.fresh_looks
        await service.act(session.id, SendMessage(recipient=ada.id, data={}, data_bytes=2))
        assert world.connector.fresh_looks == looks
    assert len(told(world, "message_sent")) == 2


@pytest.mark.parametrize(
    "failure", [NobodyInCall("daily", "r"), RoomNotFound("daily", "r"), ProviderUnreachable("daily", "down")]
)
async def test_what_the_provider_did_not_do_is_not_told(
    autojump_clock: MockClock, world: World, failure: ProviderUnreachable
) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.fail("send_message", failure)
        with pytest.raises(type(failure)):
            await service.act(session.id, HELLO)
    assert world.types() == ["session_created"]
    assert count(world, "message", failure.code) == 1


async def test_an_eject_in_doubt_is_looked_after(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        polls = world.connector.count("presence")
        world.connector.fail("eject", ProviderTimeout("daily", "late", in_doubt=True), takes_effect=True)
        with pytest.raises(ProviderTimeout):
            await service.act(session.id, Eject(participant_ids=(ada.id,)))
        await trio.sleep(2.5)
        assert world.connector.count("presence") == polls + 1


async def test_an_ended_session_and_no_session_are_told_apart(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        await service.end(session.id)
        with pytest.raises(SessionHasEnded):
            await service.act(session.id, HELLO)
        with pytest.raises(SessionNotFound):
            await service.act("nobody", HELLO)


async def test_an_action_ends_with_its_session(autojump_clock: MockClock, world: World) -> None:
    """Or it could reach the next room of that name, and `session_ended` would not be the last event."""
    async with world.service() as service, trio.open_nursery() as nursery:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        world.connector.delay("send_message", 5)

        async def send() -> None:
            with pytest.raises(SessionHasEnded):
                await service.act(session.id, HELLO)

        nursery.start_soon(send)
        await trio.sleep(1)
        await service.end(session.id)
        await trio.sleep(10)
    assert world.connector.messages == []
    assert world.types()[-1] == "session_ended"
    assert count(world, "message", "interrupted") == 1


async def test_who_hangs_up_ends_the_waiting_and_not_the_work(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        world.connector.delay("send_message", 5)
        with trio.move_on_after(1):
            await service.act(session.id, HELLO)
        await trio.sleep(5)
        assert len(told(world, "message_sent")) == 1


async def test_actions_are_bounded_and_the_owner_does_not_wait_for_them(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service, trio.open_nursery() as nursery:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        world.connector.delay("send_message", 60)
        for _ in range(ACTIONS_MAX):
            nursery.start_soon(service.act, session.id, HELLO)
        await wait_all_tasks_blocked()
        with pytest.raises(Busy):
            await service.act(session.id, HELLO)
        await trio.sleep(16)
        assert len(told(world, "participant_joined")) == 1
        await trio.sleep(60)
        await service.act(session.id, HELLO)
    assert count(world, "message", "done") == ACTIONS_MAX + 1
    assert count(world, "message", "busy") == 1


async def test_what_is_done_and_cannot_be_stored_says_so(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        world.journal.unavailable = "disk full"
        with pytest.raises(StorageUnavailable, match="has done it"):
            await service.act(session.id, HELLO)
        world.journal.unavailable = None
        assert len(world.connector.messages) == 1
    assert told(world, "message_sent") == []
    assert "action done and not stored" in caplog.text
    assert count(world, "message", "unrecorded") == 1


async def test_a_bug_in_one_action_is_that_callers_alone(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        name = "message"

        async def perform(self, *_: object) -> MessageSent:
            raise TypeError("a bug")

    async with world.service() as service:
        session = await a_live_session(service)
        world.connector.join(session.room.name, "Ada", "u1")
        with pytest.raises(TypeError):
            await service.act(session.id, Broken())
        await service.act(session.id, HELLO)
    assert world.metric("transport_task_restarts_total", task="session") == 0
    assert "action crashed" in caplog.text
    assert count(world, "message", "crashed") == 1


# --- pure


POLICY = Policy(confirm_s=15, token_warning_s=300)


def test_an_ended_session_has_no_event_of_an_action() -> None:
    session = a_session()
    acted = Acted(event=MessageSent(session_id=session.id, time=NOON, recipient="*", data_bytes=2))
    assert decide(session, acted, POLICY).events == (acted.event,)
    ended = decide(session, EndWanted(at=NOON, reason=EndReason.REQUESTED), POLICY).session
    assert decide(ended, acted, POLICY).events == ()


def test_ejected_people_leave_with_the_first_answer_that_misses_them() -> None:
    ada, bob = somebody("p1", "u1"), somebody("p2", "u2")
    present = observe((), (), [ada, bob], after(0), 15).present
    marked = mark_ejected(present, ["p1"])
    seen = observe(marked, (), [], after(1), 15)
    assert [left.participant.id for left in seen.left] == ["p1"]
    assert [one.participant.id for one in seen.present] == ["p2"]


def test_who_comes_back_after_an_eject_is_ejected_no_more() -> None:
    ada = somebody("p1", "u1")
    present = mark_ejected(observe((), (), [ada], after(0), 15).present, ["p1"])
    back = observe(present, (), [somebody("p9", "u1", joined_s=1)], after(2), 15)
    assert back.left == ()
    missed = observe(back.present, (), [], after(3), 15)
    assert missed.left == ()
    assert (back.present[0].participant.id, back.present[0].provider_id) == ("p1", "p9")


def test_an_event_of_very_many_ejected_is_cut_and_says_how_many() -> None:
    ids = tuple("\N{GRINNING FACE}" * 125 + f"{number:03}" for number in range(300))
    event = ParticipantsEjected(session_id=a_session().id, time=NOON, participant_ids=ids, ban=False)
    body = event_body(event, 2**63 - 1)
    assert len(body) <= EVENT_MAX_BYTES
    assert json.loads(body)["participants_total"] == 300


def test_permissions_tell_what_was_given_and_nothing_else() -> None:
    change = PermissionsChange(can_admin=True)
    event = PermissionsChanged(session_id=a_session().id, time=NOON, participant_id="p1", permissions=change)
    assert event.permissions.given == {"can_admin": True}
    assert PermissionsChange().given == {}


OPEN = Permissions()
SHUT = Permissions(can_send_audio=False)


@pytest.mark.parametrize(
    ("change", "before", "after_it"),
    [
        (PermissionsChange(sending=SHUT), OPEN, SHUT),
        (PermissionsChange(can_admin=True), SHUT, attrs.evolve(SHUT, can_admin=True)),
        (PermissionsChange(can_admin=True), None, None),
        (PermissionsChange(sending=SHUT), None, None),
        (PermissionsChange(can_admin=False, sending=SHUT), None, SHUT),
    ],
)
def test_what_somebody_may_do_is_shown_as_far_as_it_is_known(
    change: PermissionsChange, before: Permissions | None, after_it: Permissions | None
) -> None:
    ada, bob = attrs.evolve(somebody("p1", "u1"), permissions=before), somebody("p2", "u2")
    present = observe((), (), [ada, bob], after(0), 15).present
    changed = permit(present, "p1", change)
    assert [one.participant.permissions for one in changed] == [after_it, None]
    assert permit(present, "*", change)[0].participant.permissions == after_it


def test_what_was_changed_holds_until_the_next_join() -> None:
    ada = attrs.evolve(somebody("p1", "u1"), permissions=OPEN)
    present = permit(observe((), (), [ada], after(0), 15).present, "*", PermissionsChange(sending=SHUT))
    stays = observe(present, (), [somebody("p1", "u1")], after(15), 15)
    assert stays.present[0].participant.permissions == SHUT
    assert not stays.changed
    back = observe(present, (), [somebody("p9", "u1", joined_s=20)], after(30), 15)
    assert back.present[0].participant.permissions is None
    assert back.changed


def test_listeners_learn_of_changed_permissions_as_of_any_change_of_a_session() -> None:
    session = attrs.evolve(a_session(), present=observe((), (), [somebody("p1")], after(0), 15).present)
    change = PermissionsChange(can_admin=False, sending=SHUT)
    event = PermissionsChanged(session_id=session.id, time=after(5), participant_id="p1", permissions=change)
    policy = Policy(confirm_s=15, token_warning_s=60)
    outcome = decide(session, Acted(event=event), policy)
    assert [told.type for told in outcome.events] == ["permissions_changed", "session_updated"]
    assert outcome.session.participants[0].permissions == SHUT
    again = decide(outcome.session, Acted(event=event), policy)
    assert [told.type for told in again.events] == ["permissions_changed"]
