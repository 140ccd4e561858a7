"""`/sessions`: create, list, read and end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.errors import InvalidRequest, SessionNotFound
from transport_trio.models import Session
from transport_trio.ports import SessionQuery
from transport_trio.sessions import IdempotencyKey
from transport_trio.web.answers import answer
from transport_trio.web.auth import require_caller
from transport_trio.web.body import read_json
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import limit, one, parse_query, short_text, status, switch
from transport_trio.wire.out import session_created_answer, session_detail, session_summary
from transport_trio.wire.requests import create_body, fingerprint, session_request

SESSION_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
IDEMPOTENCY_KEY = re.compile("[ -~]{1,255}")
LIMIT_DEFAULT = 100
SHOWN_MAX_CHARS = 80  # how much of a caller's own words an error repeats


def register_sessions(app: QuartTrio, deps: WebDeps) -> None:
    service = deps.service

    @app.post("/sessions")
    async def create_session() -> Response:
        data = await read_json(deps.settings.body_timeout_s)
        query = parse_query(request.query_string, ("dry_run",))
        dry_run = one(query, "dry_run", switch)
        key = idempotency_key(request.headers.getlist("Idempotency-Key"))
        wanted = session_request(create_body(data), deps.settings, service.managed_options)
        if dry_run:
            return answer(service.dry_run(wanted))
        idempotency = None
        if key is not None:
            caller = require_caller(deps.keys, request.headers.getlist("Authorization"))
            idempotency = IdempotencyKey(caller=caller, key=key, fingerprint=fingerprint(wanted))
        created = await service.create(wanted, idempotency=idempotency)
        headers = {"Location": f"/sessions/{created.session.id}"}
        if created.replayed:
            headers["Idempotency-Replayed"] = "true"
        return answer(session_created_answer(created.session, created.meeting_token), 201, headers)

    @app.get("/sessions")
    async def list_sessions() -> Response:
        query = parse_query(request.query_string, ("status", "provider", "limit", "cursor"))
        wanted = SessionQuery(
            status=one(query, "status", status),
            provider=one(query, "provider", short_text),
            limit=one(query, "limit", limit) or LIMIT_DEFAULT,
            cursor=one(query, "cursor", short_text),
        )
        page = await service.list(wanted)
        sessions = [session_summary(session) for session in page.sessions]
        return answer({"sessions": sessions, "total": page.total, "next_cursor": page.next_cursor})

    @app.get("/sessions/<session_id>")
    async def read_session(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer(session_detail(session))

    @app.delete("/sessions/<session_id>")
    async def end_session(session_id: str) -> Response:
        await known(deps, session_id)
        parse_query(request.query_string, ())
        session = await service.end(session_id)
        return answer({"message": "Session ended successfully", "session_id": session.id})


async def known(deps: WebDeps, session_id: str) -> Session:
    """The session. To be asked first: an id that is unknown counts before a query or a body that is wrong.

    Raises:
        SessionNotFound: also for what cannot be an id of ours.
    """
    if not SESSION_ID.fullmatch(session_id):
        raise SessionNotFound(session_id[:SHOWN_MAX_CHARS])
    return await deps.service.get(session_id)


def idempotency_key(headers: Sequence[str]) -> str | None:
    """The `Idempotency-Key`, None when there is none.

    Raises:
        InvalidRequest: it is empty, too long, given twice, or not printable ASCII.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise InvalidRequest(("Idempotency-Key", "is given more than once"))
    if not IDEMPOTENCY_KEY.fullmatch(headers[0]):
        raise InvalidRequest(("Idempotency-Key", "must have 1 to 255 printable ASCII characters"))
    return headers[0]
