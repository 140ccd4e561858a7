"""`/sessions/{id}/…`: who is in the room, and what can be done to them."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.sessions import Eject, Permit, SendMessage
from transport_trio.web.answers import answer
from transport_trio.web.body import read_json
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.web.sessions import known
from transport_trio.wire.out import participants_answer
from transport_trio.wire.people import eject_body, message_body, permit_body


def register_people(app: QuartTrio, deps: WebDeps) -> None:
    service = deps.service

    async def asked(session_id: str) -> bytes:
        """The body of a request about a session that there is."""
        await known(deps, session_id)
        data = await read_json(deps.settings.body_timeout_s)
        parse_query(request.query_string, ())
        return data

    @app.get("/sessions/<session_id>/participants")
    async def read_participants(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer(participants_answer(session))

    @app.post("/sessions/<session_id>/eject")
    async def eject(session_id: str) -> Response:
        body = eject_body(await asked(session_id))
        action = Eject(participant_ids=body.participant_ids, user_ids=body.user_ids, ban=body.ban)
        event = await service.act(session_id, action)
        return answer({"ejected": event.participant_ids})

    @app.post("/sessions/<session_id>/permissions")
    async def change_permissions(session_id: str) -> Response:
        participant_id, change = permit_body(await asked(session_id))
        event = await service.act(session_id, Permit(participant_id=participant_id, change=change))
        return answer({"participant_id": event.participant_id, "permissions": event.permissions.given})

    @app.post("/sessions/<session_id>/messages")
    async def send_message(session_id: str) -> Response:
        body, size = message_body(await asked(session_id))
        action = SendMessage(recipient=body.recipient, data=body.data, data_bytes=size)
        event = await service.act(session_id, action)
        return answer({"recipient": event.recipient, "data_bytes": event.data_bytes})
