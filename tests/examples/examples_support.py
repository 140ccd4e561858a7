"""Running an example, and asking the service behind it."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import httpx

from service_process import Service

EXAMPLES = Path(__file__).parents[2] / "examples"
ANSWER_S = 30.0


class OpenService(Protocol):
    """Starts a service in front of the sandbox; starting one again goes on with the same journal."""

    def __call__(
        self, *args: str, api_key: str | None = ..., **settings: str
    ) -> AbstractAsyncContextManager[Service]: ...


def example(name: str, *args: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *args]


async def create_session(service: Service, **request: Any) -> dict[str, Any]:
    return await ask(service, "POST", "/sessions", {"provider": "daily", **request})


async def session_in(service: Service, room_name: str) -> dict[str, Any]:
    """The session of this room, with its participants."""
    sessions = (await ask(service, "GET", "/sessions"))["sessions"]
    (session_id,) = [session["session_id"] for session in sessions if session["room_name"] == room_name]
    return await ask(service, "GET", f"/sessions/{session_id}")


async def end_session(service: Service, session_id: str) -> None:
    await ask(service, "DELETE", f"/sessions/{session_id}")


async def ask(service: Service, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers, trust_env=False) as client:
        answer = await client.request(method, path, json=body, timeout=ANSWER_S)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found
