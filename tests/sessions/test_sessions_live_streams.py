"""Live streams: pushes in any order, and the provider's word on requests, are all that ever tells of them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from session_builders import a_request, a_session, after
from session_world import World
from trio.testing import MockClock

from fakes_connector import trio_time
from transport_trio.errors import (
    ConnectorError,
    LiveStreamNotFound,
    LiveStreamNotInState,
    NobodyInCall,
    ProviderRejected,
    ProviderTimeout,
    TooManyLiveStreams,
)
from transport_trio.events import Source
from transport_trio.models import (
    Capture,
    CaptureKind,
    CaptureMoment,
    CaptureNews,
    CaptureOptions,
    CaptureStatus,
    Session,
)
from transport_trio.sessions import SessionService, StartCapture, StopCapture, UpdateCapture
from transport_trio.sessions.capture_causes import CaptureChanged, CapturesHeard
from transport_trio.sessions.captures import learnt

KIND = CaptureKind.LIVE_STREAM
OURS = "0b6d7b9e-6c0e-4d57-9a50-2b9f1b7c9a01"
THEIRS = "c3df927c-f738-4471-a2b7-066fa7e95a6b"  # what everybody in a call streams by who says nothing else
SECRET = "rtmp://live.example/app/k3y-of-somebody"
OPTIONS = CaptureOptions(given={"rtmp_urls": [SECRET]}, destinations=("live.example",))
START = StartCapture(kind=KIND, options=OPTIONS)
FURTHER = StartCapture(kind=KIND, options=attrs.evolve(OPTIONS, additional=True))
STARTED, UPDATED, STOPPED, _, ERROR = CaptureMoment
# So long after the last join presence is believed to show everybody gone, at two answers, and the call to be over.
CALL_OVER_S = 120


def ours(**more: Any) -> Capture:
    return Capture(id=OURS, kind=KIND, asked_at=after(0), stored=False, **more)


RUNNING = ours(status=CaptureStatus.RUNNING, started_at=after(0))


def news(moment: CaptureMoment, at_s: float, instance: str = THEIRS, **more: Any) -> CaptureNews:
    return CaptureNews(kind=KIND, moment=moment, occurred_at=after(at_s), instance_id=instance, **more)


def hear(session: Session, *told: CaptureNews, at_s: float = 500.0) -> tuple[Session, list[str]]:
    session, events = learnt(session, CapturesHeard(at=after(at_s), source=Source.WEBHOOK, news=told))
    return session, [event.type.removeprefix("live_stream_") for event in events]


def hear_all(session: Session, order: list[CaptureNews]) -> tuple[Session, list[str]]:
    told: list[str] = []
    for one in order:
        session, events = hear(session, one)
        told += events
    return session, told


LIFE = (news(STARTED, 2, OURS), news(UPDATED, 30, OURS), news(STOPPED, 60, OURS))


@settings(deadline=None)  # a busy machine is no failure
@given(times=st.lists(st.integers(1, 3), min_size=3, max_size=3), more=st.lists(st.sampled_from(LIFE), max_size=4))
def test_doubles_of_ours_change_nothing(times: list[int], more: list[CaptureNews]) -> None:
    order = [one for one, count in zip(LIFE, times, strict=True) for _ in range(count)]
    session, told = hear_all(attrs.evolve(a_session(), captures=(RUNNING,)), [*order, *more])
    assert told == ["updated", "ended"]
    assert (session.captures[0].status, session.captures[0].stopped_at) == (CaptureStatus.ENDED, after(60))


@pytest.mark.parametrize("order", list(itertools.permutations(LIFE)))
def test_one_whose_start_is_in_doubt_is_told_from_its_start_to_its_end(order: tuple[CaptureNews, ...]) -> None:
    session, told = hear_all(attrs.evolve(a_session(), captures=(ours(),)), [*order, *order])
    assert [told[0], told[-1]] == ["started", "ended"]
    assert session.captures[0].status is CaptureStatus.ENDED


SECOND = (news(STARTED, 100), news(STOPPED, 160))
OF_OTHERS = (news(STARTED, 2), news(UPDATED, 30), news(STOPPED, 60))


@pytest.mark.parametrize("first", list(itertools.permutations(OF_OTHERS)))
def test_those_of_others_share_an_instance_and_are_told_apart_by_time(first: tuple[CaptureNews, ...]) -> None:
    session, told = hear_all(a_session(), [*first, *SECOND, *first])
    assert [(one.ours, one.status, one.stopped_at) for one in session.captures] == [
        (False, CaptureStatus.ENDED, after(60)),
        (False, CaptureStatus.ENDED, after(160)),
    ]
    assert told.count("ended") == 2
    assert len({one.id for one in session.captures}) == 2


def test_a_start_says_that_the_one_before_is_over() -> None:
    """Its end was lost; what comes then is of the later one."""
    session, _ = hear_all(a_session(), [news(STARTED, 2), news(STARTED, 100), news(STOPPED, 160)])
    assert [one.stopped_at for one in session.captures] == [None, after(160)]


def test_one_that_failed_before_its_start_was_heard_is_not_the_next_one() -> None:
    session, told = hear_all(a_session(), [news(ERROR, 20), news(STARTED, 10), news(STARTED, 100)])
    assert [(one.status, one.started_at) for one in session.captures] == [
        (CaptureStatus.ERROR, None),
        (CaptureStatus.RUNNING, after(100)),
    ]
    assert told == ["error", "started"]


@pytest.mark.parametrize("when_s", [-3600.0, 20000.0])
def test_one_of_another_time_is_of_another_room_of_that_name(when_s: float) -> None:
    assert hear(a_session(), news(STARTED, when_s))[0] == a_session()


def test_an_error_ends_it_and_one_that_comes_later_changes_nothing() -> None:
    session, told = hear_all(
        attrs.evolve(a_session(), captures=(RUNNING,)),
        [news(ERROR, 20, OURS, reason="no route"), news(STOPPED, 20, OURS), news(ERROR, 21, OURS)],
    )
    assert told == ["error"]
    assert (session.captures[0].status, session.captures[0].error) == (CaptureStatus.ERROR, "no route")


@pytest.mark.parametrize("skew_s", [-1, 3])
@pytest.mark.parametrize("push_first", [True, False])
def test_our_own_change_is_told_once_though_the_provider_tells_it_too(push_first: bool, skew_s: int) -> None:
    """By its own clock, in whole seconds."""
    session = attrs.evolve(a_session(), captures=(RUNNING,))
    pushed = CapturesHeard(at=after(31), source=Source.WEBHOOK, news=(news(UPDATED, 31 + skew_s, OURS),))
    asked = CaptureChanged(at=after(31), asked_at=after(30.5), capture_id=OURS)
    told: list[Source] = []
    for cause in (pushed, asked) if push_first else (asked, pushed):
        session, events = learnt(session, cause)
        told += [event.source for event in events]
    assert told == [Source.WEBHOOK if push_first else Source.REQUEST]
    session, events = learnt(session, CaptureChanged(at=after(33), asked_at=after(32), capture_id=OURS))
    assert len(events) == 1  # a second one of ours, however soon
    assert hear(session, news(UPDATED, 90, OURS))[1] == ["updated"]  # somebody else's, later


async def streaming(service: SessionService, world: World, **changes: Any) -> tuple[Session, Capture]:
    session = (await service.create(attrs.evolve(a_request(), **changes))).session
    world.connector.join(session.room.name, "Ada", "u1")
    return session, await service.capture(session.id, START)


async def everybody_leaves(service: SessionService, world: World, session: Session) -> None:
    for one in (await service.get(session.id)).present:
        world.connector.leave(session.room.name, one.participant.id)


def told(world: World) -> list[tuple[str, str]]:
    bodies = [json.loads(event.body) for event in world.told if event.type.startswith("live_stream_")]
    return [(body["type"].removeprefix("live_stream_"), body["source"]) for body in bodies]


async def status(service: SessionService, session: Session) -> CaptureStatus:
    [capture] = (await service.get(session.id)).captures
    return capture.status


async def test_without_any_push_the_provider_s_word_is_all(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session, capture = await streaming(service, world)
        assert (capture.status, capture.destinations) == (CaptureStatus.RUNNING, ("live.example",))
        assert world.connector.capture_calls == [("start_capture", session.room.name, capture.id, OPTIONS)]
        changes = CaptureOptions(given={"fps": 10})
        await service.capture(session.id, UpdateCapture(kind=KIND, capture_id=capture.id, options=changes))
        stop = StopCapture(kind=KIND, capture_id=capture.id)
        assert (await service.capture(session.id, stop)).status is CaptureStatus.ENDED
        with pytest.raises(LiveStreamNotInState):
            await service.capture(session.id, stop)
        with pytest.raises(LiveStreamNotFound):
            await service.capture(session.id, StopCapture(kind=KIND, capture_id="?"))
        assert world.connector.count("captures") == 0
        assert len(service.captures) == 0
    assert told(world) == [("started", "request"), ("updated", "request"), ("ended", "request")]
    assert world.metric("transport_capture_actions_total", action="start", outcome="done") == 1


async def test_no_key_is_stored_told_or_printed(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session, _ = await streaming(service, world)
        stored = await world.journal.get(session.id)
        assert "k3y" not in repr(START) + repr(stored) + repr([event.body for event in world.told])
        assert "live.example" in repr(stored)


async def test_what_was_refused_leaves_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session, _ = await streaming(service, world)
        world.connector.fail("start_capture", NobodyInCall("daily", "x"))
        with pytest.raises(NobodyInCall):
            await service.capture(session.id, FURTHER)
        assert len((await service.get(session.id)).captures) == 1


@pytest.mark.parametrize("pushed", [True, False])
async def test_a_start_in_doubt_is_starting_until_somebody_says_more(
    autojump_clock: MockClock, world: World, pushed: bool
) -> None:
    """There is no list to look at; with the session it is over, and nobody is told of what nobody knows."""
    async with world.service() as service:
        session, first = await streaming(service, world)
        await service.capture(session.id, StopCapture(kind=KIND, capture_id=first.id))
        world.connector.fail("start_capture", ProviderTimeout("daily", "slow", in_doubt=True))
        with pytest.raises(ProviderTimeout):
            await service.capture(session.id, START)
        await trio.sleep(300)
        second = (await service.get(session.id)).captures[1]
        assert second.status is CaptureStatus.STARTING
        if pushed:
            begun = CaptureNews(kind=KIND, moment=STARTED, occurred_at=trio_time(), instance_id=second.id)
            assert service.captures.hear("daily", begun) == "taken"
            await trio.sleep(1)
            assert (await service.get(session.id)).captures[1].status is CaptureStatus.RUNNING
        await service.end(session.id)
        assert (await service.get(session.id)).captures[1].status is CaptureStatus.ENDED
    second_told = [("started", "webhook"), ("ended", "inferred")] if pushed else []
    assert told(world) == [("started", "request"), ("ended", "request"), *second_told]


@pytest.mark.parametrize(
    "refusal", [None, ProviderRejected("daily", 400, "room x is not being streamed"), NobodyInCall("daily", "x")]
)
async def test_a_lost_stop_is_stopping_until_another_is_answered(
    autojump_clock: MockClock, world: World, refusal: ConnectorError | None
) -> None:
    """A refusal, too, says that nothing runs."""
    async with world.service() as service:
        session, capture = await streaming(service, world)
        world.connector.fail("stop_capture", ProviderTimeout("daily", "slow", in_doubt=True))
        stop = StopCapture(kind=KIND, capture_id=capture.id)
        with pytest.raises(ProviderTimeout):
            await service.capture(session.id, stop)
        assert await status(service, session) is CaptureStatus.STOPPING
        if refusal is not None:
            world.connector.fail("stop_capture", refusal)
        assert (await service.capture(session.id, stop)).status is CaptureStatus.ENDED
    assert told(world) == [("started", "request"), ("ended", "inferred" if refusal else "request")]


async def test_another_refusal_of_a_stop_says_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session, capture = await streaming(service, world)
        world.connector.fail("stop_capture", ProviderRejected("daily", 401, "wrong key"))
        with pytest.raises(ProviderRejected):
            await service.capture(session.id, StopCapture(kind=KIND, capture_id=capture.id))
        assert await status(service, session) is CaptureStatus.RUNNING


async def test_it_ends_with_its_call(autojump_clock: MockClock, world: World) -> None:
    """The room is empty: nobody tells of the stream's end where there are no webhooks."""
    async with world.service() as service:
        session, _ = await streaming(service, world)
        await trio.sleep(60)
        assert await status(service, session) is CaptureStatus.RUNNING
        await everybody_leaves(service, world, session)
        await trio.sleep(CALL_OVER_S)
        assert await status(service, session) is CaptureStatus.ENDED
        assert not (await service.get(session.id)).has_ended
    assert told(world) == [("started", "request"), ("ended", "inferred")]


@pytest.mark.parametrize("answered", [True, False])
async def test_one_that_is_started_in_a_room_just_filled_again_goes_on(
    autojump_clock: MockClock, world: World, answered: bool
) -> None:
    """Answers show a newcomer up to half a minute late: until then the room looks as empty as before."""
    async with world.service() as service:
        session, _ = await streaming(service, world)
        await trio.sleep(30)
        await everybody_leaves(service, world, session)
        await trio.sleep(CALL_OVER_S)
        world.connector.join(session.room.name, "Ada", "u1")
        world.connector.pretend(session.room.name, ())
        if answered:
            await service.capture(session.id, START)
        else:
            world.connector.fail("start_capture", ProviderTimeout("daily", "slow", in_doubt=True))
            with pytest.raises(ProviderTimeout):
                await service.capture(session.id, START)
        await trio.sleep(25)
        second = "running" if answered else "starting"
        assert [one.status for one in (await service.get(session.id)).captures] == ["ended", second]


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_session_s_end_is_its_end_and_nothing_comes_behind(
    autojump_clock: MockClock, world: World, wanted: bool
) -> None:
    async with world.service() as service:
        session, capture = await streaming(service, world, events_after_end=wanted)
        await service.end(session.id)
        late = CaptureNews(kind=KIND, moment=STOPPED, occurred_at=trio_time(), instance_id=capture.id)
        service.captures.hear("daily", attrs.evolve(late, room_name=session.room.name))
        await trio.sleep(60)
    types = world.types(session.id)
    assert types.index("live_stream_ended") < types.index("session_ended")
    assert types.count("live_stream_ended") == 1
    assert wanted or types[-1] == "session_ended"


async def test_those_of_others_are_of_the_room_that_the_push_names(autojump_clock: MockClock, world: World) -> None:
    """They stream by the same instance in every room: one must not be taken for another's."""
    async with world.service() as service:
        rooms = [(await service.create(a_request())).session for _ in range(2)]
        for session in rooms:
            world.connector.join(session.room.name, "Ada", "u1")
            begun = CaptureNews(kind=KIND, moment=STARTED, occurred_at=trio_time(), instance_id=THEIRS)
            assert service.captures.hear("daily", begun) == "foreign"
            assert service.captures.hear("daily", attrs.evolve(begun, room_name=session.room.name)) == "taken"
            await trio.sleep(1)
        assert [len((await service.get(one.id)).captures) for one in rooms] == [1, 1]
        [theirs] = (await service.get(rooms[1].id)).captures
        await service.capture(rooms[1].id, StopCapture(kind=KIND, capture_id=theirs.id))
    assert world.connector.capture_calls[-1] == ("stop_capture", rooms[1].room.name, THEIRS)


async def test_a_session_keeps_so_many(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session, _ = await streaming(service, world)
        for _ in range(19):
            await service.capture(session.id, FURTHER)
        with pytest.raises(TooManyLiveStreams):
            await service.capture(session.id, FURTHER)
