"""`/sessions/{id}/summary`: who was there, when and how long."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.sessions import summary_of
from transport_trio.web.answers import answer
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.web.sessions import known
from transport_trio.wire.summary import summary_answer


def register_summary(app: QuartTrio, deps: WebDeps) -> None:
    @app.get("/sessions/<session_id>/summary")
    async def summary(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer(summary_answer(session, summary_of(session, deps.clock.now())))
