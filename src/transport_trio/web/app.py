"""The application: routes, the checks before them, and every failure turned into a problem document."""

from __future__ import annotations

import logging

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from quart import Response, request, websocket
from quart.globals import request_ctx
from quart.typing import ResponseTypes
from quart.wrappers import Request as QuartRequest
from quart.wrappers import Websocket
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.routing import MapAdapter

from transport_trio.errors import TransportError
from transport_trio.metrics import Metrics
from transport_trio.web.auth import require_caller
from transport_trio.web.body import BODY_MAX_BYTES, Request, body_of, linger
from transport_trio.web.deps import WebDeps
from transport_trio.web.events import register_events
from transport_trio.web.health import OPEN_PATHS, register_health
from transport_trio.web.problems import (
    LengthsConflict,
    MethodNotAllowed,
    UnknownPath,
    internal_error,
    problem_of,
    status_of,
)
from transport_trio.web.sessions import register_sessions
from transport_trio.web.socket import register_socket

log = logging.getLogger(__name__)
access_log = logging.getLogger("transport_trio.access")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNKNOWN_ROUTE = "unknown"
HUNG_UP = "499"  # nginx's status, known to dashboards, for a client that did not wait for its answer


class TransportApp(QuartTrio):
    """Quart-Trio with bounded bodies; each request is counted by route and status, and logged if that is wanted."""

    request_class = Request

    def __init__(self, metrics: Metrics, *, log_access: bool) -> None:
        super().__init__(__name__, static_folder=None)
        self.metrics = metrics
        self.log_access = log_access
        self.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
        # A peer that does not read its answer is cut by web/connection.py, which sees whether it makes progress.
        self.config["RESPONSE_TIMEOUT"] = None
        self.url_map.merge_slashes = False  # `/sessions//x` is an unknown path and not a redirect

    async def asgi_app(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan" and not scope["path"].startswith("/"):
            scope["path"] = _origin_form(scope["path"])
        await super().asgi_app(scope, receive, send)

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        """Routes by path alone: a `Host` that is no host name is nobody's business here."""
        if request is None:
            return None
        return self.url_map.bind("localhost", None, None, request.scheme, request.method, request.path)

    async def handle_request(self, request: QuartRequest) -> ResponseTypes:
        """Answer the request and tell of it, also when the client hangs up."""
        began = trio.current_time()
        status = HUNG_UP
        try:
            response = await super().handle_request(request)
            status = str(response.status_code)
            linger(response, request)
            return response
        finally:
            duration_s = trio.current_time() - began
            method = request.method if request.method in METHODS else "other"
            self.metrics.http_seconds.labels(method, _route(request)).observe(duration_s)
            self._tell(request, method, status, duration_s)

    async def handle_websocket(self, websocket: Websocket) -> ResponseTypes | None:
        """Likewise for an upgrade. One that was accepted is told of, as 101, when it ends."""
        began = trio.current_time()
        status = "101"
        try:
            response = await super().handle_websocket(websocket)
            if response is not None:
                status = str(response.status_code)
            return response
        finally:
            self._tell(websocket, "GET", status, trio.current_time() - began)

    async def make_default_options_response(self) -> Response:
        adapter = request_ctx.url_adapter
        assert adapter is not None
        # Not Quart's own class: its empty body wants asyncio.
        return TrioResponse(status=204, headers={"Allow": ", ".join(sorted(adapter.allowed_methods()))})

    def _tell(self, asked: BaseRequestWebsocket, method: str, status: str, duration_s: float) -> None:
        self.metrics.http_requests.labels(method, _route(asked), status).inc()
        if self.log_access:  # without the query, which may hold a key
            access_log.info(
                "request",
                extra={
                    "method": asked.method,
                    "path": asked.path,
                    "status": int(status),
                    "duration_s": round(duration_s, 6),
                    "client": asked.remote_addr,
                },
            )


def create_app(deps: WebDeps) -> QuartTrio:
    """The service's application, all routes registered; it owns no tasks beyond its requests."""
    app = TransportApp(deps.metrics, log_access=deps.settings.access_log)
    _check_first(app, deps)
    _answer_failures(app)
    register_sessions(app, deps)
    register_events(app, deps)
    register_health(app, deps)
    register_socket(app, deps)
    return app


def _check_first(app: QuartTrio, deps: WebDeps) -> None:
    """What is checked before a handler runs, in the order of the contract: 401, 404, 405, 413."""

    @app.before_request
    async def check_request() -> None:
        check_lengths(request)
        if request.path not in OPEN_PATHS:
            require_caller(deps.keys, request.headers.getlist("Authorization"))
        if isinstance(request.routing_exception, WrongMethod):
            raise MethodNotAllowed(request.method, request.routing_exception.valid_methods or ())
        if request.routing_exception is not None:
            raise UnknownPath("there is nothing at this path")
        body_of(request).check_size()

    @app.before_websocket
    async def check_upgrade() -> None:
        check_lengths(websocket)
        if websocket.routing_exception is not None:
            require_caller(deps.keys, websocket.headers.getlist("Authorization"))
            raise UnknownPath("there is no WebSocket at this path")

    @app.after_request
    async def complete_answer(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        if deps.stopping():
            response.headers["Connection"] = "close"  # the next request belongs to another instance
        return response


def check_lengths(asked: BaseRequestWebsocket) -> None:
    """Refuse both length headers together: proxies disagree about which one counts, and requests are smuggled so.

    Raises:
        LengthsConflict.
    """
    if "Content-Length" in asked.headers and "Transfer-Encoding" in asked.headers:
        raise LengthsConflict


def _answer_failures(app: QuartTrio) -> None:
    @app.errorhandler(TransportError)
    async def planned(error: TransportError) -> Response:
        if status_of(error) is None:
            return await unplanned(error)
        return problem_of(error)

    @app.errorhandler(Exception)
    async def unplanned(error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        return internal_error()


def _origin_form(target: str) -> str:
    """The path of a target in another form (RFC 9112, 3.2): `http://host/path`, `*`, `host:port`, or none at all."""
    _, separator, rest = target.partition("://")
    return "/" + (rest.partition("/")[2] if separator else target)


def _route(asked: BaseRequestWebsocket) -> str:
    """The route's template: a closed set, unlike the path."""
    return str(asked.url_rule.rule) if asked.url_rule is not None else UNKNOWN_ROUTE
