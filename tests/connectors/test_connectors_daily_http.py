"""The Daily connector on real sockets, against answers that are none."""

from __future__ import annotations

import gzip

import pytest
import trio
from connectors_helpers import daily_at
from daily_calls import CALLS, EVERY_CALL, KEY, NOT_FOUND, PLAN, ROOM, SHORT_S, TEST_S, Scripted
from scripted_http import Play, answer, cut_answer, flood, hang_up, play, raw, reset, silence, trickle

from transport_trio.errors import ProviderTimeout, ProviderUnreachable
from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus


@EVERY_CALL
async def test_requests_look_as_daily_wants_them(scripted: Scripted, name: str) -> None:
    call, body = CALLS[name]
    daily, server = await scripted(answer(200, body))
    with trio.fail_after(TEST_S):
        await call(daily)
    (request,) = server.received
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("transport-trio/")
    assert (
        f"{request.method} {request.target}"
        == {
            "create_room": "POST /v1/rooms",
            "find_room": "GET /v1/rooms/lobby",
            "extend_room": "POST /v1/rooms/lobby",
            "delete_room": "DELETE /v1/rooms/lobby",
            "list_rooms": "GET /v1/rooms?limit=100&starting_after=r1",
            "delete_rooms": "DELETE /v1/batch/rooms",
            "count_people": "GET /v1/rooms/lobby/presence",
            "create_token": "POST /v1/meeting-tokens",
            "presence": "GET /v1/rooms/lobby/presence",
            "eject": "POST /v1/rooms/lobby/eject",
            "update_permissions": "POST /v1/rooms/lobby/update-permissions",
            "send_message": "POST /v1/rooms/lobby/send-app-message",
            "start_capture": "POST /v1/rooms/lobby/recordings/start",
            "update_capture": "POST /v1/rooms/lobby/recordings/update",
            "stop_capture": "POST /v1/rooms/lobby/recordings/stop",
            "captures": "GET /v1/recordings?limit=100&room_name=lobby",
            "find_capture": "GET /v1/recordings/r1",
            "capture_link": "GET /v1/recordings/r1/access-link",
            "delete_capture": "DELETE /v1/recordings/r1",
            "visits": "GET /v1/meetings?room=lobby&timeframe_start=1767268785&timeframe_end=1767268815&limit=100",
            "check": "GET /v1/",
        }[name]
    )


async def test_a_name_cannot_break_out_of_its_path(scripted: Scripted) -> None:
    daily, server = await scripted(NOT_FOUND)
    with trio.fail_after(TEST_S):
        assert await daily.find_room("../presence?x=ü") is None
    assert server.received[0].target == "/v1/rooms/..%2Fpresence%3Fx%3D%C3%BC"


SPOILT: dict[str, Play] = {
    "hang up": hang_up,
    "reset": reset,
    "cut body": cut_answer(200, ROOM),
    "not JSON": answer(200, b"<html>welcome to our hotel</html>"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "wrong shape": answer(200, ["a", "list"]),
    "gzip unasked": answer(200, gzip.compress(b"{}"), {"Content-Encoding": "gzip"}),
    "redirect": answer(302, b"", {"Location": "https://example.com/"}),
    "500": answer(500, {"error": "server-error"}),
    "503 of a proxy": answer(503, b"<h1>no upstream</h1>"),
}


@pytest.mark.parametrize("name", ["create_room", "create_token"])
@pytest.mark.parametrize("spoilt", list(SPOILT))
async def test_a_spoilt_answer_is_asked_for_again_or_leaves_a_creation_in_doubt(
    scripted: Scripted, name: str, spoilt: str
) -> None:
    call, body = CALLS[name]
    daily, server = await scripted(SPOILT[spoilt], answer(200, body))
    with trio.fail_after(TEST_S):
        if name == "create_room":
            with pytest.raises(ProviderUnreachable) as caught:
                await call(daily)
            assert caught.value.in_doubt
            assert len(server.received) == 1
        else:
            await call(daily)
            assert len(server.received) == 2


async def test_a_body_without_end_is_given_up(scripted: Scripted) -> None:
    daily, _ = await scripted(flood)
    with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="does not end") as caught:
        await daily.create_room(PLAN)
    assert caught.value.in_doubt


@pytest.mark.parametrize("slow", [silence, trickle], ids=["silence", "trickle"])
async def test_a_slow_answer_times_out_and_leaves_a_creation_in_doubt(scripted: Scripted, slow: Play) -> None:
    daily, server = await scripted(slow, timeout_s=SHORT_S)
    with (
        trio.fail_after(TEST_S),
        pytest.raises(ProviderTimeout, match=r"did not answer create_room within 0\.3 s") as c,
    ):
        await daily.create_room(PLAN)
    assert c.value.in_doubt
    assert len(server.received) == 1
    assert daily.health().status is CheckStatus.DEGRADED


async def test_nobody_there_is_unreachable_without_doubt(metrics: Metrics) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
    await listener.aclose()
    async with daily_at(url, metrics) as daily:
        with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="no connection") as caught:
            await daily.create_room(PLAN)
        assert not caught.value.in_doubt
        assert "cannot be reached" in daily.health().message
    labels = {"provider": "daily", "operation": "create_room", "outcome": "unreachable"}
    assert metrics.registry.get_sample_value("transport_provider_requests_total", labels) == 4


async def test_a_handshake_that_never_comes_is_a_timeout_without_doubt(metrics: Metrics, nursery: trio.Nursery) -> None:
    server = await play(nursery, silence, silence, silence, silence)
    url = server.url.replace("http:", "https:")
    async with daily_at(url, metrics, timeout_s=SHORT_S) as daily:
        with trio.fail_after(TEST_S), pytest.raises(ProviderTimeout, match="no connection") as caught:
            await daily.create_room(PLAN)
    assert not caught.value.in_doubt


async def test_a_stranger_behind_tls_is_not_spoken_to(metrics: Metrics, nursery: trio.Nursery) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"220 mail.example.com ESMTP\r\n")
            await stream.receive_some()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, greet, [listener])
    async with daily_at(f"https://127.0.0.1:{listener.socket.getsockname()[1]}/v1", metrics) as daily:
        with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable, match="no connection") as caught:
            await daily.create_room(PLAN)
    assert not caught.value.in_doubt
