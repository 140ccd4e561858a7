"""A call of Daily's API: its turn, its retries, its time, and what becomes known of Daily's health by it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import attrs
import trio

from transport_trio.connectors.daily.answers import Answer, Failed, understand
from transport_trio.connectors.daily.exchange import Exchange
from transport_trio.connectors.daily.operations import OPERATIONS, DailyLimits, Operation
from transport_trio.connectors.health import Health
from transport_trio.connectors.ratelimit import Lane, Limit, LineTooLong, SlotsTaken
from transport_trio.connectors.retry import Backoff
from transport_trio.errors import ConnectorError, ProviderThrottled, ProviderTimeout
from transport_trio.metrics import Metrics

T = TypeVar("T")

# Waits (for our rate limit, between attempts) end after this many timeouts; the attempt that follows them takes at
# most one more. So a call takes at most 2.5 timeouts.
PATIENCE = 1.5
ATTEMPTS_MAX = 4
# Requests of one kind under way at once. Each kind has its own, so that a slow one cannot starve the others.
SLOTS = 16
# Reading more would hold everybody else up for milliseconds: a thread does.
LARGE_BYTES = 256 * 1024
# After a longer pause we ask again in any case: the provider's figure may have been wrong.
PAUSE_MAX_S = 60.0


@attrs.define(eq=False, kw_only=True)
class DailyClient:
    provider: str
    exchange: Exchange
    health: Health
    metrics: Metrics
    limits: DailyLimits
    secret: str = attrs.field(repr=False)
    backoff: Backoff = attrs.field(factory=Backoff)
    # Spreads retries; no secret comes from it.
    jitter: random.Random = attrs.field(factory=random.Random)
    _lanes: dict[str, Lane] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lanes = {op.name: Lane(self._limit(op), SLOTS) for op in OPERATIONS}

    async def call(
        self,
        op: Operation,
        read: Callable[[Answer], T],
        *,
        room: str = "",
        item: str = "",
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> T:
        """What `read` makes of the answer; `read` may raise `BrokenAnswer`.

        Raises:
            RoomNotFound: the operation is one of a room, and there is none.
            ConnectorError: its other kinds; `in_doubt` when an unrepeatable request may have taken effect.
        """
        latest = trio.current_time() + PATIENCE * self.exchange.timeout_s
        failures = 0
        while True:
            try:
                async with self._turn(op, latest):
                    value = await self._attempt(op, read, room, item, body, params)
            except Failed as failed:
                failures += 1
                await self._again_or_raise(op, failed, failures, latest)
            else:
                self.health.well()
                return value

    def expected_wait_s(self, op: Operation) -> float:
        """How long a call made now would wait for our rate limit."""
        return self._lanes[op.name].expected_wait_s()

    @asynccontextmanager
    async def _turn(self, op: Operation, latest: float) -> AsyncIterator[None]:
        lane = self._lanes[op.name]
        waiting_since = trio.current_time()
        try:
            async with lane.turn(latest):
                self._count_wait(op, waiting_since)
                yield
        except LineTooLong as exc:
            self._count_wait(op, waiting_since)
            raise ProviderThrottled(self.provider, exc.wait_s) from exc
        except SlotsTaken as exc:
            self._count_wait(op, waiting_since)
            raise ProviderTimeout(
                self.provider, f"{self.provider} is slow: {SLOTS} requests of the same kind wait"
            ) from exc

    async def _attempt(
        self,
        op: Operation,
        read: Callable[[Answer], T],
        room: str,
        item: str,
        body: dict[str, Any] | None,
        params: dict[str, str] | None,
    ) -> T:
        started = trio.current_time()
        outcome = "cancelled"
        try:
            path = op.path.format(room=quote(room, safe=""), item=quote(item, safe=""))
            answer = await self.exchange.ask(op, path, body, params)
            meaning = partial(understand, op, answer, read, room=room, secret=self.secret, provider=self.provider)
            value = await trio.to_thread.run_sync(meaning) if len(answer.content) > LARGE_BYTES else meaning()
            outcome = "ok"
        except Failed as failed:
            outcome = failed.outcome
            raise
        finally:
            self.metrics.provider_requests.labels(provider=self.provider, operation=op.name, outcome=outcome).inc()
            self.metrics.provider_seconds.labels(provider=self.provider, operation=op.name).observe(
                trio.current_time() - started
            )
        return value

    async def _again_or_raise(self, op: Operation, failed: Failed, failures: int, latest: float) -> None:
        """Return when it is time for another attempt; raise when there shall be none."""
        wait_s = failed.retry_after_s
        if wait_s is None:
            wait_s = self.backoff.delay_s(failures, self.jitter)
        throttled = isinstance(failed.error, ProviderThrottled)
        if throttled:
            self._lanes[op.name].pause(min(wait_s, PAUSE_MAX_S))
        again = failed.again and failures < ATTEMPTS_MAX and trio.current_time() + wait_s <= latest
        if again and not throttled:  # else the lane makes us wait, together with those behind us
            await trio.sleep(wait_s)
            again = trio.current_time() < latest  # a busy machine wakes us late
        if not again:
            self._tell(failed)
            raise self._final(op, failed) from failed.__cause__

    def _final(self, op: Operation, failed: Failed) -> ConnectorError:
        if not isinstance(failed.error, ProviderThrottled) or failed.retry_after_s is not None:
            return failed.error
        # Daily says nothing about when; its window will have passed by then.
        return ProviderThrottled(self.provider, self._limit(op).period_s)

    def _tell(self, failed: Failed) -> None:
        if failed.trouble:
            self.health.ill(failed.trouble)
        else:
            self.health.well()

    def _limit(self, op: Operation) -> Limit:
        tiers = {"slow": self.limits.slow, "start": self.limits.start, "batch": self.limits.batch}
        return tiers.get(op.tier, self.limits.default)

    def _count_wait(self, op: Operation, since: float) -> None:
        waited_s = trio.current_time() - since
        self.metrics.provider_throttle_seconds.labels(provider=self.provider, tier=op.tier).inc(waited_s)
