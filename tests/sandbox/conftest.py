"""Clients for the sandbox: over HTTP as anybody's code would speak to it, and straight to its core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sandbox_studio import MakeStudio, Studio

from transport_trio.sandbox import SandboxConfig, SandboxHandle
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.operations import ApiRequest
from transport_trio.sandbox.routes import OPERATIONS

START = 1_800_000_000.0


@pytest.fixture
def api(daily_sandbox: SandboxHandle) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {daily_sandbox.api_key}"}
    # verify: there is no TLS here, and a context for it takes longer than most tests.
    with httpx.Client(base_url=daily_sandbox.api_url, headers=headers, trust_env=False, verify=False) as client:
        yield client


class Clock:
    """The wall clock of a test."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time

    def pass_s(self, seconds: float) -> None:
        self.time += seconds


class Core:
    """A sandbox without HTTP, under a clock that only the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.sandbox = Sandbox(SandboxConfig(**settings), self.clock)
        self._operations = {operation.__name__: operation for _, _, operation in OPERATIONS}

    def do(
        self, operation: str, body: dict[str, Any] | None = None, /, *, query: dict[str, str] | None = None, **path: str
    ) -> Any:
        """Carry out one of Daily's operations as an authenticated request would."""
        now = self.sandbox.settle()
        request = ApiRequest(now=now, path=path, query=query or {}, body=body or {})
        return self._operations[operation](self.sandbox, request)

    def token(self, **properties: Any) -> str:
        token: str = self.do("create_meeting_token", {"properties": properties})["token"]
        return token

    def join(self, room: str, **properties: Any) -> str:
        """Enter with a token for this room that holds the properties; the session id."""
        return self.enter(room, self.token(room_name=room, **properties))

    def enter(self, room: str, token: str | None = None, user_name: str | None = None) -> str:
        return self.sandbox.join(room, token, user_name, self.sandbox.settle()).id

    def shown(self, room: str) -> list[str]:
        return [entry["id"] for entry in self.do("room_presence", name=room)["data"]]


@pytest.fixture
def make_core() -> Callable[..., Core]:
    return Core


@pytest.fixture
def make_studio(make_core: Callable[..., Core]) -> MakeStudio:
    def make(properties: dict[str, Any] | None = None, *, events: str = "recording", **settings: Any) -> Studio:
        return Studio(make_core(**settings), events, **(properties or {}))

    return make


@pytest.fixture
def studio(make_studio: MakeStudio) -> Studio:
    return make_studio()
