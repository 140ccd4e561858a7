"""A session that nobody is in ends where that is wanted, and only on the provider's word."""

from __future__ import annotations

import attrs
import trio
from session_builders import a_request, a_session, after, somebody
from session_world import World
from trio.testing import MockClock

from transport_trio.errors import ProviderUnreachable
from transport_trio.models import Emptiness, EndReason, News, Participant, Session
from transport_trio.sessions.lifecycle import Observed, Policy, Pushed, decide

POLICY = Policy(confirm_s=15.0, token_warning_s=60.0, grace_s=30.0)
ADA, BOT = somebody("a", "u1"), somebody("b", "bot-1")


def session(timeout_s: int | None, prefix: str | None = None) -> Session:
    return attrs.evolve(a_session(), emptiness=Emptiness(timeout_s=timeout_s, bot_user_id_prefix=prefix))


def looks(session: Session, *at: tuple[float, tuple[Participant, ...]]) -> Session:
    for at_s, seen in at:
        session = decide(session, Observed(at=after(at_s), seen=seen), POLICY).session
    return session


def test_nobody_ever_came() -> None:
    assert not looks(session(60), (15, ()), (59, ())).has_ended
    ended = looks(session(60), (15, ()), (60, ()))
    assert ended.end_reason is EndReason.EMPTY
    assert not looks(session(None), (15, ()), (10_000, ())).has_ended


def test_the_time_counts_from_the_last_leave() -> None:
    here = looks(session(60), (15, (ADA,)), (100, (ADA,)), (115, ()), (130, ()))
    assert here.participants == ()
    assert not looks(here, (189, ())).has_ended
    assert looks(here, (190, ())).end_reason is EndReason.EMPTY
    assert not looks(here, (180, (ADA,)), (195, (ADA,))).has_ended
    back = looks(here, (180, (ADA,)), (195, ()), (210, ()))
    assert not looks(back, (269, ())).has_ended
    assert looks(back, (270, ())).has_ended


def test_a_look_that_nobody_answers_ends_nothing() -> None:
    """One empty answer after a long time is the first of two that it takes for somebody to have left."""
    here = looks(session(60), (15, (ADA,)))
    assert not looks(here, (1000, ())).has_ended


def test_bots_among_themselves_are_nobody() -> None:
    alone = looks(session(60, "bot-"), (15, (BOT,)), (59, (BOT,)))
    assert not alone.has_ended
    assert looks(alone, (60, (BOT,))).end_reason is EndReason.EMPTY
    together = looks(session(60, "bot-"), (15, (ADA, BOT)), (900, (ADA, BOT)), (915, (BOT,)), (930, (BOT,)))
    assert not looks(together, (989, (BOT,))).has_ended
    assert looks(together, (990, (BOT,))).has_ended
    assert not looks(session(60), (15, (BOT,)), (900, (BOT,))).has_ended
    anonymous = somebody("c")
    assert not looks(session(60, "bot-"), (15, (anonymous,)), (900, (anonymous,))).has_ended


def test_who_is_told_to_have_left_at_the_end() -> None:
    here = looks(session(60, "bot-"), (15, (BOT,)))
    outcome = decide(here, Observed(at=after(60), seen=(BOT,)), POLICY)
    assert [event.type.value for event in outcome.events] == ["participant_left", "session_updated", "session_ended"]


def test_a_push_begins_the_time_and_a_join_stops_it() -> None:
    here = looks(session(60), (15, (ADA,)))
    left = News(participant=ADA, came=False, occurred_at=after(20))
    here = decide(here, Pushed(at=after(20), news=left), POLICY).session
    assert not looks(here, (79, ())).has_ended
    assert looks(here, (80, ())).has_ended
    joined = News(participant=somebody("z", "u2", joined_s=70), came=True, occurred_at=after(70))
    here = decide(here, Pushed(at=after(70), news=joined), POLICY).session
    assert not looks(here, (80, ())).has_ended


async def test_its_room_is_deleted_and_a_provider_that_is_away_ends_nothing(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service:
        request = a_request(emptiness=Emptiness(timeout_s=60))
        made = (await service.create(request)).session
        world.connector.fail("presence", ProviderUnreachable("daily", "down"), times=None)
        await trio.sleep(200)
        assert not (await service.get(made.id)).has_ended
        world.connector.recover()
        await trio.sleep(70)
        assert (await service.get(made.id)).end_reason is EndReason.EMPTY
        assert world.types(made.id)[-1] == "session_ended"
        await trio.sleep(5)
        assert world.connector.rooms == {}
