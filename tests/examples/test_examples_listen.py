"""The listener on asyncio sees every event once, over every kind of interruption."""

from __future__ import annotations

import json
import signal
from contextlib import AbstractAsyncContextManager
from typing import Any

from examples_support import OpenService, ask, create_session, end_session, example

from service_process import Child, Service, child_process
from transport_trio.sandbox import SandboxHandle

KEY = "key-of-the-test"


def listener(service: Service, key: str | None = None) -> AbstractAsyncContextManager[Child]:
    environ = {"TRANSPORT_TRIO_API_KEY": key} if key else {}
    return child_process(example("listen.py", service.socket_url), environ)


def events(child: Child, session_id: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in child.lines if line.startswith("{")]
    return [event for event in found if event["session_id"] == session_id]


async def recorded(service: Service, session_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(service, "GET", f"/events?session_id={session_id}"))["events"]
    return found


async def test_listener_sees_what_is_and_then_what_happens(service: Service, daily_sandbox: SandboxHandle) -> None:
    session = await create_session(service)
    session_id = session["session_id"]
    async with listener(service) as listen:
        assert session["room_url"] in await listen.line("snapshot: ")
        daily_sandbox.join(session["room_name"], "Ada")
        await listen.line('"participant_joined"')
        await end_session(service, session_id)
        await listen.line('"session_ended"')
        created, *since = await recorded(service, session_id)
        assert created["type"] == "session_created"
        assert events(listen, session_id) == since
        assert session["meeting_token"] not in "\n".join(listen.lines)
        assert await listen.stop(signal.SIGINT) == 0
        assert "Traceback" not in "\n".join(listen.lines)


async def test_nothing_is_missed_or_doubled_over_a_killed_service(
    open_service: OpenService, daily_sandbox: SandboxHandle
) -> None:
    async with open_service() as service, listener(service) as listen:
        await listen.line("snapshot:")
        session = await create_session(service)
        await listen.line('"session_created"')
        await service.stop(signal.SIGKILL)
        await listen.line("lost: ")
        daily_sandbox.join(session["room_name"], "Ada")
        async with open_service(PORT=service.url.rpartition(":")[2]) as again:
            await listen.line('"participant_joined"')
            await end_session(again, session["session_id"])
            await listen.line('"session_ended"')
            assert events(listen, session["session_id"]) == await recorded(again, session["session_id"])
            assert sum("snapshot:" in line for line in listen.lines) == 1


async def test_new_epoch_is_a_gap_and_a_snapshot(open_service: OpenService) -> None:
    async with open_service() as service, listener(service) as listen:
        await listen.line("snapshot:")
        session = await create_session(service)
        await listen.line('"session_created"')
        await service.stop()
        async with open_service("--new-epoch", PORT=service.url.rpartition(":")[2]) as again:
            await listen.line("gap: epoch")
            await listen.line(f"snapshot: {session['room_url']}")
            await end_session(again, session["session_id"])
            await listen.line('"session_ended"')


async def test_key_is_brought_and_a_wrong_one_told(open_service: OpenService) -> None:
    async with open_service(api_key=KEY) as service:
        async with listener(service, KEY) as listen:
            await listen.line("snapshot:")
        async with listener(service, "wrong-key") as listen:
            await listen.line("refused: ")
            assert await listen.ended() == 1
