"""The whole service as a child process, with the Daily sandbox, a NATS server and clients that are not ours.

What is told to a caller, a listener or NATS survives whatever ends the process.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from service_process import Service, child_process, logged, service_process
from transport_trio.sandbox import SandboxHandle

QUICK = {"PRESENCE_POLL_S": "0.2", "PRESENCE_CONFIRM_S": "0.4"}
WAIT_S = 20.0


@pytest.fixture(autouse=True)
async def _bounded() -> AsyncIterator[None]:
    with trio.fail_after(90):
        yield


def settings_for(sandbox: SandboxHandle, **more: str) -> dict[str, str]:
    account = {
        "DAILY_API_URL": sandbox.api_url,
        "DAILY_API_KEY": sandbox.api_key,
        "DAILY_DOMAIN": sandbox.domain,
    }
    return {**account, **QUICK, **more}


async def create(service: Service, **changes: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=service.url, timeout=WAIT_S) as client:
        answer = await client.post("/sessions", json={"provider": "daily", **changes})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def get(service: Service, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=service.url, timeout=WAIT_S) as client:
        answer: dict[str, Any] = (await client.get(path)).json()
    return answer


async def end(service: Service, session_id: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=service.url, timeout=WAIT_S) as client:
        return await client.delete(f"/sessions/{session_id}")


async def has_rooms(sandbox: SandboxHandle) -> bool:
    return bool(sandbox.rooms())


async def has_no_rooms(sandbox: SandboxHandle) -> bool:
    return not sandbox.rooms()


async def hear(listener: WebSocketConnection, kind: str) -> list[dict[str, Any]]:
    """All events up to the first of this type."""
    heard = []
    while True:
        message = json.loads(await listener.get_message())
        if "id" in message:
            heard.append(message)
        if message["type"] == kind:
            return heard


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, until it holds; what we wait for happens in another process."""
    with trio.fail_after(WAIT_S):
        while not await holds():  # noqa: ASYNC110 -- no event of Trio comes from another process
            await trio.sleep(0.03)


async def test_one_session_from_its_creation_to_its_cleanup(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    async with (
        service_process(tmp_path, **settings_for(daily_sandbox, NATS_URL="embedded", NATS_PORT="0")) as service,
        open_websocket_url(service.socket_url) as listener,
    ):
        welcome = json.loads(await listener.get_message())
        session = await create(service, participant_config={"name": "Host", "user_id": "u-host"})
        daily_sandbox.join(session["room_name"], name="Ada", user_id="u-ada", token=session["meeting_token"])
        heard = await hear(listener, "session_updated")
        assert [event["type"] for event in heard] == ["session_created", "participant_joined", "session_updated"]
        daily_sandbox.leave(session["room_name"])
        heard += await hear(listener, "participant_left")
        assert (await end(service, session["session_id"])).status_code == 200
        heard += await hear(listener, "session_ended")
        assert [event["id"] for event in heard] == list(range(1, len(heard) + 1))
        page = await get(service, "/events")
        assert page["events"] == heard
        assert page["epoch"] == welcome["epoch"]

        async def cleaned_up() -> bool:
            detail = await get(service, f"/sessions/{session['session_id']}")
            return bool(detail["provider_cleanup"] == "done")

        await until(cleaned_up)
        assert daily_sandbox.rooms() == []

        async def delivered() -> bool:
            return f"delivered_messages_total {len(heard)}.0" in await metrics(service)

        await until(delivered)
        assert "pending_messages 0.0" in await metrics(service)


async def test_the_tasks_of_a_session_are_counted_and_end_with_it(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    """A task that outlives its session would be seen nowhere else before memory runs out."""
    async with service_process(tmp_path, **settings_for(daily_sandbox)) as service:
        before = await tasks(service)
        session = await create(service)
        assert await tasks(service) >= before + 3  # the owner, its poller and its timers
        await end(service, session["session_id"])

        async def as_before() -> bool:
            return await tasks(service) <= before

        await until(as_before)


async def tasks(service: Service) -> float:
    return next(
        float(line.split()[1]) for line in (await metrics(service)).splitlines() if line.startswith("transport_tasks ")
    )


async def metrics(service: Service) -> str:
    async with httpx.AsyncClient(base_url=service.url, timeout=WAIT_S) as client:
        return (await client.get("/metrics")).text


async def test_kill_9_loses_nothing_that_was_answered_or_told(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    settings = settings_for(daily_sandbox)
    async with service_process(tmp_path, **settings) as service:
        session = await create(service)
        daily_sandbox.join(session["room_name"], name="Ada", user_id="u-ada")
        async with open_websocket_url(service.socket_url + "?after=0") as listener:
            told = await hear(listener, "session_updated")
        await service.stop(signal.SIGKILL)
    daily_sandbox.join(session["room_name"], name="Grace", user_id="u-grace")
    async with service_process(tmp_path, **settings) as service:
        async with open_websocket_url(f"{service.socket_url}?after={told[-1]['id']}") as listener:
            later = await hear(listener, "session_updated")
        assert [event["id"] for event in later] == [told[-1]["id"] + 1, told[-1]["id"] + 2]
        assert later[0]["participant"]["name"] == "Grace"
        assert (await get(service, "/events"))["events"] == told + later
        detail = await get(service, f"/sessions/{session['session_id']}")
        assert [who["name"] for who in detail["participants"]] == ["Ada", "Grace"]


async def test_kill_9_between_room_and_answer_leaves_no_room(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    daily_sandbox.add_fault("delay", operation="create_meeting_token", delay_s=30)
    settings = settings_for(daily_sandbox)
    async with service_process(tmp_path, **settings) as service, trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(httpx.TransportError):
                await create(service)

        nursery.start_soon(caller)
        await until(partial(has_rooms, daily_sandbox))
        await service.stop(signal.SIGKILL)
    async with service_process(tmp_path, **settings) as service:
        await until(partial(has_no_rooms, daily_sandbox))
        assert (await get(service, "/sessions"))["total"] == 0


def hear_the_end(url: str, connected: trio.Event, codes: list[int]) -> None:
    """In a thread: listen with a client that is not ours until the service closes the connection."""
    with connect(url) as listener:
        listener.recv(WAIT_S)
        trio.from_thread.run_sync(connected.set)
        with pytest.raises(ConnectionClosed) as closed:
            listener.recv(WAIT_S)
    codes.append(closed.value.rcvd.code if closed.value.rcvd else 1006)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_is_told_to_listeners_and_ends_no_session(
    number: int, daily_sandbox: SandboxHandle, tmp_path: Path
) -> None:
    settings = settings_for(daily_sandbox, NATS_URL="embedded", NATS_PORT="0")
    async with service_process(tmp_path, **settings) as service:
        session, codes = await create(service), list[int]()
        connected = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, hear_the_end, service.socket_url, connected, codes)
            await connected.wait()
            service.child.process.send_signal(number)
        assert codes == [1001]
        assert await service.child.ended() == 0
    assert len(daily_sandbox.rooms()) == 1
    async with service_process(tmp_path, **settings) as service:
        assert (await get(service, f"/sessions/{session['session_id']}"))["status"] == "Created"


async def test_a_stop_lets_a_creation_finish(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    daily_sandbox.add_fault("delay", operation="create_meeting_token", delay_s=1)
    async with service_process(tmp_path, **settings_for(daily_sandbox)) as service:
        answered: list[dict[str, Any]] = []

        async def caller() -> None:
            answered.append(await create(service))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await until(partial(has_rooms, daily_sandbox))
            assert await service.stop() == 0
        assert answered[0]["meeting_token"]


async def test_a_second_signal_ends_at_once(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    daily_sandbox.add_fault("delay", operation="create_meeting_token", delay_s=60)
    settings = settings_for(daily_sandbox, DRAIN_S="60", PROVIDER_TIMEOUT_S="60")
    async with service_process(tmp_path, **settings) as service, trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(httpx.TransportError):
                await create(service)

        nursery.start_soon(caller)
        await until(partial(has_rooms, daily_sandbox))
        service.child.process.send_signal(signal.SIGTERM)
        await logged(service.child, "service stopping")
        assert await service.stop(signal.SIGTERM) == 128 + signal.SIGTERM


async def test_a_restored_journal_begins_a_new_epoch(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    """The stream holds ids that the restored journal does not know: they must not be given twice."""
    settings = settings_for(daily_sandbox, NATS_URL="embedded", NATS_PORT="0")
    data, backup = tmp_path / "data", tmp_path / "backup"
    async with service_process(data, **settings) as service:
        await create(service)
        assert await service.stop() == 0
    shutil.copytree(data, backup, ignore=shutil.ignore_patterns("nats"))
    async with service_process(data, **settings) as service:
        before = (await get(service, "/events"))["epoch"]
        await create(service)
        await create(service)
        assert await service.stop() == 0
    for path in data.iterdir():
        if path.is_file():
            path.unlink()
    shutil.copytree(backup, data, dirs_exist_ok=True)
    async with service_process(data, **settings) as service:

        async def begun_anew() -> bool:
            return bool((await get(service, "/events"))["epoch"] != before)

        await until(begun_anew)
        answer = await get(service, f"/events?after=0&epoch={before}")
        assert answer["code"] == "history_gone"


async def test_nats_away_is_degraded_and_nothing_else(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    nowhere = "nats://127.0.0.1:1"
    async with service_process(tmp_path, **settings_for(daily_sandbox, NATS_URL=nowhere, DRAIN_S="0.5")) as service:
        await create(service)
        ready = await get(service, "/ready")
        assert ready["status"] == "ready"
        assert {check["name"]: check["status"] for check in ready["checks"]}["nats"] == "degraded"
        assert "pending_messages 1.0" in await metrics(service)
        assert await service.stop() == 0


async def test_a_wrong_key_is_degraded_and_told(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    settings = {**settings_for(daily_sandbox), "DAILY_API_KEY": "wrong-key-of-the-test"}
    async with service_process(tmp_path, **settings) as service:

        async def check() -> dict[str, str]:
            checks = (await get(service, "/ready"))["checks"]
            return next(each for each in checks if each["name"] == "provider:daily")

        async def degraded() -> bool:
            return (await check())["status"] == "degraded"

        await until(degraded)
        assert "DAILY_API_KEY" in (await check())["message"]
        assert all("wrong-key-of-the-test" not in line for line in service.child.lines)


async def test_an_open_service_warns_and_one_with_keys_does_not(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:
    async with service_process(tmp_path / "open", **settings_for(daily_sandbox)) as service:
        await service.child.line("open to everybody")
    async with service_process(tmp_path / "shut", api_key="a-long-secret", **settings_for(daily_sandbox)) as service:
        async with httpx.AsyncClient(base_url=service.url) as client:
            assert (await client.get("/sessions")).status_code == 401
            assert (await client.get("/health")).status_code == 200
        assert await service.stop() == 0
        assert not [line for line in service.child.lines if "open to everybody" in line or "a-long-secret" in line]


async def test_two_services_on_one_folder_are_one_too_many(daily_sandbox: SandboxHandle, tmp_path: Path) -> None:

    settings = settings_for(daily_sandbox)
    async with service_process(tmp_path, **settings) as service:
        command = [sys.executable, "-m", "transport_trio", "serve"]
        environ = {"DATA_DIR": str(tmp_path), "PORT": "0", **settings}
        async with child_process(command, environ) as second:
            assert await second.ended() == 1
            assert str(service.child.pid) in second.lines[-1]
        assert (await get(service, "/health"))["status"] == "healthy"
