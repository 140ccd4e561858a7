"""The application: routes, the checks before them, and every failure turned into a problem document."""

from __future__ import annotations

import logging

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from quart import Response, request
from quart.globals import request_ctx
from quart.typing import ResponseTypes
from quart.wrappers import Request as QuartRequest
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.routing import MapAdapter

from transport_trio.errors import ProviderNotServed, TransportError, UnknownProvider
from transport_trio.web.access import Access, counted
from transport_trio.web.auth import require_caller
from transport_trio.web.body import BODY_MAX_BYTES, Request, body_of, linger
from transport_trio.web.captures import register_captures
from transport_trio.web.deps import WebDeps
from transport_trio.web.entrance import PATH
from transport_trio.web.events import register_events
from transport_trio.web.extension import register_extension
from transport_trio.web.health import OPEN_PATHS, register_health
from transport_trio.web.live_streams import register_live_streams
from transport_trio.web.orphans import register_orphans
from transport_trio.web.people import register_people
from transport_trio.web.problems import (
    LengthsConflict,
    MethodNotAllowed,
    UnknownPath,
    UpgradeRequired,
    internal_error,
    problem_of,
    status_of,
)
from transport_trio.web.refusals import REFUSAL
from transport_trio.web.sessions import register_sessions
from transport_trio.web.summary import register_summary
from transport_trio.web.target import origin_form
from transport_trio.web.tokens import register_tokens
from transport_trio.web.transcripts import register_transcripts
from transport_trio.web.webhooks import RULE as WEBHOOKS
from transport_trio.web.webhooks import register_webhooks

log = logging.getLogger(__name__)

UNKNOWN_ROUTE = "unknown"
HUNG_UP = "499"  # nginx's status, known to dashboards, for a client that did not wait for its answer


class TransportApp(QuartTrio):
    """Quart-Trio with bounded bodies; each request is counted by route and status, and logged if that is wanted."""

    request_class = Request

    def __init__(self, access: Access) -> None:
        super().__init__(__name__, static_folder=None)
        self.access = access
        self.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
        # A peer that does not read its answer is cut by web/connection.py, which sees whether it makes progress.
        self.config["RESPONSE_TIMEOUT"] = None
        self.url_map.merge_slashes = False  # `/sessions//x` is an unknown path and not a redirect

    async def asgi_app(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan":
            scope["path"] = origin_form(scope["path"])
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
            route = _route(request)
            self.access.metrics.http_seconds.labels(counted(request.method), route).observe(duration_s)
            self.access.tell(
                method=request.method,
                route=route,
                path=request.path,
                status=status,
                duration_s=duration_s,
                client=request.remote_addr,
            )

    async def make_default_options_response(self) -> Response:
        adapter = request_ctx.url_adapter
        assert adapter is not None
        # Not Quart's own class: its empty body wants asyncio.
        return TrioResponse(status=204, headers={"Allow": ", ".join(sorted(adapter.allowed_methods()))})


def create_app(deps: WebDeps) -> QuartTrio:
    """The service's application, all routes registered; it owns no tasks beyond its requests."""
    app = TransportApp(deps.access)
    _check_first(app, deps)
    _answer_failures(app)
    register_sessions(app, deps)
    register_people(app, deps)
    register_tokens(app, deps)
    register_extension(app, deps)
    register_captures(app, deps)
    register_summary(app, deps)
    register_orphans(app, deps)
    register_transcripts(app, deps)
    register_live_streams(app, deps)
    register_events(app, deps)
    register_health(app, deps)
    register_webhooks(app, deps)
    _refuse_upgrades(app)
    return app


def _check_first(app: QuartTrio, deps: WebDeps) -> None:
    """What is checked before a handler runs, in the order of the contract: 401, 404, 405, 413."""

    @app.before_request
    async def check_request() -> None:
        if (refusal := _refusal()) is not None:
            raise refusal
        check_lengths(request)
        if request.path not in OPEN_PATHS and _route(request) != WEBHOOKS:
            require_caller(deps.keys, request.headers.getlist("Authorization"))
        if isinstance(request.routing_exception, WrongMethod):
            raise MethodNotAllowed(request.method, request.routing_exception.valid_methods or ())
        if request.routing_exception is not None:
            raise UnknownPath("there is nothing at this path")
        body_of(request).check_size()

    @app.after_request
    async def complete_answer(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        # The next request belongs to another instance; and what may follow a refused upgrade is no request.
        if deps.stopping() or _refusal() is not None:
            response.headers["Connection"] = "close"
        return response


def _refuse_upgrades(app: QuartTrio) -> None:
    """Give its answer to whoever asks for `/ws` and is not let in (web/entrance.py)."""

    @app.get(PATH)
    async def upgrade_required() -> Response:
        raise UpgradeRequired("this is a WebSocket: send Upgrade: websocket")


def _refusal() -> TransportError | None:
    """Why the upgrade that this request asks for is refused; None for all other requests."""
    refusal: TransportError | None = request.scope["state"].get(REFUSAL)
    return refusal


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
        if isinstance(error, UnknownProvider) and "session_id" in (request.view_args or {}):
            # Nothing in this request names a provider: the session does.
            return problem_of(ProviderNotServed(error.provider))
        return problem_of(error)

    @app.errorhandler(Exception)
    async def unplanned(error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        return internal_error()


def _route(asked: BaseRequestWebsocket) -> str:
    """The route's template: a closed set, unlike the path."""
    return str(asked.url_rule.rule) if asked.url_rule is not None else UNKNOWN_ROUTE
