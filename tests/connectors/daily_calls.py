"""Every call of the connector to Daily, with an answer that it takes, and a script to play answers from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from connectors_helpers import NOON, daily_at, room_plan, token_plan
from scripted_http import Play, ScriptedServer, answer, play

from transport_trio.connectors import DailyConnector
from transport_trio.metrics import Metrics
from transport_trio.models import CaptureKind, CaptureOptions, PermissionsChange, Room

TEST_S = 60.0
SHORT_S = 0.3  # for tests in which somebody must time out
KEY = "0123456789abcdef0123456789abcdef"
PLAN = room_plan("lobby", NOON)
TOKEN = token_plan(PLAN)
ROOM = {"id": "r1", "name": "lobby", "url": "https://mine.daily.co/lobby", "config": {"exp": int(NOON.timestamp())}}
NOT_FOUND = answer(404, {"error": "not-found", "info": "room lobby not found"})
SENT = {"status": "sent"}
RECORDING = CaptureKind.RECORDING
EMPTY = {"total_count": 0, "data": []}

Call = Callable[[DailyConnector], Awaitable[Any]]
# Every call of the port, with an answer that it takes.
CALLS: dict[str, tuple[Call, Any]] = {
    "create_room": (lambda daily: daily.create_room(PLAN), ROOM),
    "find_room": (lambda daily: daily.find_room("lobby"), ROOM),
    "extend_room": (lambda daily: daily.extend_room("lobby", NOON), ROOM),
    "delete_room": (lambda daily: daily.delete_room("lobby"), {"deleted": True, "name": "lobby"}),
    "list_rooms": (lambda daily: daily.list_rooms("r1"), EMPTY),
    "delete_rooms": (lambda daily: daily.delete_rooms(["lobby", "bar"]), {"deleted_count": 2}),
    "count_people": (lambda daily: daily.count_people("lobby"), EMPTY),
    "create_token": (lambda daily: daily.create_token(TOKEN), {"token": "eyJ"}),
    "presence": (lambda daily: daily.presence("lobby"), EMPTY),
    "eject": (
        lambda daily: daily.eject("lobby", participant_ids=["p1"], user_ids=[], ban=False),
        {"ejectedIds": ["p1"]},
    ),
    "update_permissions": (
        lambda daily: daily.update_permissions("lobby", "*", PermissionsChange(can_admin=True), PLAN.config),
        {"status": "sent"},
    ),
    "send_message": (lambda daily: daily.send_message("lobby", "*", {"say": "hi"}), {"sent": "true"}),
    "start_capture": (lambda daily: daily.start_capture("lobby", RECORDING, "i1", CaptureOptions()), SENT),
    "update_capture": (lambda daily: daily.update_capture("lobby", RECORDING, "i1", CaptureOptions()), SENT),
    "stop_capture": (lambda daily: daily.stop_capture("lobby", RECORDING, "i1"), SENT),
    "captures": (lambda daily: daily.captures(Room(name="lobby", url="x"), RECORDING), EMPTY),
    "find_capture": (lambda daily: daily.find_capture(RECORDING, "r1"), {"id": "r1", "status": "finished"}),
    "capture_link": (lambda daily: daily.capture_link(RECORDING, "r1", None), {"download_link": "https://x"}),
    "delete_capture": (lambda daily: daily.delete_capture(RECORDING, "r1"), {"deleted": True, "id": "r1"}),
    "visits": (lambda daily: daily.visits("lobby", NOON, NOON), EMPTY),
    "check": (lambda daily: daily.check(), {"domain_name": "mine"}),
}
EVERY_CALL = pytest.mark.parametrize("name", list(CALLS))


class Scripted:
    """A server with a script, and a connector to it that takes the server's answers for Daily's."""

    def __init__(self, nursery: trio.Nursery, metrics: Metrics, stack: AsyncExitStack) -> None:
        self._nursery, self._metrics, self._stack = nursery, metrics, stack

    async def __call__(
        self, *script: Play, timeout_s: float = 5.0, **more: Any
    ) -> tuple[DailyConnector, ScriptedServer]:
        server = await play(self._nursery, *script)
        opening = daily_at(server.url, self._metrics, api_key=KEY, domain="Mine", timeout_s=timeout_s, **more)
        return await self._stack.enter_async_context(opening), server
