"""Heartbeats and limits, on Trio's clock."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fakes_hub import Rig
from transport_trio.events import EventType
from transport_trio.hub import Conversation, Filter, Subscription
from transport_trio.wire.socket import Close, ping_frame

PING = '{"type":"ping"}'


async def test_pings_come_every_heartbeat_and_silence_of_three_ends_it(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        began = trio.current_time()
        heard: list[tuple[float, object]] = []
        while ear.listener.is_open:
            await trio.sleep(0.5)  # the turns of the heart
            heard += [(trio.current_time() - began, one.get("type") or one["close"]) for one in await ear.hear()]
    # The first is early by a sixtieth at most.
    assert [what for _, what in heard] == ["welcome", "ping", "ping", 4408]
    assert [at for at, _ in heard] == pytest.approx([0.5, 30, 60, 90], abs=0.5)


async def test_each_listener_has_its_own_turn(rig: Rig, autojump_clock: MockClock) -> None:
    """Ten thousand pings at the same moment would be a stall."""
    with ExitStack() as stack:
        ears = []
        await trio.sleep(0.25)  # so that nobody comes at the same moment as a turn of the heart, before or after it
        for _ in range(60):
            if ears:
                await trio.sleep(0.5)
            ears.append(stack.enter_context(rig.listening()))
        began = trio.current_time()
        pinged_at: list[list[float]] = [[] for _ in ears]
        for _ in range(120):
            await trio.sleep(0.25)
            for at, ear in zip(pinged_at, ears, strict=True):
                ear.listener.heard_at = trio.current_time()
                at += [trio.current_time() - began for one in await ear.hear() if one["type"] == "ping"]
        assert all(len(at) == 1 for at in pinged_at)
        assert len({round(at[0], 1) for at in pinged_at}) == len(ears)


async def test_whatever_is_heard_starts_the_three_heartbeats_anew(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening() as ear:
        await trio.sleep(50)
        ear.listener.heard_at = trio.current_time()
        await trio.sleep(88)
        assert ear.listener.is_open
        await trio.sleep(32)
        assert ear.listener.closed_for is Close.SILENT


async def test_who_has_said_something_that_we_have_not_read_is_not_silent(rig: Rig, autojump_clock: MockClock) -> None:
    """A service that has no time to read must not hold its own haste against others."""
    with rig.listening() as ear:
        ear.pipe.has_unread = True
        await trio.sleep(200)
        assert ear.listener.is_open
        ear.pipe.has_unread = False
        await trio.sleep(30)
        assert ear.listener.closed_for is Close.SILENT


async def test_a_standstill_of_ours_is_not_the_listeners_silence(rig: Rig, mock_clock: MockClock) -> None:
    """After SIGSTOP, or an hour of swapping, every pong is there but none has been read yet."""
    with rig.listening() as ear:
        await wait_all_tasks_blocked()
        mock_clock.jump(3600)
        await wait_all_tasks_blocked()
        assert ear.listener.is_open
        mock_clock.autojump_threshold = 0
        await trio.sleep(80)
        assert ear.listener.is_open
        await trio.sleep(45)  # three heartbeats, and what it takes until its turn
        assert ear.listener.closed_for is Close.SILENT


async def test_beats_that_were_missed_are_not_made_up_for(rig: Rig, mock_clock: MockClock) -> None:
    """A standstill leaves one ping at most, not a burst."""
    with rig.listening() as ear:
        await ear.hear()
        mock_clock.jump(200)
        await wait_all_tasks_blocked()
        mock_clock.autojump_threshold = 0
        await trio.sleep(29)
        assert [message["type"] for message in await ear.hear()] in ([], ["ping"])


async def test_a_ping_tells_a_filtered_listener_where_to_resume(rig: Rig, autojump_clock: MockClock) -> None:
    with rig.listening(Subscription(filter=Filter(frozenset({"b"})))) as ear:
        await ear.hear()
        rig.happen("a", "b", "a")
        await trio.sleep(31)
        event, ping = await ear.hear()
        assert (event["id"], ping["last_event_id"]) == (2, 3)


async def test_a_ping_in_the_middle_of_a_broadcast_comes_after_what_it_speaks_of(
    rig: Rig, autojump_clock: MockClock
) -> None:
    with rig.listening() as ear:
        await ear.hear()
        rig.happen("a")
        ear.listener.reply_frame(ping_frame(ear.listener.settle()))
        rig.happen("a")
        heard = await ear.hear()
        assert [message.get("id", message.get("last_event_id")) for message in heard] == [1, 1, 2]


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
    answers = [answer for answer in answers if answer != "ping"]  # the heart's
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
