"""A request carried out with what was drawn to go wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from quart import Response

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.edge import CUT_HEADER
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


def json_response(value: Any, status: int = 200) -> Response:
    return Response(jsonform.write(value), status, content_type="application/json")


def refusal(error: ApiError) -> Response:
    response = json_response(error.body, error.status)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = f"{error.retry_after_s:g}"
    return response


async def with_faults(
    faults: Sequence[Fault], carry_out: Callable[[], Awaitable[Response]], *, operation: str, room_name: str
) -> Response:
    """The answer to a request, spoilt as the faults say.

    Cancellation: a client that hangs up during a delay before the effect leaves nothing behind; later, the effect.
    """
    spoiler = next((fault for fault in faults if fault.kind != "delay"), None)
    await _wait(faults, takes_effect=False)
    if spoiler is not None and not spoiler.takes_effect:
        return _instead(spoiler, room_name)
    response = await carry_out()
    await _wait(faults, takes_effect=True)
    return response if spoiler is None else await _spoilt(spoiler, response, operation)


async def _wait(faults: Sequence[Fault], *, takes_effect: bool) -> None:
    for fault in faults:
        if fault.kind == "delay" and fault.takes_effect is takes_effect:
            await trio.sleep(fault.delay_s)


def _instead(fault: Fault, room_name: str) -> Response:
    match fault.kind:
        case "throttle":
            return refusal(throttled(fault.info or "Too many requests", fault.retry_after_s))
        case "not_found":
            return refusal(room_not_found(room_name))
        case "hang_up":
            return _cut("answer", Response(b""))  # None would make a body that wants asyncio
        case _:
            return _error(fault)


async def _spoilt(fault: Fault, response: Response, operation: str) -> Response:
    match fault.kind:
        case "lost_response" | "hang_up":
            return _cut("answer", response)
        case "cut_body":
            return _cut("body", response)
        case "garbage":
            return Response(GARBAGE, response.status_code, content_type="application/json")
        case "wrong_types":
            value = jsonform.read(await response.get_data(as_text=False))
            return json_response(jsonform.with_wrong_types(value), response.status_code)
        case "empty_presence":
            return json_response({} if operation == "all_presence" else {"total_count": 0, "data": []})
        case "half_presence":
            return await _halved(response, operation)
        case _:
            return _error(fault)


async def _halved(response: Response, operation: str) -> Response:
    """Presence of every second person, with the count of all."""
    value = jsonform.read(await response.get_data(as_text=False))
    if operation == "all_presence":
        return json_response({room: people[1::2] for room, people in value.items() if people[1::2]})
    if "data" in value:
        value = {**value, "data": value["data"][1::2]}
    return json_response(value, response.status_code)


def _error(fault: Fault) -> Response:
    error = ApiError(fault.status, ERRORS.get(fault.status, "server-error"), fault.info)
    error.retry_after_s = fault.retry_after_s
    return refusal(error)


def _cut(where: str, response: Response) -> Response:
    response.headers[CUT_HEADER] = where
    return response
