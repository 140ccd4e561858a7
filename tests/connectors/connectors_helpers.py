"""A connector on one side, the provider's truth on the other: the sandbox over HTTP, or the fake."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

import trio

from fakes_connector import FakeConnector
from transport_trio.connectors import DailyConnector, DailyLimits, open_daily
from transport_trio.errors import ProviderThrottled, ProviderUnreachable
from transport_trio.metrics import Metrics
from transport_trio.models import ParticipantConfig, RoomConfig, RoomPlan, TokenPlan
from transport_trio.ports import TransportConnector
from transport_trio.sandbox import SandboxHandle

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMEOUT_S = 5.0  # bounds a hanging test; no test waits for it


def daily_at(
    api_url: str,
    metrics: Metrics,
    *,
    api_key: str = "sandbox",
    domain: str = "sandbox",
    timeout_s: float = TIMEOUT_S,
    **more: Any,
) -> AbstractAsyncContextManager[DailyConnector]:
    return open_daily(api_key=api_key, domain=domain, api_url=api_url, timeout_s=timeout_s, metrics=metrics, **more)


class OpenDaily(Protocol):
    """Opens a connector to the sandbox."""

    def __call__(
        self, *, timeout_s: float = ..., rate_limits: DailyLimits = ..., api_key: str = ..., domain: str = ...
    ) -> AbstractAsyncContextManager[DailyConnector]: ...


class Provider(Protocol):
    """What the contract tests need to know of a provider beside its connector."""

    connector: TransportConnector

    def room(self, name: str) -> str: ...  # as it is called there
    def now(self) -> datetime: ...
    async def join(self, room: str, name: str | None = None, user_id: str | None = None) -> str: ...
    async def leave(self, room: str, who: str) -> None: ...
    async def messages(self, room: str) -> list[tuple[str, dict[str, Any]]]: ...  # recipient and data
    async def may_send(self, room: str, who: str) -> bool | list[str]: ...
    async def advance(self, by_s: float) -> None: ...
    async def lose_answer(self, operation: str) -> None: ...
    async def throttle(self, operation: str, retry_after_s: float) -> None: ...
    async def break_down(self, operation: str) -> None: ...
    async def recover(self) -> None: ...


class FakeProvider:
    def __init__(self) -> None:
        self._ahead_s = 0.0
        self.fake = FakeConnector(now=self.now)
        self.connector: TransportConnector = self.fake

    def room(self, name: str) -> str:
        return name

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=trio.current_time() + self._ahead_s)

    async def join(self, room: str, name: str | None = None, user_id: str | None = None) -> str:
        return self.fake.join(room, name, user_id).id

    async def leave(self, room: str, who: str) -> None:
        self.fake.leave(room, who)

    async def messages(self, room: str) -> list[tuple[str, dict[str, Any]]]:
        return [(recipient, data) for where, recipient, data in self.fake.messages if where == room]

    async def may_send(self, room: str, who: str) -> bool | list[str]:
        change = self.fake.permitted[room, who]
        return True if change.sending is None else change.sending.can_send_video

    async def advance(self, by_s: float) -> None:
        self._ahead_s += by_s

    async def lose_answer(self, operation: str) -> None:
        self.fake.fail(operation, ProviderUnreachable("daily", "lost", in_doubt=True), takes_effect=True)

    async def throttle(self, operation: str, retry_after_s: float) -> None:
        self.fake.fail(operation, ProviderThrottled("daily", retry_after_s))

    async def break_down(self, operation: str) -> None:
        self.fake.fail(operation, ProviderUnreachable("daily", "down"), times=None)

    async def recover(self) -> None:
        self.fake.recover()


# The sandbox's names for what we call otherwise.
SANDBOX_OPERATIONS = {
    "find_room": "get_room",
    "create_token": "create_meeting_token",
    "presence": "room_presence",
    "send_message": "send_app_message",
    "delete_rooms": "batch_delete_rooms",
    "check": "get_domain",
}


class SandboxProvider:
    """The sandbox's handle blocks, so it is spoken to from threads."""

    def __init__(self, connector: TransportConnector, sandbox: SandboxHandle) -> None:
        self.connector = connector
        self.sandbox = sandbox

    def room(self, name: str) -> str:
        return name

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.sandbox.now(), UTC)

    async def join(self, room: str, name: str | None = None, user_id: str | None = None) -> str:
        joined = await self._do(partial(self.sandbox.join, room, name=name, user_id=user_id))
        return str(joined["id"])

    async def leave(self, room: str, who: str) -> None:
        await self._do(partial(self.sandbox.leave, room, who))

    async def messages(self, room: str) -> list[tuple[str, dict[str, Any]]]:
        sent = await self._do(partial(self.sandbox.messages, room))
        return [(one["recipient"], one["data"]) for one in sent]

    async def may_send(self, room: str, who: str) -> bool | list[str]:
        people = await self._do(partial(self.sandbox.participants, room))
        [may] = [one["permissions"]["canSend"] for one in people if one["id"] == who]
        told: bool | list[str] = may
        return told

    async def advance(self, by_s: float) -> None:
        await self._do(partial(self.sandbox.advance, by_s))

    async def lose_answer(self, operation: str) -> None:
        await self._fault("lost_response", operation, count=1)

    async def throttle(self, operation: str, retry_after_s: float) -> None:
        await self._fault("throttle", operation, retry_after_s=retry_after_s, count=1)

    async def break_down(self, operation: str) -> None:
        await self._fault("error", operation, status=503)

    async def recover(self) -> None:
        await self._do(self.sandbox.set_faults)

    async def _fault(self, kind: str, operation: str, **options: Any) -> None:
        operation = SANDBOX_OPERATIONS.get(operation, operation)
        await self._do(partial(self.sandbox.add_fault, kind, operation=operation, **options))

    async def _do(self, call: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(call)


def room_plan(name: str, expires_at: datetime, *, options: dict[str, Any] | None = None, **config: Any) -> RoomPlan:
    return RoomPlan(
        name=name,
        config=RoomConfig(name=name, **config),
        expires_at=expires_at.replace(microsecond=0),
        provider_options=options or {},
    )


def token_plan(room: RoomPlan, **participant: Any) -> TokenPlan:
    return TokenPlan(
        room_name=room.name,
        room_config=room.config,
        participant=ParticipantConfig(**participant),
        expires_at=room.expires_at,
    )
