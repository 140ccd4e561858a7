"""What is claimed while a provider fails and after: right errors in time, no storm, nobody harmed, quick recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.world import World, until
from drills.parts.provider_parts import (
    ATTEMPTS_MAX,
    COME_BACK_S,
    LIVE,
    MADE,
    OK,
    POLL_S,
    SLACK_S,
    THROTTLED,
    TIMEOUT_S,
    Bystanders,
    Readiness,
    Trouble,
    at_sandbox,
    busiest,
    looks_max,
    outcome_of,
    requests_of,
    utc_now,
)

AWAY_S = 8.0
BACKOFF_MAX_S = 60.0  # of pollers and of the reaper
CALL, CREATION = 2.5, 3.0  # timeouts that a call of the provider and a whole creation may take


@attrs.frozen
class Case:
    """A world in which one scenario plays, and the claims that several of them make."""

    report: Report
    world: World
    caller: Caller
    bystanders: Bystanders
    readiness: Readiness
    short: bool

    async def ask(self, method: str, path: str, **options: Any) -> tuple[Any, float]:
        """The answer to a caller's request, and how long it took."""
        began = trio.current_time()
        answer = await self.caller.ask(method, path, **options)
        return answer, trio.current_time() - began

    async def create(self, **options: Any) -> tuple[Any, float]:
        return await self.ask("POST", "/sessions", body={"provider": "daily"}, **options)

    async def check_recovery(self, name: str, failing_s: float) -> None:
        """Waits double: the next look comes within about as long as the fault has lasted, and within a minute."""
        bound_s = min(2 * POLL_S + failing_s, BACKOFF_MAX_S) + CALL * TIMEOUT_S + COME_BACK_S
        took_s = await self.bystanders.wait_looked_at(utc_now(), bound_s + SLACK_S)
        self.report.none(
            "rooms are looked into again within the length of the fault", [name] if took_s is None else [], of=1
        )
        fine = await until(partial(self.said, OK), 2 * SLACK_S)
        self.report.none("/ready is ok when the provider is back", [] if fine else [name], of=1)
        self.report.none("no session stays in Error", await self.bystanders.statuses() - {"Active"}, of=LIVE)

    def check_answer(self, what: str, answer: Any, wanted: tuple[int, str], took_s: float, timeouts: float) -> None:
        got = outcome_of(answer)
        self.report.none("each fault gives the caller its error", [] if got == wanted else [f"{what}: {got}"], of=1)
        late = took_s > timeouts * TIMEOUT_S + SLACK_S
        self.report.none("each answer comes within its deadline", [f"{what}: {took_s:.1f} s"] if late else [], of=1)
        if got == THROTTLED:
            said = int(answer.headers.get("Retry-After", 0))
            self.report.none("who is throttled is told when to come back", [what] if said < 1 else [], of=1)
        self.report.count("calls that met a fault", 1)

    def check_delete(self, what: str, answer: Any, took_s: float) -> None:
        self.report.none(
            "DELETE succeeds whatever the provider does", [] if outcome_of(answer) == (200, "") else [what], of=1
        )
        self.report.none("DELETE waits for no provider", [f"{what}: {took_s:.1f} s"] if took_s > SLACK_S else [], of=1)

    async def check_back(self, what: str, trouble: Trouble) -> None:
        """No circuit stays open: whoever asks first after the fault is served."""
        await self.come_back(trouble)
        answer = await self.caller.ask("POST", "/sessions", {"provider": "daily"})
        self.report.none(
            "the first creation after a fault succeeds", [] if outcome_of(answer) == MADE else [what], of=1
        )

    async def come_back(self, trouble: Trouble) -> None:
        if "retry_after_s" in trouble.fault:
            await trio.sleep(COME_BACK_S)

    async def check_metric(self, trouble: Trouble, operation: str, name: str) -> None:
        names = {"create_meeting_token": "create_token"}
        labels = f'operation="{names.get(operation, operation)}",outcome="{trouble.outcome}",provider="daily"'
        seen = await self.world.service.metric(f"transport_provider_requests_total{{{labels}}}")
        self.report.none("a metric counts each fault under its outcome", [] if seen else [f"{operation}, {name}"], of=1)

    @asynccontextmanager
    async def counting_looks(self, name: str, outcome: str) -> AsyncIterator[None]:
        """No retry storm: a poller waits twice as long after each failure, and a call is four requests at most."""
        askers = await self.world.service.metric("active_sessions")
        began, before = trio.current_time(), await requests_of(self.world, "presence", failed_only=True)
        yield
        lasted_s = trio.current_time() - began
        asked = await requests_of(self.world, "presence", failed_only=True) - before
        attempts = 1 if outcome in {"rejected", "not_found"} else ATTEMPTS_MAX
        looks = lasted_s / POLL_S + 2 if outcome == "not_found" else looks_max(lasted_s, 2 * POLL_S)
        most = attempts * looks * askers
        seen = f"{name}: {asked:.0f} requests of {askers:.0f} sessions in {lasted_s:.1f} s, at most {most:.0f}"
        self.report.none("live sessions ask less and less often", [seen] if asked > most else [], of=1)
        if lasted_s >= AWAY_S:
            self.report.figure(f"{name}: requests of {askers:.0f} live sessions in {lasted_s:.0f} s", asked)

    def check_limits(self, world: str, requests: list[dict[str, Any]]) -> None:
        """Daily's 100 in 5 s, over half a minute: a busy machine has seconds come late and in one."""
        by_operation: dict[str, list[dict[str, Any]]] = {}
        for request in requests:
            by_operation.setdefault(request["operation"], []).append(request)
        over = [f"{world}: {name}" for name, own in by_operation.items() if busiest(own, 30.0) > 600]
        self.report.none("no kind of request goes past Daily's limits", over, of=len(by_operation))

    async def said(self, status: str) -> bool:
        return (await self.world.service.checks())["provider:daily"] == status

    async def nothing_owed(self) -> bool:
        return await self.world.service.metric("transport_rooms_owed") == 0

    async def answers(self) -> bool:
        try:
            await at_sandbox(self.world, "now")
        except OSError:
            return False
        return True

    async def check_rooms(self, within_s: float = BACKOFF_MAX_S) -> None:
        """No room is left over, within the reaper's longest back-off."""

        async def rooms_left() -> set[str]:
            live = {one["room_name"] for one in await self.caller.sessions() if one["status"] != "Ended"}
            return set(await trio.to_thread.run_sync(self.world.rooms)) - live

        async def none_left() -> bool:
            return not await rooms_left()

        await until(none_left, within_s, 0.2)
        self.report.none("no room is left over", await rooms_left(), of=len(await self.caller.sessions()))
