"""A steady load of sessions that come and go, each answer and each event timed: is it as fast as before?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

import attrs
import trio

from drills.frame.clients import Caller, Follower
from drills.frame.report import Report
from drills.frame.world import percentile
from transport_trio.sandbox import SandboxError, SandboxHandle

PAUSE_S = 0.02
LIFE_S = 0.1
JOIN_EVERY = 4
# Generous: the machine is shared, and what is claimed is that nothing waits for what is away.
RATE_SHARE = 1 / 3
UNDER_WAY = 5  # answers that fall on the other side of a border
P99_TIMES = 5
P99_FLOOR_S = 2.5  # whatever waited for NATS would wait 5 s for an answer, or for the outage's end


@attrs.define(eq=False)
class Load:
    """Callers that create sessions and end them; somebody joins every fourth."""

    caller: Caller
    sandbox: SandboxHandle
    over: bool = False
    made: list[str] = attrs.field(factory=list)
    answers: list[tuple[float, float]] = attrs.field(factory=list)  # when asked, and how long it took

    async def run(self, callers: int) -> None:
        """Task body: until `over`, or cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(self._call)

    async def _call(self) -> None:
        while not self.over:
            asked = trio.current_time()
            session = await self.caller.create({"options": {"session_ttl_s": 3600}})
            self.answers.append((asked, trio.current_time() - asked))
            self.made.append(session["session_id"])
            if len(self.made) % JOIN_EVERY == 0:
                join = partial(self.sandbox.join, session["room_name"], name="Ada", user_id="ada")
                with suppress(SandboxError):
                    await trio.to_thread.run_sync(join)
            await trio.sleep(LIFE_S)
            asked = trio.current_time()
            await self.caller.end(session["session_id"])
            self.answers.append((asked, trio.current_time() - asked))
            await trio.sleep(PAUSE_S)


@attrs.frozen
class Pace:
    """How it went in a stretch of time."""

    answers: int
    lasted_s: float
    rest_p99_s: float
    told_p99_s: float  # from the event to the listener

    @property
    def rate(self) -> float:
        return self.answers / self.lasted_s

    def __str__(self) -> str:
        return f"{self.rate:.0f}/s, REST p99 {self.rest_p99_s * 1e3:.0f} ms, told p99 {self.told_p99_s * 1e3:.0f} ms"


def pace(load: Load, listener: Follower, since: float, until: float) -> Pace:
    """Of everything that began in this stretch of Trio's time; nothing at all looks like a standstill."""
    took = [took_s for asked, took_s in load.answers if since <= asked < until]
    told = [told_s for at, told_s in _told(listener) if since <= at < until]
    longest = until - since
    return Pace(len(took), longest, percentile(took or [longest], 0.99), percentile(told or [longest], 0.99))


def claim_full_speed(report: Report, what: str, before: Pace, during: Pace) -> None:
    """REST and WebSocket go on as fast as just before."""
    shown = f"{what}: {during}; before: {before}"
    report.figure(f"{what}: REST answers, and from an event to its listener; before that", f"{during}; {before}")
    wanted = RATE_SHARE * before.rate * during.lasted_s - UNDER_WAY
    report.holds("REST goes on at its rate", during.answers >= wanted, shown)
    report.holds("REST answers as fast", during.rest_p99_s <= _bound(before.rest_p99_s), shown)
    report.holds("listeners are told as fast", during.told_p99_s <= _bound(before.told_p99_s), shown)


def _bound(before_s: float) -> float:
    return max(P99_TIMES * before_s, P99_FLOOR_S)


def _told(listener: Follower) -> Sequence[tuple[float, float]]:
    """When each event happened, on Trio's clock, and how long it took to the listener."""
    shift = time.time() - trio.current_time()
    happened = (datetime.fromisoformat(event["time"]).timestamp() - shift for event in listener.heard)
    return [(at, heard - at) for at, heard in zip(happened, listener.heard_at, strict=True)]
