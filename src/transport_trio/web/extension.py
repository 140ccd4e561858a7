"""`/sessions/{id}/extend`: a later end."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.sessions import ExtensionRequest
from transport_trio.web.answers import answer
from transport_trio.web.body import read_json
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.web.sessions import known
from transport_trio.wire.extension import end_of, extend_answer, extend_body


def register_extension(app: QuartTrio, deps: WebDeps) -> None:
    @app.post("/sessions/<session_id>/extend")
    async def extend(session_id: str) -> Response:
        await known(deps, session_id)
        body = extend_body(await read_json(deps.settings.body_timeout_s))
        parse_query(request.query_string, ())
        wanted = ExtensionRequest(ttl_s=body.session_ttl_s, expires_at=end_of(body), reissue_tokens=body.reissue_tokens)
        done = await deps.service.extensions.extend(session_id, wanted)
        tokens = [(one.granted, one.meeting_token) for one in done.tokens]
        return answer(extend_answer(done.session, done.ejections, tokens))
