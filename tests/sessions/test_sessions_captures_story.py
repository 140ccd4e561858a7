"""Recordings of live and ended sessions, with a scripted provider, on Trio's clock."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
from session_builders import a_request
from session_world import World
from trio.testing import MockClock

from fakes_connector import trio_time
from transport_trio.errors import (
    Busy,
    InvalidRequest,
    NobodyInCall,
    ProviderBusy,
    ProviderRejected,
    ProviderTimeout,
    RecordingNotEnabled,
    RecordingNotFound,
    RecordingNotInState,
    SessionHasEnded,
    TooManyRecordings,
)
from transport_trio.models import (
    Capture,
    CaptureKind,
    CaptureMoment,
    CaptureNews,
    CaptureOptions,
    CaptureStatus,
    RoomConfig,
    Session,
)
from transport_trio.sessions import SessionService, StartCapture, StopCapture, UpdateCapture
from transport_trio.sessions.capture_watch import AUTO_START_S
from transport_trio.sessions.capture_work import WORK_MAX
from transport_trio.sessions.captures import NOT_READY

START = StartCapture(kind=CaptureKind.RECORDING, options=CaptureOptions(given={"fps": 25}))
FURTHER = StartCapture(kind=CaptureKind.RECORDING, options=CaptureOptions(additional=True))


async def a_call(service: SessionService, world: World, **changes: Any) -> Session:
    """A session with somebody in its room."""
    session = (await service.create(attrs.evolve(a_request(), **changes))).session
    world.connector.join(session.room.name, "Ada", "u1")
    return session


def entry(session: Session, id_: str, moment: CaptureMoment, **more: Any) -> CaptureNews:
    """What the provider's list says of one."""
    more.setdefault("started_at", trio_time())
    return CaptureNews(
        kind=CaptureKind.RECORDING,
        moment=moment,
        occurred_at=trio_time(),
        provider_id=id_,
        room_name=session.room.name,
        **more,
    )


def told(world: World) -> list[tuple[str, str]]:
    bodies = [json.loads(event.body) for event in world.told if event.type.startswith("recording_")]
    return [(body["type"].removeprefix("recording_"), body["source"]) for body in bodies]


async def only(service: SessionService, session: Session) -> Capture:
    [capture] = (await service.get(session.id)).captures
    return capture


async def test_without_any_push_a_recording_is_followed_to_its_end(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        capture = await service.capture(session.id, START)
        assert capture.status is CaptureStatus.STARTING
        [(_, room, instance, options)] = world.connector.capture_calls
        assert (room, instance, options) == (session.room.name, capture.id, START.options)
        listed = world.connector.recorded[room]
        listed.append(entry(session, "r1", CaptureMoment.STARTED))
        await trio.sleep(30)
        assert (await only(service, session)).status is CaptureStatus.RUNNING
        stopped = await service.capture(session.id, StopCapture(capture_id=capture.id))
        assert stopped.status is CaptureStatus.PROCESSING
        listed[:] = [attrs.evolve(listed[0], moment=CaptureMoment.READY, duration_s=30.0)]
        await trio.sleep(30)
        ready = await only(service, session)
        assert (ready.status, ready.provider_id, ready.duration_s) == (CaptureStatus.READY, "r1", 30.0)
        looks = world.connector.count("captures")
        await trio.sleep(3000)
        assert world.connector.count("captures") == looks
    assert told(world) == [("started", "poll"), ("stopped", "request"), ("ready", "poll")]
    assert world.metric("transport_capture_ready_seconds_count", kind="recording") == 1
    assert world.metric("transport_capture_actions_total", action="start", outcome="done") == 1


async def test_pushes_tell_at_once_and_looks_do_not_tell_again(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        capture = await service.capture(session.id, START)
        pushed = entry(session, "r1", CaptureMoment.STARTED, instance_id=capture.id)
        assert service.captures.hear("daily", attrs.evolve(pushed, room_name=None)) == "taken"
        await trio.sleep(1)
        assert (await only(service, session)).status is CaptureStatus.RUNNING
        assert service.captures.hear("daily", attrs.evolve(pushed, room_name=None)) == "taken"
        world.connector.recorded[session.room.name] = [entry(session, "r1", CaptureMoment.READY, duration_s=5.0)]
        await trio.sleep(30)
        # What was pushed comes late: the look was first.
        service.captures.hear("daily", entry(session, "r1", CaptureMoment.READY, instance_id=capture.id))
        await trio.sleep(1)
    assert told(world) == [("started", "webhook"), ("stopped", "inferred"), ("ready", "poll")]


async def test_a_start_is_stored_before_the_provider_is_asked(autojump_clock: MockClock, world: World) -> None:
    """A crash between the provider's answer and our commit must not leave one running that nobody knows of."""
    async with world.service() as service:
        session = await a_call(service, world)
        world.connector.delay("start_capture", 5.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.capture, session.id, START)
            await trio.sleep(1)
            stored = await world.journal.get(session.id)
            assert stored is not None
            assert [one.status for one in stored.captures] == [CaptureStatus.STARTING]


async def test_a_restart_takes_up_what_was_to_come(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        await service.capture(session.id, START)
        ended = await a_call(service, world)
        await service.capture(ended.id, START)
        await service.end(ended.id)
    for one in (session, ended):
        world.connector.recorded[one.room.name] = [
            entry(one, one.id, CaptureMoment.READY, started_at=one.created_at, duration_s=0.0)
        ]
    async with world.service() as service:
        await trio.sleep(60)
        assert [(await only(service, one)).status for one in (session, ended)] == [CaptureStatus.READY] * 2


@pytest.mark.parametrize("error", [NobodyInCall("daily", "x"), ProviderBusy("daily", "no worker", 5.0)])
async def test_what_was_refused_leaves_nothing(autojump_clock: MockClock, world: World, error: Any) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        world.connector.fail("start_capture", error)
        with pytest.raises(type(error)):
            await service.capture(session.id, START)
        assert (await service.get(session.id)).captures == ()
    assert world.metric("transport_capture_actions_total", action="start", outcome=error.code) == 1


@pytest.mark.parametrize(
    ("options", "detail", "path"),
    [
        ({"provider_options": {"new": 1}}, "invalid property name 'new'", "$.daily"),
        ({"given": {"layout": {"preset": "x"}}}, "layout.preset was 'x'", "$.layout"),
        ({"given": {"layout": {"preset": "x"}}, "provider_options": {"new": 1}}, "layout.preset was 'x'", "$.layout"),
        ({"given": {"layout": {"preset": "x"}}, "provider_options": {"new": 1}}, "'new' is not allowed", "$.daily"),
        ({"given": {"layout": {"preset": "default"}}}, "room x has an active stream", None),
        ({"given": {"fps": 25}}, "layout", None),
        ({"given": {"endpoints": ["tv"]}}, "there is no streaming endpoint named 'tv'", "$.endpoints"),
        ({"given": {"rtmp_urls": ["x"]}}, "rtmpUrl was 'x'", "$.rtmp_urls"),
        ({"given": {"rtmp_urls": ["x"]}, "provider_options": {"rtmps": 1}}, "invalid property name 'rtmps'", "$.daily"),
    ],
)
async def test_what_the_provider_refuses_of_the_caller_s_own_is_the_caller_s_fault(
    autojump_clock: MockClock, world: World, options: Any, detail: str, path: str | None
) -> None:
    """In the provider's words, with the path, as for sessions; other refusals stay the provider's."""
    wanted = CaptureOptions(**options, additional=True)
    async with world.service() as service:
        session = await a_call(service, world)
        running = await service.capture(session.id, START)
        for operation, action in (
            ("start_capture", StartCapture(kind=CaptureKind.RECORDING, options=wanted)),
            ("update_capture", UpdateCapture(capture_id=running.id, options=wanted)),
        ):
            world.connector.fail(operation, ProviderRejected("daily", 400, detail))
            with pytest.raises(InvalidRequest if path else ProviderRejected) as caught:
                await service.capture(session.id, action)
            assert path is None or caught.value.faults == ((path, detail),)
        assert await only(service, session) == running


@pytest.mark.parametrize(
    ("config", "detail", "error"),
    [
        (RoomConfig(), "recording is not enabled for room x", RecordingNotEnabled),
        (RoomConfig(), "room x has an active stream", ProviderRejected),
        (RoomConfig(enable_recording=True), "recording is not enabled for room x", ProviderRejected),
        (RoomConfig(auto_start_recording=True), "recording is not enabled for room x", ProviderRejected),
    ],
)
async def test_a_room_made_without_recording_is_no_fault_of_the_provider(
    autojump_clock: MockClock, world: World, config: RoomConfig, detail: str, error: type[Exception]
) -> None:
    async with world.service() as service:
        session = await a_call(service, world, room_config=config)
        world.connector.fail("start_capture", ProviderRejected("daily", 400, detail))
        with pytest.raises(error, match=detail):
            await service.capture(session.id, START)
        assert (await service.get(session.id)).captures == ()


@pytest.mark.parametrize("began", [True, False])
async def test_a_start_in_doubt_is_found_out(autojump_clock: MockClock, world: World, began: bool) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        world.connector.fail("start_capture", ProviderTimeout("daily", "slow", in_doubt=True))
        with pytest.raises(ProviderTimeout):
            await service.capture(session.id, START)
        if began:
            world.connector.recorded[session.room.name] = [entry(session, "r1", CaptureMoment.STARTED)]
        await trio.sleep(300)
        capture = await only(service, session)
        expected = CaptureStatus.RUNNING if began else CaptureStatus.ERROR
        assert (capture.status, capture.error is None) == (expected, began)
    assert told(world) == ([("started", "poll")] if began else [("error", "inferred")])
    assert world.metric("transport_capture_errors_total", kind="recording") == (0 if began else 1)


@pytest.mark.parametrize("comes", [True, False])
async def test_what_is_not_ready_a_day_after_the_end_is_given_up_and_said(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture, comes: bool
) -> None:
    """Whoever reads it later must not find it on its way for ever; a last look comes before."""
    async with world.service() as service:
        session = await a_call(service, world)
        await service.capture(session.id, START)
        listed = world.connector.recorded[session.room.name]
        listed.append(entry(session, "r1", CaptureMoment.STARTED))
        await trio.sleep(30)
        await service.end(session.id)
        await trio.sleep(23 * 3600)
        assert (await only(service, session)).status is CaptureStatus.PROCESSING
    # Longer than a day nobody was there to look.
    await trio.sleep(3 * 3600)
    if comes:
        listed[:] = [attrs.evolve(listed[0], moment=CaptureMoment.READY, duration_s=30.0)]
    async with world.service() as service:
        await trio.sleep(60)
        capture = await only(service, session)
        assert len(service.captures) == 0
    assert (capture.status, capture.error) == (
        (CaptureStatus.READY, None) if comes else (CaptureStatus.ERROR, NOT_READY)
    )
    assert ("captures given up" in caplog.text) is not comes


async def test_one_that_never_began_is_given_up_with_the_third_look(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the first took longer to be answered, as the first call of a connection does."""
    answered = []

    async def none_of_them(*_: object) -> tuple[CaptureNews, ...]:
        await trio.sleep(0.1 if answered else 2.0)
        answered.append(trio_time())
        return ()

    async with world.service() as service:
        session = await a_call(service, world)
        world.connector.fail("start_capture", ProviderTimeout("daily", "slow", in_doubt=True))
        monkeypatch.setattr(world.connector, "captures", none_of_them)
        with pytest.raises(ProviderTimeout):
            await service.capture(session.id, START)
        await trio.sleep(75)
        assert (await only(service, session)).status is CaptureStatus.ERROR
        assert len(answered) == 3


@pytest.mark.parametrize("wanted", [True, False])
async def test_ready_after_the_end_is_stored_and_told_to_who_asked(
    autojump_clock: MockClock, world: World, wanted: bool
) -> None:
    async with world.service() as service:
        session = await a_call(service, world, events_after_end=wanted)
        capture = await service.capture(session.id, START)
        listed = world.connector.recorded[session.room.name]
        listed.append(entry(session, "r1", CaptureMoment.STARTED))
        await trio.sleep(30)
        await service.end(session.id)
        types = world.types(session.id)
        assert types.index("recording_stopped") < types.index("session_ended") == len(types) - 1
        listed[:] = [attrs.evolve(listed[0], moment=CaptureMoment.READY, duration_s=30.0)]
        await trio.sleep(60)
        assert (await only(service, session)).status is CaptureStatus.READY
        later = [json.loads(event.body) for event in world.told[len(types) :]]
        assert [(one["type"], one["after_end"]) for one in later] == ([("recording_ready", True)] if wanted else [])
        link = await service.captures.link(session.id, CaptureKind.RECORDING, capture.id, 60)
        assert link.expires_at == trio_time() + timedelta(seconds=60)
        assert (
            await service.captures.delete(session.id, CaptureKind.RECORDING, capture.id)
        ).status is CaptureStatus.DELETED
        assert (
            await service.captures.delete(session.id, CaptureKind.RECORDING, capture.id)
        ).status is CaptureStatus.DELETED
        assert world.connector.count("delete_capture") == 1
        with pytest.raises(RecordingNotInState):
            await service.captures.link(session.id, CaptureKind.RECORDING, capture.id, None)
        with pytest.raises(SessionHasEnded):
            await service.capture(session.id, START)
        assert len(service.captures) == 0


async def test_one_that_somebody_in_the_call_started_is_found_by_its_id(
    autojump_clock: MockClock, world: World
) -> None:
    """The push names neither the room nor an instance of ours."""
    async with world.service() as service:
        session = await a_call(service, world)
        listed = entry(session, "r9", CaptureMoment.STARTED)
        world.connector.recorded[session.room.name] = [listed]
        stranger = attrs.evolve(listed, instance_id="c3df927c", room_name=None)
        assert service.captures.hear("daily", stranger) == "taken"
        await trio.sleep(1)
        capture = await only(service, session)
        assert (capture.id, capture.ours, capture.status) == ("r9", False, CaptureStatus.RUNNING)
        await service.capture(session.id, StopCapture(capture_id="r9"))
        assert world.connector.capture_calls == [("stop_capture", session.room.name, None)]
        elsewhere = entry(session, "r8", CaptureMoment.READY)
        assert service.captures.hear("daily", attrs.evolve(elsewhere, room_name="other")) == "foreign"


async def test_a_bug_in_a_push_or_in_a_look_ends_nothing_else(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OverflowError("date value out of range")

    async with world.service() as service:
        session = await a_call(service, world)
        await service.capture(session.id, START)
        news = entry(session, "r9", CaptureMoment.STARTED)
        stranger = attrs.evolve(news, instance_id="c3df927c", room_name=None)
        with monkeypatch.context() as bugs:
            bugs.setattr(world.connector, "captures", broken)
            bugs.setattr(world.connector, "find_capture", broken)
            assert service.captures.hear("daily", stranger) == "taken"
            await trio.sleep(30)
        assert world.metric("transport_capture_looks_total", outcome="crashed") >= 1
        world.connector.recorded[session.room.name] = [news]
        await trio.sleep(60)
        assert (await only(service, session)).status is CaptureStatus.RUNNING


@pytest.mark.parametrize("starts", [True, False])
async def test_what_should_start_by_itself_is_looked_for(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture, starts: bool
) -> None:
    async with world.service() as service:
        session = await a_call(service, world, room_config=RoomConfig(auto_start_recording=True))
        if starts:
            world.connector.recorded[session.room.name] = [entry(session, "r1", CaptureMoment.STARTED)]
        world.connector.fail("captures", ProviderTimeout("daily", "slow"))
        await trio.sleep(16 + 3 * AUTO_START_S)
        assert told(world) == ([("started", "poll")] if starts else [("error", "inferred")])
        looks = world.connector.count("captures")
        await trio.sleep(200)
        assert len(told(world)) == 1
        assert world.metric("transport_capture_errors_total", kind="recording") == (0 if starts else 1)
        assert ("auto start did not happen" in caplog.text) is not starts
        assert starts or world.connector.count("captures") == looks


async def test_a_recording_is_changed_and_told(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        capture = await service.capture(session.id, START)
        changes = CaptureOptions(given={"fps": 10})
        await service.capture(session.id, UpdateCapture(capture_id=capture.id, options=changes))
        assert world.connector.capture_calls[-1] == ("update_capture", session.room.name, capture.id, changes)
        with pytest.raises(RecordingNotFound):
            await service.capture(session.id, StopCapture(capture_id="?"))
        await service.capture(session.id, StopCapture(capture_id=capture.id))
        with pytest.raises(RecordingNotInState):
            await service.capture(session.id, StopCapture(capture_id=capture.id))
        with pytest.raises(RecordingNotInState):
            await service.captures.delete(session.id, CaptureKind.RECORDING, capture.id)
    assert told(world) == [("updated", "request"), ("stopped", "request")]


async def test_a_stop_in_doubt_is_neither_told_nor_forgotten(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        capture = await service.capture(session.id, START)
        world.connector.fail("stop_capture", ProviderTimeout("daily", "slow", in_doubt=True))
        with pytest.raises(ProviderTimeout):
            await service.capture(session.id, StopCapture(capture_id=capture.id))
        assert (await only(service, session)).status is CaptureStatus.STOPPING
        await service.capture(session.id, StopCapture(capture_id=capture.id))
    assert told(world) == [("stopped", "request")]


async def test_a_session_keeps_so_many_and_starts_so_many_at_once(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = await a_call(service, world)
        world.connector.delay("start_capture", 1.0)
        refused: list[Exception] = []

        async def start() -> None:
            try:
                await service.capture(session.id, FURTHER)
            except (Busy, TooManyRecordings) as exc:
                refused.append(exc)

        async with trio.open_nursery() as nursery:
            for _ in range(WORK_MAX + 1):
                nursery.start_soon(start)
        assert [type(exc) for exc in refused] == [Busy]
        for _ in range(20 - WORK_MAX + 1):
            await start()
        assert [type(exc) for exc in refused] == [Busy, TooManyRecordings]


async def test_no_start_outlives_its_session(autojump_clock: MockClock, world: World) -> None:
    """The next room of that name must not be recorded by a request that waited for its turn."""
    async with world.service() as service:
        session = await a_call(service, world)
        world.connector.delay("start_capture", 10.0)
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(SessionHasEnded):
                    await service.capture(session.id, START)

            nursery.start_soon(start)
            await trio.sleep(1)
            await service.end(session.id)
        await trio.sleep(60)
        assert world.connector.capture_calls == []


async def test_looks_of_many_sessions_keep_their_distance(autojump_clock: MockClock, world: World) -> None:
    at: list[datetime] = []

    class Noting(list[CaptureNews]):
        def __iter__(self) -> Any:
            at.append(trio_time())
            return super().__iter__()

    async with world.service() as service:
        for _ in range(5):
            session = await a_call(service, world)
            await service.capture(session.id, START)
            world.connector.recorded[session.room.name] = Noting()
        await trio.sleep(20)
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(at)]
    assert len(at) >= 5
    assert min(gaps) >= 1.0


async def test_each_list_that_is_read_counts(autojump_clock: MockClock, world: World) -> None:
    """The slow tier is spent by list, and its graph must show what is spent."""
    async with world.service() as service:
        config = RoomConfig(enable_recording=True, enable_transcription=True)
        session = await a_call(service, world, room_config=config)
        await service.capture(session.id, START)
        await trio.sleep(300)
    assert world.metric("transport_capture_looks_total", outcome="ok") == world.connector.count("captures") > 2


@pytest.mark.parametrize("kept", [True, False])
async def test_a_transcription_goes_its_way_with_and_without_a_transcript(
    autojump_clock: MockClock, world: World, kept: bool
) -> None:
    """Where the room keeps none, the provider's word is all that will ever be heard."""
    async with world.service() as service:
        session = await a_call(service, world, room_config=RoomConfig(enable_transcription=kept))
        options = CaptureOptions(given={"participant_ids": ["?"]})
        capture = await service.capture(session.id, StartCapture(kind=CaptureKind.TRANSCRIPTION, options=options))
        assert world.connector.capture_calls[-1][3] == options
        assert capture.status is (CaptureStatus.STARTING if kept else CaptureStatus.RUNNING)
        with pytest.raises(RecordingNotFound):
            await service.capture(session.id, StopCapture(capture_id=capture.id))
        listed = attrs.evolve(entry(session, "t1", CaptureMoment.STARTED), kind=CaptureKind.TRANSCRIPTION)
        world.connector.recorded[session.room.name] = [listed] if kept else []
        await trio.sleep(30)
        await service.capture(session.id, StopCapture(kind=CaptureKind.TRANSCRIPTION, capture_id=capture.id))
        if kept:
            ready = attrs.evolve(listed, moment=CaptureMoment.READY, duration_s=30.0)
            world.connector.recorded[session.room.name] = [ready]
        await trio.sleep(300)
        expected = CaptureStatus.READY if kept else CaptureStatus.ENDED
        assert (await only(service, session)).status is expected
    types = [type_ for type_ in world.types(session.id) if type_.startswith("transcript")]
    assert types == ["transcription_started", "transcription_stopped", *(["transcript_ready"] if kept else [])]


async def test_whoever_rejoined_is_transcribed_by_the_id_that_was_told(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        first = world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        world.connector.leave(session.room.name, first)
        second = world.connector.join(session.room.name, "Ada", "u1")
        await trio.sleep(16)
        options = CaptureOptions(given={"participant_ids": [first.id]})
        await service.capture(session.id, StartCapture(kind=CaptureKind.TRANSCRIPTION, options=options))
    assert world.connector.capture_calls[-1][3].given == {"participant_ids": [second.id]}
