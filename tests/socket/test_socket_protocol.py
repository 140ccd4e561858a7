"""Frames as peers may send them, right and wrong, byte by byte."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress

import pytest
import trio
from socket_rig import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    client_frame,
    peer,
    serving,
)

PING_MESSAGE = b'{"type":"ping"}'


async def still_there(it: Peer) -> None:
    await it.send(TEXT, PING_MESSAGE)
    assert await it.receive_json() == {"type": "pong"}


async def test_a_ping_message_is_answered_and_a_pong_is_taken() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(TEXT, b'{"type":"pong"}')
        await still_there(it)


async def test_subscribe_is_answered_and_replaces_the_filter() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(TEXT, b'{"type":"subscribe","session_ids":["b"],"types":null}')
        assert await it.receive_json() == {"type": "subscribed", "last_event_id": 0}
        rig.happen("a", "b")
        assert (await it.receive_json())["id"] == 2


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [
        (TEXT, b"nonsense", "invalid_message"),
        (TEXT, b"[]", "invalid_message"),
        (TEXT, b"null", "invalid_message"),
        (TEXT, b'{"type":"shout"}', "invalid_message"),
        (TEXT, b'{"type":null}', "invalid_message"),
        (TEXT, b"{}", "invalid_message"),
        (TEXT, b'{"type":"ping","extra":1}', "invalid_message"),
        (TEXT, b'{"type":"subscribe","session_ids":"a"}', "invalid_message"),
        (TEXT, b'{"type":"subscribe","session_ids":[1]}', "invalid_message"),
        (TEXT, b'{"type":"subscribe","session_ids":[""]}', "invalid_message"),
        (TEXT, b'{"type":"subscribe","types":["no_such"]}', "invalid_message"),
        (TEXT, b'{"type":"subscribe","types":[null]}', "invalid_message"),
        (TEXT, b"[" * 4000, "invalid_message"),
        (TEXT, b'{"type":' * 500, "invalid_message"),
        (TEXT, b'{"a":' + b"[" * 4000, "invalid_message"),
        (TEXT, b'{"type":"ping","n":NaN}', "invalid_message"),
        (TEXT, b'{"type":"\\ud800"}', "invalid_message"),
        (TEXT, b"", "empty_message"),
        (BINARY, PING_MESSAGE, "binary_message"),
        (BINARY, b"", "binary_message"),
    ],
)
async def test_what_is_no_message_gets_an_error_and_the_connection_stays(
    opcode: int, payload: bytes, code: str
) -> None:
    async with serving() as rig, peer(rig, "types=session_ended") as it:
        await it.send(opcode, payload)
        error = await it.receive_json()
        assert (error["type"], error["code"]) == ("error", code)
        assert error["message"]
        await still_there(it)


async def test_a_refused_subscribe_changes_nothing() -> None:
    async with serving() as rig, peer(rig, "session_id=a") as it:
        await it.send(TEXT, b'{"type":"subscribe","session_ids":["b"],"types":["no_such"]}')
        assert (await it.receive_json())["type"] == "error"
        rig.happen("b", "a")
        assert (await it.receive_json())["session_id"] == "a"


async def test_a_fragmented_message_is_one_message() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(TEXT, PING_MESSAGE[:5], fin=False)
        await it.send(PING, b"in between")
        await it.send(CONTINUATION, b"", fin=False)
        await it.send(CONTINUATION, PING_MESSAGE[5:])
        assert await it.receive() == (PONG, b"in between")
        assert await it.receive_json() == {"type": "pong"}


async def test_a_message_that_arrives_byte_by_byte_is_one_message() -> None:
    frame = client_frame(TEXT, '{"type":"ä€😀"}'.encode())
    async with serving() as rig, peer(rig) as it:
        for byte in frame:
            await it.stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert "ä€😀" in (await it.receive_json())["message"]


async def test_pings_are_answered_with_their_payload() -> None:
    async with serving() as rig, peer(rig) as it:
        for payload in (b"", b"x" * 125):
            await it.send(PING, payload)
            assert await it.receive() == (PONG, payload)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([client_frame(TEXT, b"\xff\xfe")], 1007),
        ([client_frame(TEXT, b"\xe2\x82", fin=False), client_frame(CONTINUATION, b"")], 1007),
        ([client_frame(TEXT, PING_MESSAGE, mask=False)], 1002),
        ([client_frame(3, b"")], 1002),
        ([client_frame(11, b"")], 1002),
        ([client_frame(PING, b"", fin=False)], 1002),
        ([client_frame(PING, b"x" * 126)], 1002),
        ([client_frame(CONTINUATION, b"x")], 1002),
        ([client_frame(TEXT, b"x", fin=False), client_frame(TEXT, b"x")], 1002),
        ([b"\xc1\x80\0\0\0\0"], 1002),  # RSV1: compressed, though we negotiated no such thing
        ([client_frame(CLOSE, b"x")], 1002),
        ([client_frame(CLOSE, b"\x03\xec")], 1002),  # 1004 may not be sent
        ([client_frame(CLOSE, b"\x03\xe8\xff")], 1007),
        ([client_frame(TEXT, b"", mask=False) + b"x" * 100_000], 1002),
    ],
)
async def test_what_is_no_websocket_protocol_is_closed_with_its_code(frames: list[bytes], code: int) -> None:
    async with serving() as rig, peer(rig) as it:
        for frame in frames:
            await it.stream.send_all(frame)
        assert await it.close_code(answer=False) == code
        assert rig.dropped("not_utf8" if code == 1007 else "protocol") == 1


@pytest.mark.parametrize(
    "frames",
    [
        [client_frame(TEXT, b"x" * 4097)],
        [client_frame(TEXT, "€".encode() * 1366)],  # 1366 characters, 4098 bytes
        [client_frame(BINARY, b"x" * 4097)],
        [client_frame(TEXT, b"x" * 4096, fin=False), client_frame(CONTINUATION, b"x", fin=False)],
        [client_frame(TEXT, b"x" * 1_000_000)],
        [client_frame(TEXT, b"", fin=False)] + [client_frame(CONTINUATION, b"", fin=False)] * 64,
        # The header of a frame of 2**62 bytes, and as much of it as is needed to see that it is too much.
        [b"\x81\xff" + (2**62).to_bytes(8) + b"\0\0\0\0" + b"x" * 5000],
    ],
    ids=["text", "utf-8", "binary", "fragments", "a megabyte", "empty fragments", "exabytes"],
)
async def test_a_message_over_4_kib_is_closed_with_1009(frames: list[bytes]) -> None:
    async with serving() as rig, peer(rig) as it:
        await it.stream.send_all(b"".join(frames))
        assert await it.close_code(answer=False) == 1009
        assert rig.dropped("too_big") == 1


async def test_a_message_of_4_kib_or_64_pieces_is_read() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(TEXT, b'{"type":"ping"', fin=False)
        for _ in range(62):
            await it.send(CONTINUATION, b" ", fin=False)
        await it.send(CONTINUATION, b"}")
        assert await it.receive_json() == {"type": "pong"}
        await it.send(TEXT, json.dumps({"type": "ping", "x": "€" * 1355}, ensure_ascii=False).encode().ljust(4096))
        assert (await it.receive_json())["code"] == "invalid_message"
        await it.send(TEXT, PING_MESSAGE.ljust(4096))
        assert await it.receive_json() == {"type": "pong"}


async def test_too_many_bad_messages_are_closed_with_4400() -> None:
    async with serving(listener_faults_max=3) as rig, peer(rig) as it:
        for _ in range(4):
            await it.send(TEXT, b"nonsense")
        assert [(await it.receive_json())["type"] for _ in range(4)] == ["error"] * 4
        assert await it.close_code() == 4400
        assert rig.dropped("bad_messages") == 1


@pytest.mark.parametrize(("opcode", "payload"), [(TEXT, PING_MESSAGE), (PING, b""), (BINARY, b"")])
async def test_too_many_messages_are_closed_with_4429(opcode: int, payload: bytes) -> None:
    async with serving(listener_messages_max=5) as rig, peer(rig) as it:
        await it.stream.send_all(client_frame(opcode, payload) * 5000)
        assert await it.close_code(answer=False) == 4429
        assert rig.dropped("flooding") == 1


async def test_after_its_close_frame_the_service_reads_on_until_the_peer_answers() -> None:
    """To close with unread input would be a reset, which can overtake the close frame."""
    async with serving(listener_messages_max=5) as rig, peer(rig) as it:
        await it.stream.send_all(client_frame(TEXT, PING_MESSAGE) * 10)
        assert await it.close_code(answer=False) == 4429
        await it.stream.send_all(client_frame(TEXT, PING_MESSAGE) * 1000)
        await it.send(CLOSE, b"\x11\x4d")
        assert await it.stream.receive_some() == b""


async def test_what_follows_a_broken_protocol_is_not_kept() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(TEXT, PING_MESSAGE, mask=False)
        assert await it.close_code(answer=False) == 1002
        junk = b"x" * 1_000_000
        tracemalloc.start()
        try:
            with suppress(trio.BrokenResourceError):
                for _ in range(20):
                    await it.stream.send_all(junk)
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()


async def test_a_close_is_answered_and_the_connection_ended() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(CLOSE, b"\x03\xe8bye")
        assert await it.receive() == (CLOSE, b"\x03\xe8bye")
        assert await it.rest() == b""


@pytest.mark.parametrize("how", ["silently", "with a half-close", "with a reset"])
async def test_a_peer_that_vanishes_leaves_nothing_behind(how: str) -> None:
    async with serving() as rig, peer(rig) as it:
        if how == "with a half-close":
            await it.stream.send_eof()
        elif how == "with a reset":
            it.reset()
        else:
            await it.stream.aclose()
        await rig.until_listeners(0)
    assert rig.metrics.registry.get_sample_value("transport_listeners") == 0


async def test_data_before_the_upgrade_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as rig, peer(rig, upgrade=False) as it:
        await it.ask(extra=client_frame(TEXT, PING_MESSAGE))
        assert await it.answer() == 400
        assert await it.rest() == b""
    assert not caplog.records


@pytest.mark.parametrize("target", ["/ws", "/ws?what=ever"])
async def test_early_data_at_any_moment_of_the_upgrade_does_no_harm(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer may be on its way when the data comes: nobody may answer twice, or stumble."""
    async with serving() as rig:
        for turns in range(30):
            async with peer(rig, upgrade=False) as it:
                await it.ask(target)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                with suppress(trio.BrokenResourceError):
                    await it.stream.send_all(client_frame(TEXT, PING_MESSAGE))
                with suppress(EOFError, trio.BrokenResourceError):
                    assert await it.answer() in {101, 400}
        async with peer(rig) as it:
            await still_there(it)
    assert not caplog.records


async def test_an_event_at_any_moment_of_a_goodbye_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as rig:
        for turns in range(40):
            async with peer(rig) as it:
                await it.send(CLOSE, b"\x03\xe8")
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                    rig.happen("a")
                await it.rest()
    assert not caplog.records
