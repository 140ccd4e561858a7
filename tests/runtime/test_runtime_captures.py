"""The whole service and what is made of a call: started by REST, told of by webhooks, fetched; no key left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from test_runtime_webhooks import hear
from trio_websocket import open_websocket_url

from service_process import logged, service_process
from transport_trio.sandbox import SandboxHandle

TEST_S = 60.0
KEY = "k3y-of-somebody"
STREAM = {"rtmp_urls": [f"rtmp://live.example/app/{KEY}"]}


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


@pytest.mark.daily_sandbox(capture_start_s=0.0, recording_ready_s=0.0, call_lag_s=0.0)
async def test_a_recording_can_be_fetched_and_a_live_stream_leaves_no_key(
    tmp_path: Path, daily_sandbox: SandboxHandle
) -> None:
    settings = {
        "DAILY_API_URL": daily_sandbox.api_url,
        "DAILY_API_KEY": daily_sandbox.api_key,
        "DAILY_DOMAIN": daily_sandbox.domain,
        "DAILY_WEBHOOK_URL": "self",
        "LOG_LEVEL": "debug",
    }
    with trio.fail_after(TEST_S):
        async with service_process(tmp_path, **settings) as service:
            await logged(service.child, "webhook registered")
            address = service.url.replace("http", "ws") + "/ws"
            async with (
                httpx.AsyncClient(base_url=service.url, timeout=TEST_S) as client,
                open_websocket_url(address) as listener,
            ):
                wanted = {"provider": "daily", "room_config": {"enable_recording": True}}
                session = (await client.post("/sessions", json=wanted)).json()
                room, path = session["room_name"], f"/sessions/{session['session_id']}"
                await trio.to_thread.run_sync(daily_sandbox.join, room, "Ada", "u1")

                recording = (await client.post(f"{path}/recordings")).json()["recording_id"]
                started = await hear(listener, "recording_started")
                assert (started["recording_id"], started["source"]) == (recording, "webhook")
                await client.post(f"{path}/recordings/{recording}/stop")
                ready = await hear(listener, "recording_ready")
                assert (ready["recording_id"], ready["source"]) == (recording, "webhook")
                link = (await client.get(f"{path}/recordings/{recording}/link")).json()["download_link"]
                assert b"ftyp" in (await client.get(link)).content

                told: list[Any] = [(await client.post(f"{path}/live-streams", json=STREAM)).json()]
                told.append(await hear(listener, "live_stream_started"))
                message = f"no route to {STREAM['rtmp_urls'][0]}"
                await trio.to_thread.run_sync(lambda: daily_sandbox.fail_capture(room, "streaming", message=message))
                told.append(await hear(listener, "live_stream_error"))
                assert (told[-1]["stream_id"], told[-1]["source"]) == (told[0]["stream_id"], "webhook")
                told.append((await client.get(f"{path}/live-streams")).json())
                assert told[-1]["live_streams"][0]["error"] == "no route to rtmp://live.example/(hidden)"
            assert await service.child.stop() == 0
    left = await trio.to_thread.run_sync(contents, tmp_path)
    assert any(b"live.example" in content for content in left)
    assert not any(KEY.encode() in content for content in left)
    assert KEY not in "\n".join(service.child.lines) + str(told)
