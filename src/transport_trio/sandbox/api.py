"""Daily's side of the HTTP server: what happens to a request under /v1, from the key to the log."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.edge import Route
from transport_trio.sandbox.exchange import Answer, Request, json_answer, refusal
from transport_trio.sandbox.faulty import with_faults
from transport_trio.sandbox.limits import PAID
from transport_trio.sandbox.operations import ApiRequest, Operation
from transport_trio.sandbox.refusals import (
    ApiError,
    bad_authorization_header,
    invalid,
    not_in_plan,
    not_json,
    not_simulated,
    throttled,
    unknown_endpoint,
    wrong_key,
)
from transport_trio.sandbox.routes import NOT_SIMULATED, OPERATIONS

PREFIX = "/v1"
LOGGED_BODY_BYTES = 4096


@attrs.define(eq=False)
class _Exchange:
    """One request on its way through."""

    request: Request
    body: Any = None  # for the log: None when there was none, it was no JSON or too long to keep


CarryOut = Callable[[_Exchange], Awaitable[Any]]


def api_routes(sandbox: Sandbox) -> list[Route]:
    """Daily's operations, and what Daily has and the sandbox has not."""
    routes: list[Route] = []
    for method, path, operation in OPERATIONS:
        carry_out: CarryOut = partial(_carry_out, sandbox, operation)
        routes.append((method, f"{PREFIX}{path}", partial(_serve, sandbox, operation.__name__, carry_out)))
    for method, path in NOT_SIMULATED:
        carry_out = partial(_decline, sandbox, method, path)
        routes.append((method, f"{PREFIX}{path}", partial(_serve, sandbox, "not_simulated", carry_out)))
    return routes


async def unknown(sandbox: Sandbox, request: Request) -> Answer:
    """What is answered where Daily has nothing."""
    error = unknown_endpoint()
    _log(sandbox, request, time=sandbox.now(), operation=None, body=None, status=error.status, fault=None)
    return refusal(error)


async def _serve(sandbox: Sandbox, name: str, carry_out: CarryOut, request: Request) -> Answer:
    started = sandbox.now()
    faults = sandbox.faults.draw(name, started)
    exchange = _Exchange(request)
    status = None
    try:
        answer = await with_faults(faults, partial(_answer, carry_out, exchange), request, operation=name)
        status = None if answer.cut == "answer" else answer.status
        return answer
    finally:
        # Also when the client has hung up, which cancels us.
        fault = faults[-1].kind if faults else None
        _log(sandbox, request, time=started, operation=name, body=exchange.body, status=status, fault=fault)


def _log(sandbox: Sandbox, request: Request, **fields: Any) -> None:
    sandbox.log.add(method=request.method, path=request.path.removeprefix(PREFIX), **fields)


async def _answer(carry_out: CarryOut, exchange: _Exchange) -> Answer:
    try:
        value = await carry_out(exchange)
        return Answer(b"") if value is None else json_answer(value)
    except ApiError as error:
        return refusal(error)


async def _carry_out(sandbox: Sandbox, operation: Operation, exchange: _Exchange) -> Any:
    request = exchange.request
    _authenticate(sandbox, request)
    _throttle(sandbox, operation.__name__)
    if sandbox.config.free_plan and operation.__name__ in PAID:
        raise not_in_plan()
    body = _body(exchange)
    asked = ApiRequest(now=sandbox.settle(), path=request.args, query=request.query, body=body, host=request.host)
    done = operation(sandbox, asked)
    return await done if inspect.isawaitable(done) else done


async def _decline(sandbox: Sandbox, method: str, path: str, exchange: _Exchange) -> Any:
    _authenticate(sandbox, exchange.request)
    raise not_simulated(method, path)


def _authenticate(sandbox: Sandbox, request: Request) -> None:
    key = request.authorization.removeprefix("Bearer ").strip()
    if not request.authorization.startswith("Bearer ") or not key:
        raise bad_authorization_header()
    if not hmac.compare_digest(key.encode(), sandbox.config.api_key.encode()):
        raise wrong_key()


def _throttle(sandbox: Sandbox, name: str) -> None:
    if sandbox.config.rate_limits and sandbox.limits.take(name, sandbox.now()) is not None:
        raise throttled("Too many requests", sandbox.config.retry_after_s)


def _body(exchange: _Exchange) -> dict[str, Any]:
    if exchange.request.method in {"GET", "HEAD"}:
        return {}
    raw = exchange.request.body()
    try:
        body = jsonform.read(raw)
    except jsonform.NotJson as exc:
        raise not_json() from exc
    if raw and len(raw) <= LOGGED_BODY_BYTES:
        exchange.body = body
    if not isinstance(body, dict):
        raise invalid("the request body should be an object")
    return body
