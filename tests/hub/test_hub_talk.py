"""Heartbeats and limits, on Trio's clock."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from fakes_hub import Rig, messages
from transport_trio.events import EventType
from transport_trio.hub import Conversation, Filter, Heartbeat, Subscription
from transport_trio.wire.socket import Close

PING = '{"type":"ping"}'


async def test_pings_come_every_heartbeat_and_silence_of_three_ends_it(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        heartbeat = Heartbeat(ear.listener, 30)
        began = trio.current_time()
        heard: list[tuple[float, str]] = []
        while (batch := await ear.listener.next_batch(heartbeat.due_at(began))) is not None:
            heard += [(trio.current_time() - began, message["type"]) for message in messages(b"".join(batch))]
            heartbeat.beat(began)
    assert heard == [(0, "welcome"), (30, "ping"), (60, "ping")]
    assert ear.listener.closed_for is Close.SILENT
    assert trio.current_time() - began == 90


async def test_whatever_is_heard_starts_the_three_heartbeats_anew(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        began = trio.current_time()
        heartbeat = Heartbeat(ear.listener, 30)
        while (due_at := heartbeat.due_at(began + 50)) < began + 140:
            await trio.sleep_until(due_at)
            heartbeat.beat(began + 50)
            assert ear.listener.closed_for is None
        assert due_at == began + 140
        await trio.sleep_until(due_at)
        heartbeat.beat(began + 50)
        assert ear.listener.closed_for is Close.SILENT


async def test_a_standstill_of_ours_is_not_the_listeners_silence(rig: Rig, autojump_clock: MockClock) -> None:
    """After SIGSTOP, or an hour of swapping, every pong is there but none has been read yet."""
    with rig.listening() as ear:
        heartbeat = Heartbeat(ear.listener, 30)
        began = trio.current_time()
        await trio.sleep(3600)
        heartbeat.beat(heard_at=began)
        assert ear.listener.closed_for is None
        while ear.listener.closed_for is None:
            await trio.sleep_until(heartbeat.due_at(began))
            heartbeat.beat(heard_at=began)
        assert trio.current_time() == began + 3690


async def test_beats_that_were_missed_are_not_made_up_for(rig: Rig, autojump_clock: MockClock) -> None:
    """A write that took minutes leaves one ping, not a burst."""
    with rig.listening() as ear:
        heartbeat = Heartbeat(ear.listener, 30)
        await ear.hear()
        await trio.sleep(200)
        now = trio.current_time()
        heartbeat.beat(heard_at=now)
        heartbeat.beat(heard_at=now)
        assert [message["type"] for message in await ear.hear()] == ["ping"]
        assert heartbeat.due_at(heard_at=now) == now + 30


async def test_a_ping_tells_a_filtered_listener_where_to_resume(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(Subscription(filter=Filter(frozenset({"b"})))) as ear:
        heartbeat = Heartbeat(ear.listener, 30)
        await ear.hear()
        rig.happen("a", "b", "a")
        await trio.sleep(30)
        heartbeat.beat(trio.current_time())
        event, ping = await ear.hear()
        assert (event["id"], ping["last_event_id"]) == (2, 3)


async def test_the_limit_of_messages_holds_for_ten_seconds_at_a_time(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        conversation = Conversation(ear.listener, messages_max=3, faults_max=10, heartbeat_s=30)
        for _ in range(4):
            for _ in range(3):
                conversation.hear(PING)
            await trio.sleep(10)
        assert ear.listener.closed_for is None
        for _ in range(4):
            conversation.hear(PING)
        assert ear.listener.closed_for is Close.FLOODING
        # The fourth is not answered, and neither is anything after it.
        conversation.hear(PING)
        answers = [message.get("type", message.get("close")) for message in await ear.hear()]
    assert answers == ["welcome"] + ["pong"] * 15 + [4429]


async def test_everything_that_costs_us_an_answer_counts_as_a_message(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        conversation = Conversation(ear.listener, messages_max=3, faults_max=10, heartbeat_s=30)
        conversation.hear_ping(b"")
        conversation.hear_binary()
        conversation.hear(PING)
        assert ear.listener.closed_for is None
        conversation.hear_ping(b"")
        assert ear.listener.closed_for is Close.FLOODING


async def test_bad_messages_are_answered_until_there_are_too_many(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        conversation = Conversation(ear.listener, messages_max=100, faults_max=2, heartbeat_s=30)
        for text in ("x", PING, ""):
            conversation.hear(text)
        assert ear.listener.closed_for is None
        conversation.hear_binary()
        answers = await ear.hear()
    assert [answer.get("code", answer.get("type", answer.get("close"))) for answer in answers] == [
        "welcome",
        "invalid_message",
        "pong",
        "empty_message",
        "binary_message",
        4400,
    ]


async def test_subscribing_to_nothing_hears_nothing_and_to_null_everything(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        conversation = Conversation(ear.listener, messages_max=100, faults_max=2, heartbeat_s=30)
        conversation.hear('{"type":"subscribe","session_ids":[],"types":null}')
        rig.happen("a")
        conversation.hear('{"type":"subscribe","session_ids":null,"types":["session_ended"]}')
        rig.happen("a")
        rig.happen("a", type_=EventType.SESSION_ENDED)
        conversation.hear('{"type":"subscribe"}')
        rig.happen("a")
        conversation.hear('{"type":"pong"}')
        heard = await ear.hear()
    assert [message.get("id", message["type"]) for message in heard] == [
        "welcome",
        "subscribed",
        "subscribed",
        3,
        "subscribed",
        4,
    ]


async def test_pongs_that_nobody_asked_for_are_a_flood_and_others_are_not(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        conversation = Conversation(ear.listener, messages_max=3, faults_max=10, heartbeat_s=1)
        for _ in range(100):
            conversation.hear_pong()
            await trio.sleep(0.5)  # twice as often as we ping
        assert ear.listener.closed_for is None
        for _ in range(24):
            conversation.hear_pong()
        assert ear.listener.closed_for is Close.FLOODING
