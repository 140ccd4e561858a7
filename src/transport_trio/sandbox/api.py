"""Daily's side of the HTTP server: what happens to a request under /v1, from the key to the log."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import attrs
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.edge import CUT_HEADER
from transport_trio.sandbox.faulty import json_response, refusal, with_faults
from transport_trio.sandbox.operations import ApiRequest, Operation
from transport_trio.sandbox.refusals import (
    ApiError,
    bad_authorization_header,
    invalid,
    not_json,
    not_simulated,
    throttled,
    unknown_endpoint,
    wrong_key,
)
from transport_trio.sandbox.routes import NOT_SIMULATED, OPERATIONS

PREFIX = "/v1"
LOGGED_BODY_BYTES = 4096

log = logging.getLogger(__name__)

Path = dict[str, str]


@attrs.define(eq=False)
class _Exchange:
    """One request on its way through."""

    path: Path
    body: Any = None  # for the log: None when there was none, it was no JSON or too long to keep


CarryOut = Callable[[_Exchange], Awaitable[Any]]


def add_api(app: QuartTrio, sandbox: Sandbox) -> None:
    for method, path, operation in OPERATIONS:
        name = operation.__name__
        view = partial(_serve, sandbox, name, partial(_carry_out, sandbox, operation))
        app.add_url_rule(f"{PREFIX}{path}", name, view, methods=[method])
    for method, path in NOT_SIMULATED:
        view = partial(_serve, sandbox, "not_simulated", partial(_decline, sandbox, method, path))
        app.add_url_rule(f"{PREFIX}{path}", f"{method} {path}", view, methods=[method])
    for status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        app.register_error_handler(status, partial(_unknown, sandbox))
    app.register_error_handler(Exception, _crashed)


async def _serve(sandbox: Sandbox, name: str, carry_out: CarryOut, /, **path: str) -> Response:
    started = sandbox.now()
    faults = sandbox.faults.draw(name, started)
    exchange = _Exchange(path)
    status = None
    try:
        await _wait_for_body()
        response = await with_faults(
            faults, partial(_answer, carry_out, exchange), operation=name, room_name=path.get("name", "")
        )
        status = None if response.headers.get(CUT_HEADER) == "answer" else response.status_code
        return response
    finally:
        # Also when the client has hung up, which cancels us.
        sandbox.log.add(
            time=started,
            method=request.method,
            path=request.path.removeprefix(PREFIX),
            operation=name,
            body=exchange.body,
            status=status,
            fault=faults[-1].kind if faults else None,
        )


async def _answer(carry_out: CarryOut, exchange: _Exchange) -> Response:
    try:
        return json_response(await carry_out(exchange))
    except ApiError as error:
        return refusal(error)


async def _carry_out(sandbox: Sandbox, operation: Operation, exchange: _Exchange) -> Any:
    _authenticate(sandbox)
    _throttle(sandbox, operation.__name__)
    body = await _body(exchange)
    now = sandbox.settle()
    return operation(sandbox, ApiRequest(now=now, path=exchange.path, query=request.args.to_dict(), body=body))


async def _decline(sandbox: Sandbox, method: str, path: str, _exchange: _Exchange) -> Any:
    _authenticate(sandbox)
    raise not_simulated(method, path)


def _authenticate(sandbox: Sandbox) -> None:
    header = request.headers.get("Authorization", "")
    key = header.removeprefix("Bearer ").strip()
    if not header.startswith("Bearer ") or not key:
        raise bad_authorization_header()
    if not hmac.compare_digest(key.encode(), sandbox.config.api_key.encode()):
        raise wrong_key()


def _throttle(sandbox: Sandbox, name: str) -> None:
    if sandbox.config.rate_limits and sandbox.limits.take(name, sandbox.now()) is not None:
        raise throttled("Too many requests", sandbox.config.retry_after_s)


async def _wait_for_body() -> None:
    """A fault may answer without a look at the body. Hypercorn, answering first, leaves the connection deaf."""
    with suppress(RequestEntityTooLarge, RequestTimeout):  # told by whoever looks
        await request.get_data(cache=True, as_text=False, parse_form_data=False)


async def _body(exchange: _Exchange) -> dict[str, Any]:
    if request.method in {"GET", "HEAD"}:
        return {}
    try:
        raw = await request.get_data(cache=True, as_text=False, parse_form_data=False)
        body = jsonform.read(raw)
    except jsonform.NotJson as exc:
        raise not_json() from exc
    except (RequestEntityTooLarge, RequestTimeout) as exc:
        raise ApiError(exc.code, "invalid-request-error", exc.description) from exc
    if raw and len(raw) <= LOGGED_BODY_BYTES:
        exchange.body = body
    if not isinstance(body, dict):
        raise invalid("the request body should be an object")
    return body


async def _unknown(sandbox: Sandbox, _error: HTTPException) -> Response:
    error = unknown_endpoint()
    sandbox.log.add(
        time=sandbox.now(),
        method=request.method,
        path=request.path.removeprefix(PREFIX),
        operation=None,
        body=None,
        status=error.status,
        fault=None,
    )
    return refusal(error)


async def _crashed(error: Exception) -> Response:
    log.error("request crashed", exc_info=error, extra={"method": request.method, "path": request.path})
    return refusal(ApiError(500, "server-error"))
