"""When a call of Daily's is repeated, how long it takes at most and what is told about it: on Trio's test clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from connectors_helpers import NOON
from trio.testing import MockClock, wait_all_tasks_blocked

from transport_trio.connectors import DAILY_LIMITS, DailyLimits, Limit
from transport_trio.connectors.daily.answers import Answer, Failed
from transport_trio.connectors.daily.client import ATTEMPTS_MAX, PAUSE_MAX_S, SLOTS, DailyClient
from transport_trio.connectors.daily.operations import (
    CREATE_ROOM,
    CREATE_TOKEN,
    CREATE_WEBHOOK,
    DELETE_ROOM,
    DELETE_ROOMS,
    EJECT,
    FIND_ROOM,
    OPERATIONS,
    PRESENCE,
    SEND_MESSAGE,
    START_LIVE_STREAM,
    START_RECORDING,
    START_TRANSCRIPTION,
    STOP_LIVE_STREAM,
    STOP_RECORDING,
    STOP_TRANSCRIPTION,
    Operation,
)
from transport_trio.connectors.health import Health
from transport_trio.connectors.retry import Backoff
from transport_trio.errors import (
    ConnectorError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnreachable,
    RoomNotFound,
)
from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus

TIMEOUT_S = 10.0
LONGEST_S = 2.5 * TIMEOUT_S

Step = Callable[[Operation], Answer]


def status(code: int, content: bytes = b"{}", retry_after_s: float | None = None) -> Step:
    return lambda op: Answer(status=code, content=content, at=NOON, retry_after_s=retry_after_s)


def unsent(op: Operation) -> Answer:
    raise Failed("unreachable", ProviderUnreachable("daily", "no connection"), again=True)


def lost(op: Operation) -> Answer:
    in_doubt = not op.repeatable
    raise Failed("unreachable", ProviderUnreachable("daily", "lost", in_doubt=in_doubt), again=not in_doubt)


@attrs.define(eq=False)
class ScriptedExchange:
    """Plays one step for each request, the last one for ever; each takes `takes_s`."""

    steps: list[Step]
    takes_s: float = 0.0
    timeout_s: float = TIMEOUT_S
    asked_at: list[float] = attrs.field(factory=list)

    async def ask(self, op: Operation, path: str, body: Any, params: Any) -> Answer:
        self.asked_at.append(trio.current_time())
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if self.takes_s >= self.timeout_s:
            await trio.sleep(self.timeout_s)
            in_doubt = not op.repeatable
            raise Failed("timeout", ProviderTimeout("daily", "late", in_doubt=in_doubt), again=not in_doubt)
        await trio.sleep(self.takes_s)
        return step(op)


@attrs.define(eq=False)
class Bench:
    exchange: ScriptedExchange
    metrics: Metrics
    client: DailyClient

    async def call(self, op: Operation) -> Any:
        return await self.client.call(op, lambda answer: answer.status, room="lobby")

    def outcomes(self, op: Operation) -> dict[str, float]:
        samples = next(iter(self.metrics.provider_requests.collect())).samples
        return {
            sample.labels["outcome"]: sample.value
            for sample in samples
            if sample.name.endswith("_total") and sample.labels["operation"] == op.name
        }


class Longest:
    """A jitter that always takes the longest wait."""

    def uniform(self, low: float, high: float) -> float:
        return high


@pytest.fixture
def bench(metrics: Metrics) -> Callable[..., Bench]:
    def build(*steps: Step, takes_s: float = 0.0, limits: DailyLimits = DAILY_LIMITS) -> Bench:
        exchange = ScriptedExchange(list(steps), takes_s)
        client = DailyClient(
            provider="daily",
            exchange=exchange,  # type: ignore[arg-type]
            health=Health("daily"),
            metrics=metrics,
            limits=limits,
            secret="a-secret-of-some-length",
            backoff=Backoff(base_s=1.0, max_s=8.0),
            jitter=Longest(),  # type: ignore[arg-type]
        )
        return Bench(exchange, metrics, client)

    return build


NewBench = Callable[..., Bench]
REPEATABLE = [op for op in OPERATIONS if op.repeatable]


def test_what_would_do_harm_a_second_time_is_not_repeated() -> None:
    assert set(OPERATIONS) - set(REPEATABLE) == {
        *(CREATE_ROOM, DELETE_ROOM, DELETE_ROOMS, CREATE_WEBHOOK),
        *(EJECT, SEND_MESSAGE),
        *(START_RECORDING, STOP_RECORDING, START_TRANSCRIPTION, STOP_TRANSCRIPTION),
        *(START_LIVE_STREAM, STOP_LIVE_STREAM),
    }


@pytest.mark.parametrize("op", REPEATABLE, ids=lambda op: op.name)
@pytest.mark.parametrize("trouble", [status(500), status(503), status(408), status(302), unsent, lost])
async def test_what_can_be_repeated_is_repeated_with_growing_waits(
    bench: NewBench, autojump_clock: MockClock, op: Operation, trouble: Step
) -> None:
    at = bench(trouble, trouble, status(200))
    assert await at.call(op) == 200
    assert at.exchange.asked_at == [0, 1, 3]
    assert at.client.health.check().status is CheckStatus.OK


@pytest.mark.parametrize("op", [CREATE_ROOM, DELETE_ROOM], ids=lambda op: op.name)
@pytest.mark.parametrize("trouble", [status(500), status(503), status(408), lost])
async def test_what_may_have_taken_effect_is_never_repeated(
    bench: NewBench, autojump_clock: MockClock, op: Operation, trouble: Step
) -> None:
    """A second creation would find its own room; a second deletion could hit the next room of that name."""
    at = bench(trouble, status(200))
    with pytest.raises(ProviderUnreachable) as caught:
        await at.call(op)
    assert caught.value.in_doubt
    assert at.exchange.asked_at == [0]


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
async def test_what_was_never_sent_is_sent_again_whatever_it_is(
    bench: NewBench, autojump_clock: MockClock, op: Operation
) -> None:
    at = bench(unsent, status(200))
    assert await at.call(op) == 200
    assert at.exchange.asked_at == [0, 1]


async def test_attempts_are_counted_and_end(bench: NewBench, autojump_clock: MockClock) -> None:
    at = bench(status(500))
    with pytest.raises(ProviderUnreachable, match="daily answered 500") as caught:
        await at.call(FIND_ROOM)
    assert not caught.value.in_doubt
    assert len(at.exchange.asked_at) == ATTEMPTS_MAX
    assert at.outcomes(FIND_ROOM) == {"server_error": ATTEMPTS_MAX}
    assert at.client.health.check().message == "daily answered 500: Internal Server Error"


async def test_who_wakes_too_late_for_another_attempt_tells_what_went_wrong(
    bench: NewBench, autojump_clock: MockClock
) -> None:
    """On a busy machine a wait ends late. There is no turn left then, but that is nobody's rate limit."""
    at = bench(status(503, retry_after_s=1.5 * TIMEOUT_S), status(200))
    with pytest.raises(ProviderUnreachable, match="daily answered 503"):
        await at.call(PRESENCE)
    assert at.client.health.check().message == "daily answered 503: Service Unavailable"


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
async def test_a_silent_daily_costs_a_call_two_and_a_half_timeouts_at_most(
    bench: NewBench, autojump_clock: MockClock, op: Operation
) -> None:
    at = bench(status(200), takes_s=TIMEOUT_S)
    with pytest.raises(ProviderTimeout) as caught:
        await at.call(op)
    assert caught.value.in_doubt is not op.repeatable
    assert len(at.exchange.asked_at) == (2 if op.repeatable else 1)
    assert trio.current_time() <= LONGEST_S


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
async def test_a_429_is_waited_out_as_told(bench: NewBench, autojump_clock: MockClock, op: Operation) -> None:
    at = bench(status(429, retry_after_s=7), status(200))
    assert await at.call(op) == 200
    assert at.exchange.asked_at == [0, 7]
    assert at.outcomes(op) == {"throttled": 1, "ok": 1}


async def test_a_429_without_a_time_backs_off(bench: NewBench, autojump_clock: MockClock) -> None:
    at = bench(status(429), status(429), status(429), status(200))
    assert await at.call(CREATE_ROOM) == 200
    assert at.exchange.asked_at == [0, 1, 3, 7]


async def test_a_429_that_outlasts_the_call_is_told_at_once_with_its_time(
    bench: NewBench, autojump_clock: MockClock
) -> None:
    at = bench(status(429, retry_after_s=40))
    with pytest.raises(ProviderThrottled) as caught:
        await at.call(CREATE_ROOM)
    assert caught.value.retry_after_s == 40
    assert not caught.value.in_doubt
    assert trio.current_time() == 0
    assert "limits our requests" in at.client.health.check().message


async def test_a_429_without_a_time_names_the_window_in_the_end(bench: NewBench, autojump_clock: MockClock) -> None:
    at = bench(status(429))
    with pytest.raises(ProviderThrottled) as caught:
        await at.call(DELETE_ROOM)
    assert caught.value.retry_after_s == DAILY_LIMITS.slow.period_s
    assert len(at.exchange.asked_at) == ATTEMPTS_MAX


async def test_a_429_holds_back_the_same_kind_of_call_and_no_other(bench: NewBench, autojump_clock: MockClock) -> None:
    at = bench(status(429, retry_after_s=7), status(200))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at.call, PRESENCE)
        await wait_all_tasks_blocked()
        await at.call(FIND_ROOM)
        assert trio.current_time() == 0
        await at.call(PRESENCE)
        assert trio.current_time() == 7


async def test_an_absurd_pause_is_not_believed_for_ever(bench: NewBench, autojump_clock: MockClock) -> None:
    at = bench(status(429, retry_after_s=3600), status(200))
    for _ in range(2):  # the second is not even sent
        with pytest.raises(ProviderThrottled):
            await at.call(PRESENCE)
    await trio.sleep(PAUSE_MAX_S)
    assert await at.call(PRESENCE) == 200
    assert len(at.exchange.asked_at) == 2


@pytest.mark.parametrize("op", [PRESENCE, DELETE_ROOM, DELETE_ROOMS], ids=lambda op: op.name)
async def test_our_own_limit_delays_counts_the_wait_and_then_refuses(
    bench: NewBench, autojump_clock: MockClock, metrics: Metrics, op: Operation
) -> None:
    one, many = Limit(count=1, period_s=10.0), Limit(count=1000, period_s=10.0)
    limits = {"default": many, "slow": many, "batch": many}
    at = bench(status(200), limits=DailyLimits(**{**limits, op.tier: one}))
    results: list[str] = []

    async def caller() -> None:
        try:
            await at.call(op)
            results.append(f"done at {trio.current_time():g}")
        except ProviderThrottled as exc:
            results.append(f"come back in {exc.retry_after_s:g}, told at {trio.current_time():g}")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(caller)
            await wait_all_tasks_blocked()
    assert results == ["done at 0", "come back in 20, told at 0", "done at 10"]
    labels = {"provider": "daily", "tier": op.tier}
    assert metrics.registry.get_sample_value("transport_provider_throttle_seconds_total", labels) == 10
    assert at.client.health.check().status is CheckStatus.OK  # Daily is well, it is we who are busy


async def test_too_many_slow_requests_are_a_timeout_that_leaves_no_doubt(
    bench: NewBench, autojump_clock: MockClock
) -> None:
    at = bench(status(200), takes_s=TIMEOUT_S)
    at.exchange.timeout_s = 1000.0
    at.exchange.takes_s = 999.0
    async with trio.open_nursery() as nursery:
        for _ in range(SLOTS):
            nursery.start_soon(at.call, CREATE_ROOM)
        await wait_all_tasks_blocked()
        at.exchange.timeout_s = TIMEOUT_S
        with pytest.raises(ProviderTimeout, match="slow") as caught:
            await at.call(CREATE_ROOM)
        assert not caught.value.in_doubt
        assert trio.current_time() == 1.5 * TIMEOUT_S
        nursery.cancel_scope.cancel()
    assert at.outcomes(CREATE_ROOM) == {"cancelled": SLOTS}


@pytest.mark.parametrize(
    ("answer", "error", "outcome"),
    [
        (status(400, b'{"error":"invalid-request-error","info":"no"}'), ProviderRejected, "rejected"),
        (status(404, b'{"error":"not-found"}'), RoomNotFound, "not_found"),
    ],
)
async def test_a_refusal_is_final_and_proves_that_daily_is_well(
    bench: NewBench, autojump_clock: MockClock, answer: Step, error: type[ConnectorError], outcome: str
) -> None:
    at = bench(answer)
    at.client.health.ill("something before")
    with pytest.raises(error):
        await at.call(FIND_ROOM)
    assert at.exchange.asked_at == [0]
    assert at.outcomes(FIND_ROOM) == {outcome: 1}
    assert at.client.health.check().status is CheckStatus.OK


async def test_requests_are_timed_without_our_own_waits(
    bench: NewBench, autojump_clock: MockClock, metrics: Metrics
) -> None:
    at = bench(status(429, retry_after_s=7), status(200), takes_s=2.0)
    await at.call(CREATE_TOKEN)
    labels = {"provider": "daily", "operation": "create_token"}
    assert metrics.registry.get_sample_value("transport_provider_seconds_sum", labels) == 4
    assert metrics.registry.get_sample_value("transport_provider_seconds_count", labels) == 2


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (status(200, b'"fine"'), "ok"),
        (status(200, b"nonsense"), "broken"),
        (status(404, b'{"error":"not-found"}'), "not_found"),
        (status(404, b"<h1>not Daily</h1>"), "broken"),
        (status(401), "rejected"),
        (status(429), "throttled"),
        (status(502, b"<h1>Bad Gateway</h1>"), "server_error"),
        (lost, "unreachable"),
    ],
)
async def test_outcomes_are_a_closed_set(bench: NewBench, autojump_clock: MockClock, step: Step, outcome: str) -> None:
    at = bench(step)
    try:
        await at.client.call(FIND_ROOM, lambda answer: answer.json)
    except ConnectorError:
        assert outcome != "ok"
    assert set(at.outcomes(FIND_ROOM)) == {outcome}
