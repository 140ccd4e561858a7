"""`/sessions/{id}/recordings`: start, change, stop, list, fetch and delete."""

from __future__ import annotations

import re
from http import HTTPStatus

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.models import CaptureKind, Session
from transport_trio.sessions import StartCapture, StopCapture, UpdateCapture, capture_of
from transport_trio.web.answers import answer
from transport_trio.web.body import body_of, read_json
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import one, parse_query
from transport_trio.web.sessions import known
from transport_trio.wire.captures import (
    link_answer,
    picture_changes,
    recording_answer,
    recording_options,
    recordings_answer,
)

RECORDINGS = "/sessions/<session_id>/recordings"
RECORDING = f"{RECORDINGS}/<recording_id>"
KIND = CaptureKind.RECORDING
VALID_MAX_S = 604_800  # a week, what S3 signs for at the longest


def register_captures(app: QuartTrio, deps: WebDeps) -> None:
    service = deps.service

    @app.post(RECORDINGS)
    async def start_recording(session_id: str) -> Response:
        session, data = await asked(deps, session_id)
        options = recording_options(data, service.captures.managed_options(session.provider))
        capture = await service.capture(session_id, StartCapture(kind=KIND, options=options))
        headers = {"Location": f"/sessions/{session_id}/recordings/{capture.id}"}
        return answer(recording_answer(capture), HTTPStatus.CREATED, headers)

    @app.get(RECORDINGS)
    async def list_recordings(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer(recordings_answer(session))

    @app.get(RECORDING)
    async def read_recording(session_id: str, recording_id: str) -> Response:
        session = await known(deps, session_id)
        capture = capture_of(session, KIND, recording_id)
        parse_query(request.query_string, ())
        return answer(recording_answer(capture))

    @app.post(f"{RECORDING}/update")
    async def update_recording(session_id: str, recording_id: str) -> Response:
        session, data = await asked(deps, session_id, KIND, recording_id)
        changes = picture_changes(data or b"{}", service.captures.managed_options(session.provider))
        action = UpdateCapture(capture_id=recording_id, options=changes)
        return answer(recording_answer(await service.capture(session_id, action)))

    @app.post(f"{RECORDING}/stop")
    async def stop_recording(session_id: str, recording_id: str) -> Response:
        await asked(deps, session_id, KIND, recording_id)
        return answer(recording_answer(await service.capture(session_id, StopCapture(capture_id=recording_id))))

    @app.get(f"{RECORDING}/link")
    async def link_recording(session_id: str, recording_id: str) -> Response:
        capture_of(await known(deps, session_id), KIND, recording_id)
        valid_for_s = valid_for_s_of(request.query_string)
        link = await service.captures.link(session_id, KIND, recording_id, valid_for_s)
        # Whoever has the link needs nothing else.
        return answer(link_answer(recording_id, link), HTTPStatus.OK, {"Cache-Control": "no-store"})

    @app.delete(RECORDING)
    async def delete_recording(session_id: str, recording_id: str) -> Response:
        capture_of(await known(deps, session_id), KIND, recording_id)
        parse_query(request.query_string, ())
        return answer(recording_answer(await service.captures.delete(session_id, KIND, recording_id)))


async def asked(
    deps: WebDeps, session_id: str, kind: CaptureKind | None = None, capture_id: str | None = None
) -> tuple[Session, bytes]:
    """A session that there is, with that capture, and the body of the request, which may have none."""
    session = await known(deps, session_id)
    if kind is not None and capture_id is not None:
        capture_of(session, kind, capture_id)  # before a query or a body that is wrong
    data = await body_of(request).read(deps.settings.body_timeout_s)
    if data:
        data = await read_json(deps.settings.body_timeout_s)
    parse_query(request.query_string, ())
    return session, data


def valid_for_s_of(query: bytes) -> int | None:
    """For how long a link shall be good, where that is said.

    Raises:
        InvalidRequest: it makes no sense, or something else is said.
    """
    return one(parse_query(query, ("valid_for_s",)), "valid_for_s", _valid_for_s)


def _valid_for_s(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= VALID_MAX_S:
        raise ValueError(f"must be a whole number from 1 to {VALID_MAX_S}")
    return int(text)
