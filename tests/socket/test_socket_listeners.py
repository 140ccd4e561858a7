"""Listening with the clients that people use."""

from __future__ import annotations

import json

import pytest
import trio
import websockets.exceptions
import websockets.sync.client
from socket_rig import PONG, TEST_S, TEXT, Served, hear, listening, peer, serving
from trio_websocket import ConnectionClosed

from fakes_hub import make_session
from transport_trio.events import EventType


async def test_events_arrive_as_they_happen() -> None:
    async with serving() as rig, listening(rig) as ws:
        welcome = await hear(ws)
        assert (welcome["type"], welcome["epoch"], welcome["last_event_id"]) == ("welcome", "epoch-1", 0)
        rig.happen("a", type_=EventType.SESSION_CREATED)
        event = await hear(ws)
        assert (event["type"], event["id"], event["session_id"]) == ("session_created", 1, "a")


async def test_frames_of_every_length_arrive_whole() -> None:
    sizes = (0, 20, 100, 60_000, 65_400, 200_000)
    async with serving() as rig, listening(rig) as ws:
        await hear(ws)
        for size in sizes:
            rig.happen("a", size=size)
        assert [len((await hear(ws))["pad"]) for _ in sizes] == list(sizes)


async def test_filters_after_and_snapshot_come_in_through_the_query() -> None:
    async with serving() as rig:
        rig.journal.sessions_now = [make_session("a"), make_session("b")]
        rig.happen("a", "b", "a", "b")
        async with listening(rig, "session_id=b&after=1") as ws:
            assert [(await hear(ws, "session_updated"))["id"] for _ in range(2)] == [2, 4]
        async with listening(rig, "session_id=b&snapshot=true") as ws:
            snapshot = await hear(ws, "snapshot")
            assert [shown["session_id"] for shown in snapshot["sessions"]] == ["b"]
            assert snapshot["last_event_id"] == 4
        async with listening(rig, "after=99") as ws:
            assert (await hear(ws, "gap"))["reason"] == "ahead"
            assert (await hear(ws))["type"] == "snapshot"
        async with listening(rig, "after=1&epoch=other") as ws:
            assert (await hear(ws, "gap"))["reason"] == "epoch"


async def test_a_long_replay_arrives_complete_while_events_go_on() -> None:
    async with serving() as rig:
        rig.happen(*["a"] * 3000)
        async with listening(rig, "after=0") as ws:
            heard = []
            while not heard or heard[-1] < 3020:
                heard.append((await hear(ws, "session_updated"))["id"])
                if len(heard) % 100 == 0 and rig.journal.head < 3020:
                    rig.happen("a")
    assert heard == list(range(1, 3021))


async def test_sent_messages_are_counted() -> None:
    async with serving() as rig, listening(rig) as ws:
        await hear(ws)
        rig.happen("a", "a", "a")
        for _ in range(3):
            await hear(ws)
        await ws.send_message('{"type":"ping"}')  # when this is answered, the writing before it is over
        await hear(ws)
        assert (rig.metrics.registry.get_sample_value("transport_frames_sent_total") or 0) >= 4


async def test_a_stop_closes_everyone_with_1001() -> None:
    async with serving() as rig, listening(rig) as one, listening(rig, "after=0") as other:
        await hear(one)
        await hear(other)
        rig.hub.close()
        for ws in (one, other):
            with pytest.raises(ConnectionClosed) as caught:
                await hear(ws)
            assert caught.value.reason is not None
            assert caught.value.reason.code == 1001
        assert rig.dropped("stopping") == 2


# --- heartbeat


async def test_pings_come_by_themselves_and_move_the_resume_point_of_a_filtered_listener() -> None:
    async with serving(heartbeat_s=0.1) as rig, listening(rig, "session_id=b") as ws:
        rig.happen("a", "a")
        assert await hear(ws, "ping") == {"type": "ping", "last_event_id": 2}
        rig.happen("a")
        while (await hear(ws, "ping"))["last_event_id"] != 3:
            pass


async def test_automatic_pongs_are_life_enough() -> None:
    """A browser's script need not answer anything: its engine does."""
    async with serving(heartbeat_s=0.1) as rig, listening(rig) as ws:
        for _ in range(6):
            await hear(ws, "ping")
        assert rig.hub.statistics().listeners == 1


async def test_a_listener_that_is_silent_for_three_heartbeats_is_closed_with_4408() -> None:
    async with serving(heartbeat_s=0.1) as rig, peer(rig) as it:
        assert await it.close_code() == 4408  # it reads, but answers no ping
        assert rig.dropped("silent") == 1


@pytest.mark.parametrize(("opcode", "payload"), [(PONG, b""), (TEXT, b'{"type":"pong"}'), (TEXT, b"nonsense")])
async def test_any_frame_counts_as_life(opcode: int, payload: bytes) -> None:
    async with serving(heartbeat_s=0.1, listener_faults_max=1000) as rig, peer(rig) as it:
        for _ in range(6):
            while (await it.receive_json())["type"] != "ping":
                pass
            await it.send(opcode, payload)
        assert rig.hub.statistics().listeners == 1


# --- another client library, with compression on offer


def _listen_with_websockets(rig: Served) -> tuple[list[str], str, int]:
    with websockets.sync.client.connect(rig.url(), compression="deflate") as ws:
        extensions = ws.response.headers.get("Sec-WebSocket-Extensions", "") if ws.response else "?"
        heard = [json.loads(ws.recv())["type"]]
        trio.from_thread.run_sync(rig.happen, "a")
        heard.append(json.loads(ws.recv())["type"])
        ws.send('{"type":"ping"}')
        heard.append(json.loads(ws.recv())["type"])
        assert ws.ping().wait(TEST_S)
        trio.from_thread.run_sync(rig.hub.close)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            ws.recv()
        assert caught.value.rcvd is not None
        return heard, extensions, caught.value.rcvd.code


async def test_the_websockets_library_listens_uncompressed() -> None:
    async with serving() as rig:
        heard, extensions, code = await trio.to_thread.run_sync(_listen_with_websockets, rig)
    assert heard == ["welcome", "session_updated", "pong"]
    assert extensions == ""
    assert code == 1001
