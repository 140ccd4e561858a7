"""`/orphans`: rooms of ours without a session, and sweeps for them."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.web.answers import answer
from transport_trio.web.body import read_json
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.wire.orphans import orphans_answer, sweep_body


def register_orphans(app: QuartTrio, deps: WebDeps) -> None:
    @app.get("/orphans")
    async def read_orphans() -> Response:
        parse_query(request.query_string, ())
        orphans = deps.service.orphans
        known = orphans_answer(deps.settings, orphans.latest, completed=orphans.completed, running=orphans.is_running)
        return answer(known)

    @app.post("/orphans/sweep")
    async def sweep_orphans() -> Response:
        data = await read_json(deps.settings.body_timeout_s)
        parse_query(request.query_string, ())
        wanted = sweep_body(data)
        number = deps.service.orphans.ask(delete=wanted.delete)
        return answer({"message": "Sweep requested", "delete": wanted.delete, "sweep": number}, 202)
