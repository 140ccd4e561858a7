"""The whole service, pushed to by the sandbox: joins and leaves are told long before presence shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from service_process import logged, service_process
from transport_trio.sandbox import SandboxHandle

TEST_S = 60.0


async def hear(listener: WebSocketConnection, type_: str) -> dict[str, Any]:
    """The next event of this type."""
    while True:
        message: dict[str, Any] = json.loads(await listener.get_message())
        if message["type"] == type_:
            return message


async def webhooks(sandbox: SandboxHandle) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with httpx.AsyncClient(base_url=sandbox.api_url, headers=headers) as client:
        found: list[dict[str, Any]] = (await client.get("/webhooks")).json()
    return found


@pytest.mark.daily_sandbox(presence_lag_s=3600.0)
async def test_who_comes_and_goes_is_told_without_presence(tmp_path: Path, daily_sandbox: SandboxHandle) -> None:
    settings = {
        "DAILY_API_URL": daily_sandbox.api_url,
        "DAILY_API_KEY": daily_sandbox.api_key,
        "DAILY_DOMAIN": daily_sandbox.domain,
        "DAILY_WEBHOOK_URL": "self",
    }
    with trio.fail_after(TEST_S):
        async with service_process(tmp_path, api_key="a-long-secret", **settings) as service:
            await logged(service.child, "webhook registered")
            key = {"Authorization": "Bearer a-long-secret"}
            address = service.url.replace("http", "ws") + "/ws?token=a-long-secret"
            async with (
                httpx.AsyncClient(base_url=service.url, headers=key, timeout=TEST_S) as client,
                open_websocket_url(address) as listener,
            ):
                session = (await client.post("/sessions", json={"provider": "daily"})).json()
                ada = await trio.to_thread.run_sync(daily_sandbox.join, session["room_name"], "Ada", "u1")
                joined = await hear(listener, "participant_joined")
                assert (joined["source"], joined["participant"]["id"]) == ("webhook", ada["id"])
                assert joined["participant"]["is_owner"] is False
                assert joined["participant"]["permissions"]["can_send_audio"] is True
                shown = (await client.get(f"/sessions/{session['session_id']}")).json()
                assert [one["name"] for one in shown["participants"]] == ["Ada"]
                await trio.to_thread.run_sync(daily_sandbox.leave, session["room_name"], ada)
                left = await hear(listener, "participant_left")
                assert (left["source"], left["participant"]["id"]) == ("webhook", ada["id"])
                checks = (await client.get("/ready")).json()["checks"]
                assert {"name": "webhook:daily", "status": "ok", "message": ""} in checks
            assert len(await webhooks(daily_sandbox)) == 1
            assert await service.child.stop() == 0
            await logged(service.child, "webhook removed")
    assert await webhooks(daily_sandbox) == []
