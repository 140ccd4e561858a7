"""What the provider pushes is told at once, whatever its answers say for a while, and judged by them in the end."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
import trio.lowlevel
from session_builders import a_request, a_session, after, somebody
from session_world import World
from trio.testing import MockClock

from fakes_connector import at, trio_time
from transport_trio.errors import ProviderRejected
from transport_trio.models import Leave, News, Participant, Permissions, Session, SessionStatus
from transport_trio.sessions.lifecycle import Observed, Policy, ProviderRefused, Pushed, decide
from transport_trio.sessions.poller import LOOKS_APART_S, NEWS_MAX
from transport_trio.sessions.presence import recheck_at

CONFIRM_S, GRACE_S = 15.0, 30.0
POLICY = Policy(confirm_s=CONFIRM_S, token_warning_s=60.0, grace_s=GRACE_S)


@attrs.define
class Story:
    """A session and what has been told of it."""

    session: Session = attrs.field(factory=a_session)
    told: list[str] = attrs.field(factory=list)

    def _happen(self, cause: Observed | Pushed | ProviderRefused) -> None:
        outcome = decide(self.session, cause, POLICY)
        self.session = outcome.session
        for event in outcome.events:
            who = getattr(event, "participant", None)
            if who is not None:
                again = " again" if getattr(event, "again", False) else ""
                self.told.append(f"{event.type.removeprefix('participant_')} {who.id} {event.source}{again}")

    def look(self, at_s: float, *seen: Participant) -> None:
        self._happen(Observed(at=after(at_s), seen=seen))

    def push(self, at_s: float, who: Participant, *, came: bool, occurred_s: float | None = None) -> None:
        occurred_at = after(at_s if occurred_s is None else occurred_s)
        self._happen(Pushed(at=after(at_s), news=News(participant=who, came=came, occurred_at=occurred_at)))

    @property
    def present(self) -> list[str]:
        return [who.id for who in self.session.participants]


ADA = somebody("a", "u1", joined_s=1)
AGAIN = somebody("a2", "u1", joined_s=5)


def test_a_pushed_join_is_told_at_once_and_answers_that_do_not_know_it_yet_change_nothing() -> None:
    story = Story()
    story.push(1, ADA, came=True)
    for at_s in (1.1, 15, 30):
        story.look(at_s)
    story.look(31, ADA)
    assert story.told == ["joined a webhook"]
    assert story.session.present[0].pushed_at is None
    assert story.session.status is SessionStatus.ACTIVE


def test_a_pushed_join_that_no_answer_ever_confirms_is_a_leave_in_the_end() -> None:
    story = Story()
    story.push(1, ADA, came=True)
    for at_s in (16, 31, 46):
        story.look(at_s)
    assert story.told == ["joined a webhook", "left a inferred"]


def test_a_pushed_leave_is_told_at_once_with_its_time_and_lagging_answers_do_not_bring_them_back() -> None:
    story = Story()
    story.look(2, ADA)
    story.push(61, ADA, came=False, occurred_s=60.5)
    for at_s in (61.1, 75, 90):
        story.look(at_s, ADA)
    story.look(105)
    assert story.told == ["joined a poll", "left a webhook"]
    assert story.present == []


def test_a_pushed_leave_that_answers_go_on_denying_proves_wrong() -> None:
    story = Story()
    story.look(2, ADA)
    story.push(60, ADA, came=False)
    story.look(75, ADA)
    story.look(91, ADA)
    assert story.told == ["joined a poll", "left a webhook", "joined a poll again"]


def test_doubles_say_nothing() -> None:
    story = Story()
    for _ in range(2):
        story.push(1, ADA, came=True)
    for _ in range(2):
        story.push(2, ADA, came=False)
    story.push(3, ADA, came=True)  # of the same connection: it was late
    assert story.told == ["joined a webhook", "left a webhook"]


def test_a_join_that_comes_late_or_doubled_does_not_bring_back_who_was_missed() -> None:
    """Told as new, it would name a connection for the second time, and hold somebody who left for half a minute."""
    story = Story()
    for at_s, seen in ((2, [ADA]), (3, []), (18, [])):
        story.look(at_s, *seen)
    story.push(20, ADA, came=True, occurred_s=1)
    assert story.told == ["joined a poll", "left a inferred"]
    story.look(21, ADA)
    assert story.told[2:] == ["joined a poll again"]


def test_a_leave_before_its_join_leaves_nobody_there() -> None:
    story = Story()
    story.push(3, ADA, came=False)
    story.push(3.1, ADA, came=True)
    story.look(4, ADA)
    assert story.told == []
    assert story.present == []


def test_somebody_who_rejoins_stays_whatever_the_order() -> None:
    for order in ((True, False), (False, True)):
        story = Story()
        story.push(1, ADA, came=True)
        for came in order:
            story.push(6, AGAIN if came else ADA, came=came)
        story.look(7, ADA)  # a ghost
        story.look(40, AGAIN)
        story.push(50, AGAIN, came=False)
        if order[0]:  # the new connection came first
            assert story.told == ["joined a webhook", "left a webhook"]
        else:
            assert story.told == ["joined a webhook", "left a webhook", "joined a2 webhook", "left a2 webhook"]
        assert story.present == []


def test_the_end_of_an_old_connection_is_no_leave() -> None:
    story = Story()
    story.look(2, ADA)
    story.look(17, ADA, AGAIN)
    story.push(18, ADA, came=False)
    story.look(33, AGAIN)
    assert story.told == ["joined a poll"]
    assert story.present == ["a"]  # as they were told
    story.push(40, AGAIN, came=False)
    assert story.told[1:] == ["left a webhook"]


def test_an_answer_that_does_not_know_the_new_connection_yet_does_not_end_it() -> None:
    story = Story()
    story.look(2, ADA)
    story.push(6, AGAIN, came=True)
    story.look(7, ADA)
    story.push(8, ADA, came=False)
    story.look(9, ADA)
    story.look(40, AGAIN)
    assert story.told == ["joined a poll"]


def test_who_is_missing_and_rejoins_is_not_looked_for_again_and_again() -> None:
    story = Story()
    story.look(2, ADA)
    story.look(17)
    assert recheck_at(story.session.present, CONFIRM_S) == after(32)
    story.push(20, AGAIN, came=True)
    assert recheck_at(story.session.present, CONFIRM_S) is None
    story.look(32)
    assert story.told == ["joined a poll"]


def test_a_push_names_a_user_that_no_answer_knows() -> None:
    """Daily makes one up for whoever brought none."""
    story = Story()
    story.push(1, somebody("a", "made-up", joined_s=1), came=True)
    story.look(20, somebody("a", joined_s=1))
    story.look(100, somebody("a", joined_s=1))
    assert story.told == ["joined a webhook"]
    assert story.session.participants[0].user_id == "made-up"


def test_what_comes_too_late_is_left_to_the_answers() -> None:
    story = Story()
    story.push(40, somebody("a", joined_s=1), came=True, occurred_s=1)
    story.push(40, somebody("b", joined_s=1), came=False, occurred_s=5)
    assert story.told == []
    assert story.session.pushed_leaves == ()


def test_what_happened_in_an_earlier_room_of_that_name_is_not_told() -> None:
    story = Story()
    story.push(1, somebody("a", joined_s=-20), came=True, occurred_s=-20)
    assert story.told == []
    story.push(1, somebody("b", joined_s=-1), came=True, occurred_s=-1)  # the provider's clock may be behind ours
    assert story.told == ["joined b webhook"]


def test_owner_and_permissions_come_along_and_stay() -> None:
    may_speak = Permissions(can_send_video=False)
    known = attrs.evolve(ADA, is_owner=True, permissions=may_speak)
    pushed, polled = Story(), Story()
    pushed.push(1, known, came=True)
    pushed.look(20, ADA)
    polled.look(1, ADA)
    before = polled.session.updated_at
    polled.push(2, known, came=True)
    for story in (pushed, polled):
        assert story.session.participants == (known,)
        assert story.told in (["joined a webhook"], ["joined a poll"])
    assert polled.session.updated_at > before  # who listens has something to learn


def test_pushes_do_not_end_a_refusal() -> None:
    story = Story()
    story._happen(ProviderRefused(at=after(0)))
    story.push(1, ADA, came=True)
    assert story.session.status is SessionStatus.ERROR
    assert story.told == ["joined a webhook"]
    story.look(2, ADA)
    assert story.session.status is SessionStatus.ACTIVE


def test_what_is_remembered_is_bounded_and_forgotten() -> None:
    story = Story()
    for number in range(300):
        story.push(1, somebody(f"p{number}"), came=False)
    assert len(story.session.pushed_leaves) == 256
    assert story.session.pushed_leaves[-1] == Leave(id="p299", at=after(1))
    story.look(31)
    assert story.session.pushed_leaves == ()


# --- a live session


def news(who: Participant, *, came: bool) -> News:
    return News(participant=who, came=came, occurred_at=trio_time())


async def test_a_push_is_told_at_once_and_has_the_room_looked_into(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        await trio.sleep(3)
        ada = world.connector.join(session.room.name, "Ada", "u1")
        assert service.hear("daily", session.room.name, news(ada, came=True))
        await trio.sleep(0.1)
        assert world.types()[1:] == ["participant_joined", "session_updated"]
        joined = json.loads(world.told[1].body)
        assert joined["source"] == "webhook"
        assert world.connector.count("presence") == 1
        assert (await service.get(session.id)).presence_checked_at == at(3)


async def test_pushes_in_a_burst_make_us_look_once_a_second(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        await trio.sleep(3)
        for _ in range(20):
            service.hear("daily", session.room.name, None)
            await trio.sleep(LOOKS_APART_S / 10)
        assert world.connector.count("presence") == 2
        await trio.sleep(LOOKS_APART_S)
        assert world.connector.count("presence") == 3
        await trio.sleep(14)
        assert world.connector.count("presence") == 3  # the next beat counts from the latest look
        await trio.sleep(2)
        assert world.connector.count("presence") == 4


async def test_a_push_does_not_wait_for_a_slow_look(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.delay("presence", 10)
        await trio.sleep(16)  # a look is under way
        ada = world.connector.join(session.room.name)
        service.hear("daily", session.room.name, news(ada, came=True))
        await trio.sleep(0.1)
        assert "participant_joined" in world.types()


async def test_a_room_that_is_nobodys_is_not_ours(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        assert not service.hear("daily", "somebody-elses", None)
        assert not service.hear("other", session.room.name, None)
        await service.end(session.id)
        await trio.lowlevel.checkpoint()
        assert not service.hear("daily", session.room.name, None)


async def test_what_cannot_be_stored_is_told_by_a_look_later(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        ada = world.connector.join(session.room.name)
        world.journal.unavailable = "the disk is full"
        service.hear("daily", session.room.name, news(ada, came=True))
        await trio.sleep(0.1)
        world.journal.unavailable = None
        await trio.sleep(16)
        assert [json.loads(one.body)["source"] for one in world.told if one.type == "participant_joined"] == ["poll"]


async def test_what_waits_to_be_told_is_bounded(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        crowd = [world.connector.join(session.room.name) for _ in range(NEWS_MAX + 50)]
        for who in crowd:
            service.hear("daily", session.room.name, news(who, came=True))
        await trio.sleep(1)
        joined = [json.loads(one.body)["source"] for one in world.told if one.type == "participant_joined"]
        assert sorted(joined) == ["poll"] * 50 + ["webhook"] * NEWS_MAX
        assert caplog.messages.count("news passed over, a look makes up for them") == 1


async def test_while_the_provider_refuses_pushes_are_told(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        ada = world.connector.join(session.room.name)
        world.connector.fail("presence", ProviderRejected("daily", 401, "no"), times=None)
        service.hear("daily", session.room.name, news(ada, came=True))
        await trio.sleep(1)
        assert "participant_joined" in world.types()
