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


def events(child: Child) -> list[dict[str, Any]]:
    return [json.loads(line) for line in child.lines if line.startswith("{")]


async def recorded(service: Service, after: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(service, "GET", f"/events?after={after}"))["events"]
    return found


async def test_listener_sees_what_is_and_then_what_happens(service: Service, daily_sandbox: SandboxHandle) -> None:
    session = await create_session(service)
    before = (await ask(service, "GET", "/events"))["last_event_id"]
    async with listener(service) as listen:
        await listen.line(f"snapshot: {session['room_url']}")
        daily_sandbox.join(session["room_name"], "Ada")
        await listen.line('"participant_joined"')
        await end_session(service, session["session_id"])
        await listen.line('"session_ended"')
        assert events(listen) == await recorded(service, before)
        assert session["meeting_token"] not in "\n".join(listen.lines)


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
            assert events(listen) == await recorded(again, 0)
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


async def test_interrupt_ends_it_without_a_traceback(service: Service) -> None:
    async with listener(service) as listen:
        await listen.line("snapshot:")
        assert await listen.stop(signal.SIGINT) == 0
        assert len(listen.lines) == 1
