"""A failing provider: its faults, what callers are promised then, bystanders, counts of requests."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.world import World, http_client, open_world, until

TIMEOUT_S = 3.0
COME_BACK_S = 5  # more than a call waits for (1.5 timeouts), so that its caller is told
POLL_S = 0.5
LIVE = 4  # bystanders in each world
SLACK_S = 5.0  # for a busy machine; the product's own bounds are counted in timeouts
ATTEMPTS_MAX = 4  # of one call: ADR 21
REFUSED, THROTTLED = (502, "provider_rejected"), (503, "provider_throttled")
AWAY, LATE, MADE = (503, "provider_unreachable"), (504, "provider_timeout"), (201, "")
DEGRADED, OK = "degraded", "ok"


@attrs.frozen
class Trouble:
    """A fault, what a creation gets when it strikes `create_room` and when it strikes `create_meeting_token`.

    `outcome` is its label in `transport_provider_requests_total`, `ready` what `/ready` says while all looks meet it.
    """

    fault: dict[str, Any]
    room: tuple[int, str]
    token: tuple[int, str]
    outcome: str
    ready: str = DEGRADED


def _error(status: int) -> dict[str, Any]:
    return {"kind": "error", "status": status}


# A refusal of what was asked (400, 404) says nothing against the provider, so `/ready` stays as it is.
TROUBLES = {
    "400": Trouble(_error(400), REFUSED, REFUSED, "rejected", OK),
    "401": Trouble(_error(401), REFUSED, REFUSED, "rejected"),
    "403": Trouble(_error(403), REFUSED, REFUSED, "rejected"),
    "404": Trouble(_error(404), REFUSED, REFUSED, "rejected", OK),
    "429": Trouble({"kind": "throttle"}, THROTTLED, THROTTLED, "throttled"),
    "429 with Retry-After": Trouble(
        {"kind": "throttle", "retry_after_s": COME_BACK_S}, THROTTLED, THROTTLED, "throttled"
    ),
    "500": Trouble(_error(500), AWAY, AWAY, "server_error"),
    "503": Trouble(_error(503), AWAY, AWAY, "server_error"),
    "500 after the effect": Trouble({**_error(500), "takes_effect": True}, MADE, AWAY, "server_error"),
    "cut in the middle": Trouble({"kind": "cut_body"}, MADE, AWAY, "unreachable"),
    "hang-up": Trouble({"kind": "hang_up"}, AWAY, AWAY, "unreachable"),
    "lost answer": Trouble({"kind": "lost_response"}, MADE, AWAY, "unreachable"),
    "garbage": Trouble({"kind": "garbage"}, MADE, AWAY, "broken"),
    "wrong types": Trouble({"kind": "wrong_types"}, MADE, AWAY, "broken"),
    "slower than the timeout": Trouble({"kind": "delay", "delay_s": 2 * TIMEOUT_S}, LATE, LATE, "timeout"),
    "slower, after the effect": Trouble(
        {"kind": "delay", "delay_s": 2 * TIMEOUT_S, "takes_effect": True}, MADE, LATE, "timeout"
    ),
    "slow": Trouble({"kind": "delay", "delay_s": TIMEOUT_S / 4}, MADE, MADE, "ok", OK),
}


@asynccontextmanager
async def started_world(
    folder: Path, prepare: Callable[[World], None] = lambda world: None, **options: Any
) -> AsyncIterator[World]:
    """A world without a bus whose service is running. Many that start at once would make each start slow."""
    async with AsyncExitStack() as stack:
        async with _starting:
            world = await stack.enter_async_context(open_world(folder, nats=False, **options))
            prepare(world)
            await world.service.start()
        yield world


_starting = trio.CapacityLimiter(2)


async def at_sandbox(world: World, call: str, *args: Any, **options: Any) -> Any:
    """A call of the sandbox's control, which must not hold up what is measured beside it."""
    return await trio.to_thread.run_sync(partial(getattr(world.sandbox, call), *args, **options))


async def set_fault(world: World, trouble: Trouble, *operations: str) -> None:
    await at_sandbox(world, "set_faults", *({**trouble.fault, "operation": each} for each in operations))


@attrs.define(eq=False)
class Bystanders:
    """Live sessions with one person in each, who stays. Whatever the provider does, none ends and nobody leaves."""

    world: World
    caller: Caller
    rooms: dict[str, str] = attrs.field(factory=dict)  # by session

    async def come(self, count: int) -> None:
        for _ in range(count):
            made = await self.caller.create({"options": {"session_ttl_s": 3600}})
            self.rooms[made["session_id"]] = made["room_name"]
            await at_sandbox(self.world, "join", made["room_name"], name="Ada", user_id="ada")
        assert await until(self._all_in, 30.0)

    async def wait_looked_at(self, since: datetime, within_s: float) -> float | None:
        """Seconds until every room was looked into after `since`; None when that took too long."""
        began = trio.current_time()

        async def looked_at() -> bool:
            seen = [one["presence_checked_at"] for one in await self._sessions()]
            return all(each is not None and datetime.fromisoformat(each) > since for each in seen)

        return trio.current_time() - began if await until(looked_at, within_s) else None

    async def statuses(self) -> set[str]:
        return {one["status"] for one in await self._sessions()}

    async def check(self, report: Report) -> None:
        own = [event for event in await self.caller.events() if event["session_id"] in self.rooms]
        ends = [event["session_id"] for event in own if event["type"] == "session_ended"]
        report.none("no live session was ended", ends, of=len(self.rooms))
        left = [event["session_id"] for event in own if event["type"] == "participant_left"]
        report.none("nobody was told to have left", left, of=len(self.rooms))

    async def _sessions(self) -> list[dict[str, Any]]:
        return [await self.caller.get(f"/sessions/{session_id}") for session_id in self.rooms]

    async def _all_in(self) -> bool:
        return all(len(one["participants"]) == 1 for one in await self._sessions())


@attrs.define(eq=False)
class Readiness:
    """Asks `/ready` again and again; what it said of the provider, and with which status."""

    url: str
    said: list[tuple[float, int, str]] = attrs.field(factory=list)

    async def run(self) -> None:
        """Task body: asks until cancelled."""
        async with http_client(self.url) as http:
            while True:
                answer = await http.get("/ready")
                checks = {each["name"]: each for each in answer.json()["checks"]}
                provider = checks["provider:daily"]
                told = provider["status"] if provider["message"] or provider["status"] == OK else "without a reason"
                self.said.append((trio.current_time(), answer.status_code, told))
                await trio.sleep(0.2)

    def since(self, at: float) -> set[str]:
        """What it has said of the provider from then on."""
        return {told for when, _, told in self.said if when >= at}

    def check(self, report: Report) -> None:
        others = [status for _, status, _ in self.said if status != 200]
        report.none("/ready is 200 whatever the provider does", others, of=len(self.said))


def outcome_of(answer: Any) -> tuple[int, str]:
    if answer is None:
        return 0, "no answer"
    return answer.status_code, answer.json().get("code", "") if answer.status_code >= 400 else ""


def looks_max(for_s: float, first_wait_s: float) -> int:
    """How often somebody looks in that time who doubles a wait of at least 0.8 times the figure each time."""
    return 2 + math.floor(math.log2(for_s / (0.8 * first_wait_s) + 1))


def busiest(requests: Iterable[dict[str, Any]], period_s: float) -> int:
    """The most requests in any such period."""
    times = sorted(request["time"] for request in requests)
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] >= period_s:
            first += 1
        most = max(most, last - first + 1)
    return most


async def requests_of(world: World, operation: str, *, failed_only: bool = False) -> float:
    """Requests of this kind that the service has made, whether or not they reached anybody."""
    shown = await world.service.metrics()
    return sum(
        value
        for name, value in shown.items()
        if name.startswith("transport_provider_requests_total")
        and f'operation="{operation}"' in name
        and not (failed_only and 'outcome="ok"' in name)
    )


def utc_now() -> datetime:
    return datetime.now(UTC)
