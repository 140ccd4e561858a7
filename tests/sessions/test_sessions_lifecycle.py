"""The pure transitions: what each cause does, in which order it is told, and that an end is an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from session_builders import a_session, after, somebody

from transport_trio.events import EventType, SessionUpdated
from transport_trio.models import EndReason, ProviderCleanup, Session, SessionStatus, TokenStage
from transport_trio.sessions.lifecycle import (
    Cause,
    EndWanted,
    Observed,
    Outcome,
    Policy,
    ProviderRefused,
    RoomMissing,
    TimeReached,
    created,
    decide,
    next_due,
    room_is_gone,
)

POLICY = Policy(confirm_s=15, token_warning_s=60)


def told(outcome: Outcome) -> list[str]:
    return [event.type.value for event in outcome.events]


def after_causes(*causes: Cause, session: Session | None = None) -> Session:
    state = session or a_session()
    for cause in causes:
        state = decide(state, cause, POLICY).session
    return state


def test_creation_is_told_with_what_a_bot_needs_to_join() -> None:
    event = created(a_session())
    assert (event.room_name, event.room_url) == ("r", "https://sandbox.daily.co/r")
    assert event.session_expires_at == after(14400)


def test_first_participant_makes_the_session_active() -> None:
    outcome = decide(a_session(), Observed(at=after(5), seen=(somebody("a"),)), POLICY)
    assert told(outcome) == ["participant_joined", "session_updated"]
    assert outcome.session.status is SessionStatus.ACTIVE
    assert outcome.session.presence_checked_at == after(5)


def test_a_look_that_finds_nothing_new_tells_nothing_but_knows_when() -> None:
    outcome = decide(a_session(), Observed(at=after(5), seen=()), POLICY)
    assert outcome.events == ()
    assert outcome.session.presence_checked_at == after(5)
    assert outcome.session.status is SessionStatus.CREATED


def test_an_empty_room_stays_active() -> None:
    session = after_causes(
        Observed(at=after(0), seen=(somebody("a"),)), Observed(at=after(15), seen=()), Observed(at=after(30), seen=())
    )
    assert session.participants == ()
    assert session.status is SessionStatus.ACTIVE


def test_joins_and_leaves_come_before_the_update() -> None:
    session = after_causes(Observed(at=after(0), seen=(somebody("a"),)), Observed(at=after(15), seen=()))
    outcome = decide(session, Observed(at=after(30), seen=(somebody("b"),)), POLICY)
    assert told(outcome) == ["participant_joined", "participant_left", "session_updated"]
    update = outcome.events[-1]
    assert isinstance(update, SessionUpdated)
    assert [who.id for who in update.participants] == ["b"]


def test_token_is_announced_before_its_end_and_at_its_end() -> None:
    session = a_session(token_s=600)
    assert next_due(session, POLICY) == after(540)
    warned = decide(session, TimeReached(at=after(540)), POLICY)
    assert told(warned) == ["token_expiring"]
    assert next_due(warned.session, POLICY) == after(600)
    ended = decide(warned.session, TimeReached(at=after(600)), POLICY)
    assert told(ended) == ["token_expired"]
    assert next_due(ended.session, POLICY) == after(14400)


def test_a_token_that_ended_while_we_were_away_is_told_once() -> None:
    outcome = decide(a_session(token_s=600), TimeReached(at=after(700)), POLICY)
    assert told(outcome) == ["token_expired"]
    assert outcome.session.token.stage is TokenStage.EXPIRED


def test_time_that_brings_nothing_changes_nothing() -> None:
    session = a_session()
    assert decide(session, TimeReached(at=after(1)), POLICY) == Outcome(session=session)


def test_expiry_tells_the_token_the_leaves_the_update_and_last_the_end() -> None:
    session = after_causes(Observed(at=after(5), seen=(somebody("a"),)), session=a_session(token_s=100, session_s=100))
    outcome = decide(session, TimeReached(at=after(100)), POLICY)
    assert told(outcome) == ["token_expired", "participant_left", "session_updated", "session_ended"]
    assert outcome.session.end_reason is EndReason.EXPIRED
    assert outcome.session.provider_cleanup is ProviderCleanup.PENDING
    assert outcome.session.ended_at == after(100)


def test_end_by_request() -> None:
    outcome = decide(a_session(), EndWanted(at=after(9), reason=EndReason.REQUESTED), POLICY)
    assert told(outcome) == ["session_updated", "session_ended"]
    assert outcome.session.status is SessionStatus.ENDED


@pytest.mark.parametrize(
    "cause",
    [
        Observed(at=after(50), seen=(somebody("late"),)),
        RoomMissing(at=after(50)),
        ProviderRefused(at=after(50)),
        TimeReached(at=after(99999)),
        EndWanted(at=after(50), reason=EndReason.REQUESTED),
    ],
)
def test_an_ended_session_never_changes(cause: Cause) -> None:
    ended = after_causes(EndWanted(at=after(9), reason=EndReason.REQUESTED))
    assert decide(ended, cause, POLICY) == Outcome(session=ended)


def test_a_room_missing_once_is_no_proof() -> None:
    missing = after_causes(RoomMissing(at=after(10)))
    assert not room_is_gone(missing, after(20), POLICY)
    again = after_causes(RoomMissing(at=after(25)), session=missing)
    assert again.room_missing_since == after(10)
    assert room_is_gone(again, after(25), POLICY)
    found = after_causes(Observed(at=after(30), seen=()), session=again)
    assert not room_is_gone(found, after(60), POLICY)


def test_a_provider_that_refuses_us_is_told_once_and_passes() -> None:
    refused = decide(a_session(), ProviderRefused(at=after(10)), POLICY)
    assert told(refused) == ["session_updated"]
    assert refused.session.status is SessionStatus.ERROR
    assert decide(refused.session, ProviderRefused(at=after(20)), POLICY).events == ()
    recovered = decide(refused.session, Observed(at=after(30), seen=()), POLICY)
    assert told(recovered) == ["session_updated"]
    assert recovered.session.status is SessionStatus.CREATED


seconds = st.floats(min_value=0, max_value=20000)
people = st.lists(st.sampled_from("abc"), unique=True).map(lambda ids: tuple(somebody(one) for one in ids))
causes: st.SearchStrategy[Any] = st.one_of(
    st.builds(lambda s, seen: Observed(at=after(s), seen=seen), seconds, people),
    st.builds(lambda s: RoomMissing(at=after(s)), seconds),
    st.builds(lambda s: ProviderRefused(at=after(s)), seconds),
    st.builds(lambda s: TimeReached(at=after(s)), seconds),
    st.builds(lambda s: EndWanted(at=after(s), reason=EndReason.REQUESTED), seconds),
)


@given(st.lists(causes, max_size=25))
def test_every_story_ends_at_most_once_and_with_everybody_out(story: list[Cause]) -> None:
    session = a_session()
    events = []
    for cause in sorted(story, key=lambda one: one.at):
        outcome = decide(session, cause, POLICY)
        session = outcome.session
        events.extend(outcome.events)
    inside: set[str] = set()
    for event in events:
        if event.type is EventType.PARTICIPANT_JOINED:
            inside.add(event.participant.id)
        if event.type is EventType.PARTICIPANT_LEFT:
            inside.remove(event.participant.id)
    assert inside == {who.id for who in session.participants}
    ends = [index for index, event in enumerate(events) if event.type is EventType.SESSION_ENDED]
    assert ends == ([len(events) - 1] if session.has_ended else [])
