"""What becomes of a recording with each thing that is heard of it: pure, whatever the order, however often."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_builders import NOON, a_session, after

from transport_trio.errors import AlreadyRunning
from transport_trio.events import Source
from transport_trio.models import Capture, CaptureKind, CaptureMoment, CaptureNews, CaptureStatus, EndReason, Session
from transport_trio.sessions.capture_causes import CaptureDeleted, CaptureIntended, CapturesHeard, CaptureStopped
from transport_trio.sessions.capture_matching import CAPTURES_MAX, find
from transport_trio.sessions.captures import learnt
from transport_trio.sessions.lifecycle import EndWanted, Policy, decide

OURS = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a01"
SECOND = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a02"
RECORDING, TRANSCRIPTION, LIVE_STREAM = CaptureKind
POLICY = Policy(confirm_s=15, token_warning_s=60)
STARTED, UPDATED, STOPPED, READY, ERROR = CaptureMoment


def ours(id_: str = OURS, asked_s: float = 0.0, **more: Any) -> Capture:
    return Capture(id=id_, kind=CaptureKind.RECORDING, asked_at=after(asked_s), **more)


def with_captures(*captures: Capture) -> Session:
    return attrs.evolve(a_session(), captures=captures)


def news(moment: CaptureMoment, id_: str | None = "r1", *, began_s: float = 2.0, **more: Any) -> CaptureNews:
    more.setdefault("occurred_at", after(began_s))
    return CaptureNews(kind=CaptureKind.RECORDING, moment=moment, provider_id=id_, started_at=after(began_s), **more)


def hear(session: Session, *told: CaptureNews, at_s: float = 10.0, **more: Any) -> tuple[Session, list[str]]:
    session, events = learnt(session, CapturesHeard(at=after(at_s), source=Source.WEBHOOK, news=told, **more))
    return session, [event.type.removeprefix("recording_") for event in events]


PUSHED = (
    news(STARTED, instance_id=OURS),
    news(READY, instance_id=OURS, duration_s=60.0, occurred_at=after(90)),
)


@settings(deadline=None)  # a busy machine is no failure
@given(order=st.lists(st.sampled_from(PUSHED), max_size=6).map(lambda more: [*more, *PUSHED]))
def test_doubles_and_reordering_change_nothing(order: list[CaptureNews]) -> None:
    """Whatever comes first and however often: each thing is told once, in its order."""
    session, told = with_captures(ours()), []
    for one in order:
        session, events = hear(session, one, at_s=100.0)
        told += events
    [capture] = session.captures
    assert told == ["started", "stopped", "ready"]
    assert (capture.status, capture.provider_id, capture.duration_s) == (CaptureStatus.READY, "r1", 60.0)


@pytest.mark.parametrize("order", list(itertools.permutations([STARTED, ERROR])))
def test_an_error_counts_whether_or_not_the_start_was_heard_before(order: tuple[CaptureMoment, ...]) -> None:
    session, told = with_captures(ours()), []
    for moment in order:
        id_ = None if moment is ERROR else "r1"
        session, events = hear(session, news(moment, id_, instance_id=OURS, reason="disk"))
        told += events
    assert told[-1:] == ["error"] or told == ["error"]
    assert session.captures[0].status is CaptureStatus.ERROR
    assert session.captures[0].error == "disk"


def test_two_of_ours_that_a_list_cannot_tell_apart_go_by_their_order() -> None:
    session = with_captures(ours(), ours(SECOND, 3.0))
    session, _ = hear(
        session, news(STARTED, "late", began_s=4.0), news(STARTED, "early", began_s=1.0), listed=RECORDING
    )
    assert [one.provider_id for one in session.captures] == ["early", "late"]


def test_the_provider_s_word_corrects_what_was_guessed_from_a_list() -> None:
    """Somebody in the call began one a second after our request; the push names ours."""
    session, _ = hear(with_captures(ours()), news(STARTED, "theirs", began_s=1.0), listed=RECORDING)
    assert find(session, OURS).provider_id == "theirs"  # type: ignore[union-attr]
    session, told = hear(session, news(STARTED, "mine", began_s=2.0, instance_id=OURS))
    assert (find(session, OURS).provider_id, told) == ("mine", [])  # type: ignore[union-attr]
    session, told = hear(session, news(STARTED, "theirs", began_s=1.0), news(STARTED, "mine"), listed=RECORDING)
    assert (find(session, "theirs").ours, told) == (False, ["started"])  # type: ignore[union-attr]


def test_one_taken_for_somebody_else_s_becomes_ours_and_not_two() -> None:
    late = news(STARTED, "r1", began_s=200.0)
    session, _ = hear(with_captures(ours()), late, at_s=210.0)
    assert len(session.captures) == 2
    session, _ = hear(session, attrs.evolve(late, instance_id=OURS), at_s=211.0)
    assert [(one.id, one.provider_id) for one in session.captures] == [(OURS, "r1")]


@pytest.mark.parametrize("began_s", [-3600.0, 20000.0])
def test_those_of_another_room_of_that_name_are_left_alone(began_s: float) -> None:
    session, told = hear(a_session(), news(READY, began_s=began_s), at_s=100.0)
    assert (session.captures, told) == ((), [])


def test_what_a_list_fails_to_name_is_given_up_the_second_time_and_taken_back() -> None:
    running = ours(status=CaptureStatus.RUNNING, started_at=after(1), provider_id="r1")
    session, told = hear(with_captures(running), listed=RECORDING, at_s=100.0)
    assert (session.captures[0].status, told) == (CaptureStatus.RUNNING, [])
    session, told = hear(session, listed=RECORDING, at_s=149.0)
    assert told == []
    session, told = hear(session, listed=RECORDING, at_s=150.0)
    assert (session.captures[0].status, told) == (CaptureStatus.ERROR, ["error"])
    session, told = hear(session, news(STARTED, began_s=1.0), listed=RECORDING, at_s=200.0)
    assert (session.captures[0].status, session.captures[0].error) == (CaptureStatus.RUNNING, None)
    session, told = hear(session, news(READY, began_s=1.0), at_s=300.0)
    assert told == ["stopped", "ready"]


@pytest.mark.parametrize(("id_", "comes_back"), [("r1", False), (None, True)])
def test_one_given_up_and_deleted_comes_back_only_if_nobody_knew_which(id_: str | None, comes_back: bool) -> None:
    lost = ours(status=CaptureStatus.ERROR, given_up=True, provider_id=id_)
    session, _ = learnt(with_captures(lost), CaptureDeleted(capture_id=OURS))
    assert session.captures[0].status is CaptureStatus.DELETED
    session, told = hear(session, news(READY, instance_id=OURS, began_s=1.0))
    assert session.captures[0].status is (CaptureStatus.READY if comes_back else CaptureStatus.DELETED)
    assert told == (["started", "stopped", "ready"] if comes_back else [])


def test_being_named_in_between_begins_the_count_anew() -> None:
    session, _ = hear(with_captures(ours(provider_id="r1")), listed=RECORDING, at_s=100.0)
    session, _ = hear(session, news(STARTED), listed=RECORDING, at_s=130.0)
    session, told = hear(session, listed=RECORDING, at_s=161.0)
    assert told == []


def test_a_push_alone_says_nothing_of_those_that_it_does_not_name() -> None:
    session = with_captures(ours(), ours(SECOND))
    for at_s in (100.0, 300.0):
        session, _ = hear(session, news(STARTED, instance_id=SECOND), at_s=at_s)
    assert session.captures[0] == ours()


@pytest.mark.parametrize("known", [True, False])
def test_what_should_have_started_by_itself_is_missed_once(known: bool) -> None:
    found = (news(STARTED, "r1"),) if known else ()
    session, told = hear(a_session(), *found, listed=RECORDING, expect=True)
    assert told == (["started"] if known else ["error"])
    assert hear(session, listed=RECORDING, expect=True)[1] == []


def test_the_end_of_a_session_stops_what_runs_before_it_is_told() -> None:
    running = ours(status=CaptureStatus.RUNNING, started_at=after(1), provider_id="r1")
    outcome = decide(with_captures(running), EndWanted(at=after(60), reason=EndReason.REQUESTED), POLICY)
    assert [event.type for event in outcome.events] == ["recording_stopped", "session_updated", "session_ended"]
    assert outcome.session.captures[0].status is CaptureStatus.PROCESSING


def test_one_heard_of_only_after_the_end_stopped_with_it() -> None:
    ended = attrs.evolve(with_captures(ours()), ended_at=after(60))
    session, told = hear(ended, news(STARTED), at_s=70.0)
    assert told[:1] == ["started"]
    assert hear(attrs.evolve(session, ended_at=after(60)), news(READY), at_s=80.0)[1][-1] == "ready"


def test_no_more_are_taken_on_than_are_kept() -> None:
    full = with_captures(*(ours(f"c{number}", provider_id=f"p{number}") for number in range(CAPTURES_MAX)))
    session, told = hear(full, news(STARTED, "another"))
    assert (session, told) == (full, [])


def test_a_stop_is_told_once_and_not_of_what_is_over() -> None:
    session, events = learnt(with_captures(ours()), CaptureStopped(at=after(5), capture_id=OURS))
    assert [event.source for event in events] == [Source.REQUEST]
    assert learnt(session, CaptureStopped(at=after(6), capture_id=OURS)) == (session, ())
    assert learnt(session, CaptureStopped(at=after(6), capture_id="?")) == (session, ())


def test_an_intent_tells_nothing() -> None:
    session, events = learnt(a_session(), CaptureIntended(capture=ours()))
    assert (session.captures, events) == ((ours(),), ())
    assert session.captures[0].asked_at == NOON


@pytest.mark.parametrize("own", [True, False])
def test_a_repeated_start_is_refused_while_one_of_its_kind_runs(own: bool) -> None:
    """Whoever got no answer asks again, and both would be recorded and paid for."""
    running = ours(status=CaptureStatus.RUNNING, ours=own)
    second = CaptureIntended(capture=ours(SECOND))
    with pytest.raises(AlreadyRunning, match=OURS):
        learnt(with_captures(running), second)
    for other in (attrs.evolve(running, status=CaptureStatus.PROCESSING), attrs.evolve(running, kind=TRANSCRIPTION)):
        assert len(learnt(with_captures(other), second)[0].captures) == 2
    assert len(learnt(with_captures(running), attrs.evolve(second, additional=True))[0].captures) == 2


def test_a_list_of_one_kind_says_nothing_of_the_other() -> None:
    transcript = attrs.evolve(ours(SECOND), kind=TRANSCRIPTION)
    session, _ = hear(with_captures(transcript), listed=RECORDING, at_s=100.0)
    session, told = hear(session, listed=RECORDING, at_s=300.0)
    assert (session.captures, told) == ((transcript,), [])


def test_a_transcription_has_its_own_words() -> None:
    transcript = attrs.evolve(ours(), kind=TRANSCRIPTION)
    _, told = hear(with_captures(transcript), *(attrs.evolve(one, kind=TRANSCRIPTION) for one in PUSHED))
    assert told == ["transcription_started", "transcription_stopped", "transcript_ready"]


def test_where_nothing_is_kept_nothing_is_waited_for() -> None:
    transcript = attrs.evolve(ours(), kind=TRANSCRIPTION, stored=False, status=CaptureStatus.RUNNING)
    session = with_captures(transcript)
    for at_s in (100.0, 300.0):
        session, told = hear(session, listed=TRANSCRIPTION, at_s=at_s)
        assert (session.captures, told) == ((transcript,), [])
    session, events = learnt(session, CaptureStopped(at=after(5), capture_id=OURS))
    assert (session.captures[0].status, len(events)) == (CaptureStatus.ENDED, 1)


def test_one_that_is_not_kept_and_may_have_started_is_over_with_its_session() -> None:
    session = with_captures(attrs.evolve(ours(), kind=TRANSCRIPTION, stored=False), ours(SECOND))
    outcome = decide(session, EndWanted(at=after(9), reason=EndReason.REQUESTED), POLICY)
    assert [one.status for one in outcome.session.captures] == [CaptureStatus.ENDED, CaptureStatus.STARTING]
    assert [event.type for event in outcome.events] == ["session_updated", "session_ended"]


def test_both_kinds_are_missed_for_themselves() -> None:
    session, _ = hear(a_session(), news(STARTED, "r1"), listed=RECORDING, expect=True)
    session, told = hear(session, listed=TRANSCRIPTION, expect=True)
    assert told == ["transcript_error"]
    assert session.auto_starts_checked == (RECORDING, TRANSCRIPTION)
