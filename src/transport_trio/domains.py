"""The connectors to Daily, one for each domain, side by side: what one of them waits for holds up no other."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial

import trio

from transport_trio.concurrency import SystemClock, every
from transport_trio.connectors import DAILY_LIMITS, NO_LIMITS, DailyConnector, open_daily
from transport_trio.errors import ConnectorError, SettingsError
from transport_trio.metrics import Metrics
from transport_trio.models import Check
from transport_trio.settings import Settings

log = logging.getLogger(__name__)

# Between two questions to a provider whether key and domain are right.
PROVIDER_CHECK_S = 30.0
# How long a start waits to be told the time: a wrong wall clock would end sessions before their time.
START_ASK_S = 2.0


class Domains:
    """The open connectors."""

    def __init__(self, connectors: Sequence[DailyConnector]) -> None:
        self.connectors = tuple(connectors)

    def checks(self) -> list[Check]:
        """The lines of `/ready` that tell of Daily."""
        return [check for daily in self.connectors for check in daily.checks()]

    async def prepare(self, clock: SystemClock) -> None:
        """Settle the time and prove that we sign tokens as Daily does, as far as that is done within `START_ASK_S`."""
        with trio.move_on_after(START_ASK_S):
            await clock.settle(self.tell_time)
            async with trio.open_nursery() as nursery:
                for daily in self.connectors:
                    nursery.start_soon(daily.prove_signing)

    async def tell_time(self) -> datetime | None:
        """Daily's time, or None where it does not tell: the first answer of any domain.

        Raises:
            ConnectorError: none has answered.
        """
        return await first_answer([daily.check for daily in self.connectors])

    @asynccontextmanager
    async def watch(self, clock: SystemClock) -> AsyncIterator[None]:
        """Keep an eye on our clock and on each domain, whether or not a session does."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.watch, self.tell_time)
            for daily in self.connectors:
                nursery.start_soon(every, PROVIDER_CHECK_S, partial(_look, daily))
                nursery.start_soon(daily.visit_rooms)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel(reason="the service is stopping")

    async def keep_webhooks(self, own_url: str, stop: trio.Event) -> None:
        """Have Daily push from each domain that is meant to, until `stop`; `own_url` is where this process listens."""
        async with trio.open_nursery() as nursery:
            for daily in self.connectors:
                nursery.start_soon(daily.keep_webhook, f"{own_url}/webhooks/{daily.name}", stop)


async def first_answer(ask: Sequence[Callable[[], Awaitable[datetime | None]]]) -> datetime | None:
    """What the first of them says that says anything; the others are cancelled.

    Raises:
        ConnectorError: the last one's, when all have failed.
    """
    answers: list[datetime | None] = []
    failures: list[ConnectorError] = []

    async def one(question: Callable[[], Awaitable[datetime | None]], scope: trio.CancelScope) -> None:
        try:
            answers.append(await question())
        except ConnectorError as exc:
            failures.append(exc)
        else:
            scope.cancel(reason="somebody has answered")

    async with trio.open_nursery() as nursery:
        for question in ask:
            nursery.start_soon(one, question, nursery.cancel_scope)
    if answers:
        return answers[0]
    raise failures[-1]


async def _look(daily: DailyConnector) -> None:
    try:
        await daily.check()
        await daily.prove_signing()
    except ConnectorError as exc:
        log.debug("provider check failed", extra={"provider": daily.name, "error": str(exc)})


@asynccontextmanager
async def open_domains(settings: Settings, metrics: Metrics, now: Callable[[], datetime]) -> AsyncIterator[Domains]:
    """A connector for each that DAILY_CONNECTORS names; no request is made by opening them.

    Raises:
        SettingsError: one has no key or no domain.
    """
    missing = settings.missing_variables()
    if missing:
        raise SettingsError(f"{' and '.join(missing)} must be set")
    for unclaimed in settings.unclaimed:
        log.warning("a variable is passed over", extra={"variable": unclaimed})
    async with AsyncExitStack() as stack:
        connectors = []
        for name in settings.daily_connectors:
            opening = _open(name, settings.of(name), metrics, now)
            connectors.append(await stack.enter_async_context(opening))
        yield Domains(connectors)


@asynccontextmanager
async def _open(
    name: str, settings: Settings, metrics: Metrics, now: Callable[[], datetime]
) -> AsyncIterator[DailyConnector]:
    assert settings.daily_api_key is not None
    assert settings.daily_domain is not None
    async with open_daily(
        name=name,
        api_key=settings.daily_api_key,
        domain=settings.daily_domain,
        api_url=settings.daily_api_url,
        timeout_s=settings.provider_timeout_s,
        metrics=metrics,
        rate_limits=DAILY_LIMITS if settings.daily_rate_limits else NO_LIMITS,
        webhook_url=settings.daily_webhook_url,
        webhook_secret=settings.daily_webhook_hmac,
        poll_s=settings.presence_poll_s,
        shared_presence_rooms=settings.daily_shared_presence_rooms,
        sign_tokens=settings.daily_sign_tokens,
        now=now,
    ) as daily:
        yield daily
