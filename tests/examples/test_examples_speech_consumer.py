"""The durable consumer loses nobody: not over a crash, a double, a lost server or a stream that comes late."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from examples_support import OpenService, create_session, end_session, example
from speech_stream import ADA, SESSION, SpeechStream, nats_server

from ports import free_port
from service_process import Child, child_process, logged
from transport_trio.sandbox import SandboxHandle

LISTENING = f"listening to Ada in {SESSION}"
STOPPED = f"stopped listening to Ada in {SESSION}"


@pytest.fixture
async def stream(tmp_path: Path) -> AsyncIterator[SpeechStream]:
    port = free_port()
    async with nats_server(tmp_path / "nats", port):
        stream = SpeechStream(port)
        await stream.make()
        yield stream


def consumer(
    stream: SpeechStream, state: Path, *args: str, ack_wait_s: float = 30
) -> AbstractAsyncContextManager[Child]:
    options = ["--nats-url", stream.url, "--state", str(state), "--ack-wait-s", str(ack_wait_s)]
    return child_process(example("speech_consumer.py", *options, *args))


def listened_to(state: Path) -> list[str]:
    with sqlite3.connect(state) as db:
        found = [name for (name,) in db.execute("SELECT name FROM recognisers WHERE stopped_at IS NULL")]
    db.close()
    return found


async def test_consumer_starts_and_stops_with_the_people(stream: SpeechStream, tmp_path: Path) -> None:
    async with consumer(stream, tmp_path / "state") as speech:
        await stream.publish(1, "session_created")
        await stream.publish(2, "participant_joined", participant=ADA)
        await speech.line(LISTENING)
        assert listened_to(tmp_path / "state") == ["Ada"]
        await stream.publish(3, "participant_left", participant=ADA, duration_s=5)
        await speech.line(STOPPED)
        assert listened_to(tmp_path / "state") == []
        assert "session_created" not in "\n".join(speech.lines)


async def test_end_of_a_session_stops_all_that_is_still_listened_to(stream: SpeechStream, tmp_path: Path) -> None:
    async with consumer(stream, tmp_path / "state") as speech:
        await stream.publish(1, "participant_joined", participant=ADA)
        await stream.publish(2, "participant_joined", participant={**ADA, "id": "p-bob", "name": None, "user_id": None})
        await stream.publish(3, "session_ended", reason="requested")
        await speech.line(STOPPED)
        await speech.line(f"stopped listening to somebody in {SESSION}")


async def test_people_in_a_real_room_are_listened_to_over_a_killed_service(
    open_service: OpenService, daily_sandbox: SandboxHandle, tmp_path: Path
) -> None:
    """The whole way: sandbox, service, journal, relay, embedded NATS (killed with the service), consumer."""
    async with open_service(NATS_URL="embedded", NATS_PORT="0") as service:
        nats_port = (await logged(service.child, "nats-server started"))["port"]
        session = await create_session(service)
        async with consumer(SpeechStream(nats_port), tmp_path / "state", ack_wait_s=1) as speech:
            daily_sandbox.join(session["room_name"], "Ada")
            await speech.line(f"listening to Ada in {session['session_id']}")
            await service.stop(signal.SIGKILL)
            daily_sandbox.join(session["room_name"], "Bob")
            async with open_service(NATS_URL="embedded", NATS_PORT=str(nats_port)) as again:
                await speech.line(f"listening to Bob in {session['session_id']}")
                await end_session(again, session["session_id"])
                await speech.line("stopped listening to Ada")
                await speech.line("stopped listening to Bob")
        told = [line.split(" in ")[0] for line in speech.lines if "listening to" in line]
        assert sorted(told) == [
            "listening to Ada",
            "listening to Bob",
            "stopped listening to Ada",
            "stopped listening to Bob",
        ]


async def test_event_in_hand_at_a_crash_is_redelivered_and_keeps_its_place(
    stream: SpeechStream, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    await stream.publish(1, "participant_joined", participant=ADA)
    await stream.publish(2, "participant_left", participant=ADA, duration_s=5)
    async with consumer(stream, state, "--work-s", "600", ack_wait_s=1) as speech:
        await speech.line("event 1: participant_joined")
        await speech.stop(signal.SIGKILL)
    assert listened_to(state) == []
    async with consumer(stream, state, ack_wait_s=1) as speech:
        await speech.line(STOPPED)
        assert [line for line in speech.lines if "listening" in line] == [LISTENING, STOPPED]
        assert await _settled(stream)


async def test_long_work_is_not_taken_for_a_crash(stream: SpeechStream, tmp_path: Path) -> None:
    async with consumer(stream, tmp_path / "state", "--work-s", "1.2", ack_wait_s=0.5) as speech:
        await stream.publish(1, "participant_joined", participant=ADA)
        await speech.line(LISTENING)
        assert await _settled(stream)
        await stream.publish(2, "participant_left", participant=ADA, duration_s=5)
        await speech.line(STOPPED)
        assert sum("event 1" in line for line in speech.lines) == 1


async def test_double_has_no_second_effect(stream: SpeechStream, tmp_path: Path) -> None:
    async with consumer(stream, tmp_path / "state") as speech:
        await stream.publish(1, "participant_joined", participant=ADA)
        await stream.publish(2, "participant_left", participant=ADA, duration_s=5)
        await speech.line(STOPPED)
        await stream.publish(1, "participant_joined", participant=ADA)
        await speech.line("event 1 had its effect before")
        assert listened_to(tmp_path / "state") == []
        assert await _settled(stream)


async def test_what_is_no_event_is_put_aside_and_does_not_block_the_next(stream: SpeechStream, tmp_path: Path) -> None:
    async with consumer(stream, tmp_path / "state") as speech:
        for body in (b"{not json", b"[]"):
            await stream.publish_raw(f"transport.events.{SESSION}.participant_joined", body, 1)
        await stream.publish(2, "participant_joined", participant=ADA)
        await speech.line(LISTENING)
        assert sum("put aside" in line for line in speech.lines) == 2
        assert await _settled(stream)


async def test_events_of_an_absence_are_handled_after_the_return(stream: SpeechStream, tmp_path: Path) -> None:
    async with consumer(stream, tmp_path / "state") as speech:
        await speech.line("waiting for events")
        assert await speech.stop() == 0
    await stream.publish(1, "participant_joined", participant=ADA)
    async with consumer(stream, tmp_path / "state") as speech:
        await speech.line(LISTENING)


async def test_consumer_waits_for_server_and_stream_and_survives_their_loss(tmp_path: Path) -> None:
    port = free_port()
    stream = SpeechStream(port)
    # Short: the server may be killed before it has stored the acknowledgement of event 1, which then comes again.
    async with consumer(stream, tmp_path / "state", ack_wait_s=0.5) as speech:
        await speech.line("NATS: ")  # nobody there: it says so and goes on trying
        async with nats_server(tmp_path / "nats", port):
            await speech.line("TRANSPORT_EVENTS is not to be had")
            await stream.make()
            await speech.line("waiting for events")
            await stream.publish(1, "participant_joined", participant=ADA)
            await speech.line(LISTENING)
        async with nats_server(tmp_path / "nats", port):
            await speech.line("NATS: connected again")
            await stream.publish(2, "participant_left", participant=ADA, duration_s=5)
            await speech.line(STOPPED)
            waits = len(speech.lines)
            await stream.remove()
            await speech.line("TRANSPORT_EVENTS is not to be had", start=waits)
            await stream.make()
            await stream.publish(3, "participant_joined", participant=ADA)
            await speech.line(LISTENING, start=waits)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop_is_clean_and_leaves_the_event_in_hand_to_the_next(
    stream: SpeechStream, tmp_path: Path, number: signal.Signals
) -> None:
    async with consumer(stream, tmp_path / "state", "--work-s", "600", ack_wait_s=1) as speech:
        await stream.publish(1, "participant_joined", participant=ADA)
        await speech.line("event 1: participant_joined")
        assert await speech.stop(number) == 0
        assert speech.lines[-1] == "stopped"
    async with consumer(stream, tmp_path / "state", ack_wait_s=1) as speech:
        await speech.line(LISTENING)


async def test_stop_while_no_server_is_there(tmp_path: Path) -> None:
    async with consumer(SpeechStream(free_port()), tmp_path / "state") as speech:
        await speech.line("NATS: ")
        assert await speech.stop() == 0


async def test_setting_of_the_service_is_no_address() -> None:
    async with child_process(example("speech_consumer.py"), {"NATS_URL": "embedded"}) as speech:
        await speech.line("'embedded' is no address; give one like nats://127.0.0.1:4222")
        assert await speech.ended() == 2


async def test_help_has_an_example() -> None:
    async with child_process(example("speech_consumer.py", "--help")) as speech:
        await speech.line("Example: python examples/speech_consumer.py")
        assert await speech.ended() == 0


async def _settled(stream: SpeechStream) -> bool:
    """Whether the consumer comes to have nothing in hand and nothing before it."""
    with trio.move_on_after(20):
        while True:
            if not await stream.unacknowledged("speech"):
                return True
            await trio.sleep(0.05)
    return False
