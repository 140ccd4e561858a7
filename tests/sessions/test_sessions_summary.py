"""Who was there, when and how long: as we saw it, and put together with the provider's account."""

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
from transport_trio.errors import ProviderRejected, ProviderUnreachable
from transport_trio.models import Account, Participant, Presence, Reconciled, Session, Visit
from transport_trio.sessions import SessionService, summary_of
from transport_trio.sessions.presence import Joined, Left
from transport_trio.sessions.reconciling import FIRST_ASK_S, WAITING_MAX, Reconciler
from transport_trio.sessions.visits import GIVE_UP_S, VISITS_MAX, merged, note


def visit(id_: str, joined_s: float, left_s: float | None, user_id: str | None = None, *, exact: bool = False) -> Visit:
    left_at = None if left_s is None else after(left_s)
    return Visit(ids=(id_,), user_id=user_id, joined_at=after(joined_s), left_at=left_at, exact=exact)


def told(world: World, type_: str) -> list[dict[str, Any]]:
    return [json.loads(event.body) for event in world.told if event.type == type_]


async def reconciled(service: SessionService, session: Session) -> Reconciled | None:
    return (await service.get(session.id)).reconciled


# --- merging


def test_ours_and_theirs_are_one_visit() -> None:
    (stay,) = merged([visit("p", 10, 60)], [visit("p", 0, 75)], after(100))
    # Within the grain our join is the better known; of the leave we know when they were last seen.
    assert (stay.visit.joined_at, stay.visit.left_at, stay.account) == (after(10), after(75), Account.BOTH)
    assert (stay.ours, stay.provider) == (visit("p", 10, 60), visit("p", 0, 75))


def test_a_leave_that_was_told_counts_and_a_join_that_was_seen_late_does_not() -> None:
    (stay,) = merged([visit("p", 100, 160, exact=True)], [visit("p", 60, 180)], after(200))
    assert (stay.visit.joined_at, stay.visit.left_at) == (after(60), after(160))


def test_nobody_stays_beyond_the_end() -> None:
    (ours, theirs) = merged([visit("p", 10, 60)], [visit("p", 0, 300), visit("q", 30, 300)], after(100))
    assert (ours.visit.left_at, theirs.visit.left_at) == (after(100), after(100))


def test_what_one_side_has_alone_stays_and_says_whose_it_is() -> None:
    stays = merged([visit("p", 0, 5)], [visit("q", 15, 45)], after(100))
    assert [(stay.visit.ids[0], stay.account) for stay in stays] == [("p", Account.OURS), ("q", Account.PROVIDER)]


def test_a_rejoin_that_we_count_as_one_visit_is_one() -> None:
    theirs = [visit("p1", 0, 30, "u"), visit("p2", 30, 60, "u"), visit("p3", 60, 90, "u")]
    (stay,) = merged([attrs.evolve(visit("p1", 0, 90, "u"), ids=("p1", "p3"))], theirs, after(100))
    assert stay.provider == attrs.evolve(visit("p1", 0, 90, "u"), ids=("p1", "p3", "p2"))


def test_two_visits_of_one_user_stay_two() -> None:
    ours = [visit("p1", 0, 30, "u"), visit("p2", 40, 90, "u")]
    theirs = [visit("p1", 0, 45, "u"), visit("p2", 30, 90, "u")]
    stays = merged(ours, theirs, after(100))
    assert [stay.provider for stay in stays] == theirs


# --- keeping


def with_present(session: Session, *people: Participant) -> Session:
    return attrs.evolve(session, present=tuple(Presence(participant=one, last_seen_at=NOON) for one in people))


def test_visits_are_kept_up_to_a_number_and_the_rest_is_counted() -> None:
    session = a_session()
    for number in range(VISITS_MAX + 3):
        who = somebody(f"p{number}")
        session = with_present(session, who)
        session = note(session, (), (), (Left(participant=who, last_seen_at=after(1)),), exact=False)
    assert (len(session.visits), session.visits_dropped) == (VISITS_MAX, 3)
    assert session.visits[0].ids == ("p3",)


def test_a_leave_that_proves_wrong_is_no_visit() -> None:
    who = somebody("p")
    session = note(a_session(), (), (), (Left(participant=who, last_seen_at=after(9)),), exact=False)
    back = (Presence(participant=who, last_seen_at=after(20)),)
    session = note(session, back, (Joined(participant=who, again=True),), (), exact=False)
    (person,) = summary_of(attrs.evolve(session, present=back), after(30)).people
    assert [stay.visit.left_at for stay in person.stays] == [None]


def test_people_and_how_many_at_once() -> None:
    visits = (visit("a", 0, 10, "u1"), visit("b", 10, 30, "u2"), visit("c", 20, 40, "u1"), visit("d", 5, 6))
    session = attrs.evolve(a_session(), visits=visits)
    summary = summary_of(session, after(50))
    assert [(one.user_id, len(one.stays)) for one in summary.people] == [("u1", 2), (None, 1), ("u2", 1)]
    assert summary.people_at_most == 2
    assert summary.reconciled is Reconciled.PENDING


@pytest.mark.parametrize(
    ("state", "now_s", "shown"),
    [
        (None, 20, Reconciled.UNAVAILABLE),  # it ended before there were summaries
        (Reconciled.PENDING, 20, Reconciled.PENDING),
        (Reconciled.PENDING, 3 * GIVE_UP_S, Reconciled.UNAVAILABLE),
        (Reconciled.DONE, 3 * GIVE_UP_S, Reconciled.DONE),
    ],
)
def test_how_far_it_is_agreed_on(state: Reconciled | None, now_s: float, shown: Reconciled) -> None:
    session = attrs.evolve(a_session(), ended_at=after(10), reconciled=state)
    assert summary_of(session, after(now_s)).reconciled is shown


# --- the whole way


async def a_visited_session(service: SessionService, world: World, **changes: object) -> Session:
    """One that Ada has visited for half a minute, and that has ended."""
    session = (await service.create(a_request(**changes))).session
    world.connector.join(session.room.name, "Ada", "u1")
    await trio.sleep(31)
    world.connector.accounts[session.room.name] = (
        Visit(ids=("p2",), user_id="u1", joined_at=at(0), left_at=at(45)),
        Visit(ids=("px",), user_id="u2", joined_at=at(-300), left_at=at(-200)),  # an earlier session's
    )
    return await service.end(session.id)


async def test_the_provider_is_asked_some_time_after_the_end(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_visited_session(service, world, events_after_end=True)
        assert await reconciled(service, session) is Reconciled.PENDING
        await trio.sleep(FIRST_ASK_S - 1)
        assert world.connector.visits_asked == []
        await trio.sleep(2)
        assert world.connector.visits_asked == [(session.created_at, session.ended_at)]
        summary = summary_of(await service.get(session.id), at(200))
        (person,) = summary.people
        assert [(stay.account, stay.visit.left_at) for stay in person.stays] == [(Account.BOTH, session.ended_at)]
        [event] = told(world, "session_summary")
        assert (event["after_end"], event["reconciled"], event["people_total"]) == (True, "done", 1)
        assert event["people"][0]["name"] == "Ada"
    assert world.types(session.id)[-2:] == ["session_ended", "session_summary"]
    assert world.metric("transport_summaries_total", provider="daily", outcome="done") == 1


async def test_a_bug_in_one_summary_ends_nothing_else(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OverflowError("date value out of range")

    async with world.service() as service:
        with monkeypatch.context() as bugs:
            bugs.setattr(world.connector, "visits", broken)
            await a_visited_session(service, world)
            await trio.sleep(FIRST_ASK_S + 1)
        assert world.metric("transport_summaries_total", provider="daily", outcome="crashed") == 1
        session = await a_visited_session(service, world)
        await trio.sleep(FIRST_ASK_S + 1)
        assert await reconciled(service, session) is Reconciled.DONE


async def test_who_did_not_ask_for_it_is_told_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_visited_session(service, world)
        await trio.sleep(100)
        assert await reconciled(service, session) is Reconciled.DONE
    assert world.types(session.id)[-1] == "session_ended"


async def test_a_meeting_under_way_and_a_provider_that_is_down_are_asked_again(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.service() as service:
        session = await a_visited_session(service, world)
        account = world.connector.accounts[session.room.name]
        world.connector.accounts[session.room.name] = None
        world.connector.fail("visits", ProviderUnreachable("daily", "down"))
        await trio.sleep(300)
        assert await reconciled(service, session) is Reconciled.PENDING
        world.connector.accounts[session.room.name] = account
        await trio.sleep(150)
        assert await reconciled(service, session) is Reconciled.DONE
    assert world.metric("transport_summaries_total", provider="daily", outcome="under_way") >= 1
    assert world.metric("transport_summaries_total", provider="daily", outcome="provider_unreachable") == 1


@pytest.mark.parametrize(
    ("error", "asked"),
    # Every two minutes for an hour; a refusal will not change.
    [(ProviderUnreachable("daily", "down"), 30), (ProviderRejected("daily", 400, "not your plan"), 1)],
)
async def test_it_is_given_up(autojump_clock: MockClock, world: World, error: Any, asked: int) -> None:
    world.connector.fail("visits", error, times=None)
    async with world.service() as service:
        session = await a_visited_session(service, world)
        await trio.sleep(2 * GIVE_UP_S)
        assert await reconciled(service, session) is Reconciled.UNAVAILABLE
        assert world.connector.count("visits") == asked


async def test_a_restart_goes_on_with_it(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_visited_session(service, world)
    async with world.service() as service:
        await trio.sleep(FIRST_ASK_S + 5)
        assert await reconciled(service, session) is Reconciled.DONE


async def test_questions_have_a_pace_and_a_bound(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        for _ in range(5):
            await service.end((await service.create(a_request())).session.id)
        begun = trio.current_time()
        await trio.sleep(FIRST_ASK_S + 2.5)
        assert world.connector.count("visits") == 3
        assert trio.current_time() > begun
    worker = Reconciler(world.deps, "daily")
    for _ in range(WAITING_MAX + 2):
        worker.add(a_session().id, datetime.fromtimestamp(0, NOON.tzinfo))
    assert world.metric("transport_summaries_total", provider="daily", outcome="overflow") == 2
