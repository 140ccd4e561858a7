"""The routes of a session's meeting tokens."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.sessions import IdempotencyKey
from transport_trio.web.answers import answer
from transport_trio.web.auth import require_caller
from transport_trio.web.body import body_of, read_json
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.web.sessions import idempotency_key, known
from transport_trio.wire.tokens import renewal_ttl_s, token_answer, token_fingerprint, token_grant, token_request


def register_tokens(app: QuartTrio, deps: WebDeps) -> None:
    service = deps.service

    @app.post("/sessions/<session_id>/tokens")
    async def create_token(session_id: str) -> Response:
        session = await known(deps, session_id)
        data = await read_json(deps.settings.body_timeout_s)
        parse_query(request.query_string, ())
        key = idempotency_key(request.headers.getlist("Idempotency-Key"))
        wanted = token_request(data, session.provider, service.tokens.managed_options(session.provider))
        idempotency = None
        if key is not None:
            caller = require_caller(deps.keys, request.headers.getlist("Authorization"))
            print_ = token_fingerprint(session_id, wanted)
            idempotency = IdempotencyKey(caller=caller, key=key, fingerprint=print_)
        minted = await service.tokens.create(session_id, wanted, idempotency=idempotency)
        headers = {"Idempotency-Replayed": "true"} if minted.replayed else {}
        return answer(token_answer(minted.session.id, minted.granted, minted.meeting_token), 201, headers)

    @app.get("/sessions/<session_id>/tokens")
    async def list_tokens(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer({"tokens": [token_grant(session.id, one) for one in await service.tokens.list(session_id)]})

    @app.post("/sessions/<session_id>/tokens/<token_id>/renew")
    async def renew_token(session_id: str, token_id: str) -> Response:
        await known(deps, session_id)
        # What is asked for most often needs no body.
        data = await body_of(request).read(deps.settings.body_timeout_s)
        if data:
            data = await read_json(deps.settings.body_timeout_s)
        parse_query(request.query_string, ())
        minted = await service.tokens.renew(session_id, token_id, ttl_s=renewal_ttl_s(data or b"{}"))
        return answer(token_answer(minted.session.id, minted.granted, minted.meeting_token))
