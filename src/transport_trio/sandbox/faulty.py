"""A request carried out with what was drawn to go wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.exchange import Answer, Request, json_answer, refusal
from transport_trio.sandbox.faults import Fault
from transport_trio.sandbox.refusals import ApiError, room_not_found, throttled

GARBAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>\xff\xfe{"
ERRORS = {
    400: "invalid-request-error",
    401: "authentication-error",
    403: "forbidden-error",
    404: "not-found",
    429: "rate-limit-error",
}


async def with_faults(
    faults: Sequence[Fault], carry_out: Callable[[], Awaitable[Answer]], request: Request, *, operation: str
) -> Answer:
    """The answer to a request, spoilt as the faults say.

    Raises:
        HungUp: during a delay. One before the effect leaves nothing behind then, a later one the effect.
    """
    spoiler = next((fault for fault in faults if fault.kind != "delay"), None)
    await _wait(faults, request, takes_effect=False)
    if spoiler is not None and not spoiler.takes_effect:
        return _instead(spoiler, request.args.get("name", ""))
    answer = await carry_out()
    await _wait(faults, request, takes_effect=True)
    return answer if spoiler is None else _spoilt(spoiler, answer, operation)


async def _wait(faults: Sequence[Fault], request: Request, *, takes_effect: bool) -> None:
    for fault in faults:
        if fault.kind == "delay" and fault.takes_effect is takes_effect:
            await request.sleep(fault.delay_s)


def _instead(fault: Fault, room_name: str) -> Answer:
    match fault.kind:
        case "throttle":
            return refusal(throttled(fault.info or "Too many requests", fault.retry_after_s))
        case "not_found":
            return refusal(room_not_found(room_name))
        case "hang_up":
            return Answer(b"", cut="answer")
        case _:
            return _error(fault)


def _spoilt(fault: Fault, answer: Answer, operation: str) -> Answer:
    match fault.kind:
        case "lost_response" | "hang_up":
            return attrs.evolve(answer, cut="answer")
        case "cut_body":
            return attrs.evolve(answer, cut="body")
        case "garbage":
            return attrs.evolve(answer, body=GARBAGE)
        case "wrong_types":
            value = jsonform.read(answer.body)
            return json_answer(jsonform.with_wrong_types(value), answer.status)
        case "empty_presence":
            return json_answer({} if operation == "all_presence" else {"total_count": 0, "data": []})
        case "half_presence":
            return _halved(answer, operation)
        case _:
            return _error(fault)


def _halved(answer: Answer, operation: str) -> Answer:
    """Presence of every second person, with the count of all."""
    value = jsonform.read(answer.body)
    if operation == "all_presence":
        return json_answer({room: people[1::2] for room, people in value.items() if people[1::2]})
    if "data" in value:
        value = {**value, "data": value["data"][1::2]}
    return json_answer(value, answer.status)


def _error(fault: Fault) -> Answer:
    error = ApiError(fault.status, ERRORS.get(fault.status, "server-error"), fault.info)
    error.retry_after_s = fault.retry_after_s
    return refusal(error)
