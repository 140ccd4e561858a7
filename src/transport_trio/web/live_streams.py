"""`/sessions/{id}/live-streams`: start, change, stop, list."""

from __future__ import annotations

from http import HTTPStatus

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.models import CaptureKind
from transport_trio.sessions import StartCapture, StopCapture, UpdateCapture, capture_of
from transport_trio.web.answers import answer
from transport_trio.web.captures import asked
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.web.sessions import known
from transport_trio.wire.captures import picture_changes
from transport_trio.wire.live_streams import live_stream_answer, live_stream_options, live_streams_answer

LIVE_STREAMS = "/sessions/<session_id>/live-streams"
LIVE_STREAM = f"{LIVE_STREAMS}/<stream_id>"
KIND = CaptureKind.LIVE_STREAM


def register_live_streams(app: QuartTrio, deps: WebDeps) -> None:
    service = deps.service

    @app.post(LIVE_STREAMS)
    async def start_live_stream(session_id: str) -> Response:
        session, data = await asked(deps, session_id)
        options = live_stream_options(data, service.captures.managed_options(session.provider))
        capture = await service.capture(session_id, StartCapture(kind=KIND, options=options))
        headers = {"Location": f"/sessions/{session_id}/live-streams/{capture.id}"}
        return answer(live_stream_answer(capture), HTTPStatus.CREATED, headers)

    @app.get(LIVE_STREAMS)
    async def list_live_streams(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer(live_streams_answer(session))

    @app.get(LIVE_STREAM)
    async def read_live_stream(session_id: str, stream_id: str) -> Response:
        capture = capture_of(await known(deps, session_id), KIND, stream_id)
        parse_query(request.query_string, ())
        return answer(live_stream_answer(capture))

    @app.post(f"{LIVE_STREAM}/update")
    async def update_live_stream(session_id: str, stream_id: str) -> Response:
        session, data = await asked(deps, session_id, KIND, stream_id)
        changes = picture_changes(data or b"{}", service.captures.managed_options(session.provider))
        action = UpdateCapture(kind=KIND, capture_id=stream_id, options=changes)
        return answer(live_stream_answer(await service.capture(session_id, action)))

    @app.post(f"{LIVE_STREAM}/stop")
    async def stop_live_stream(session_id: str, stream_id: str) -> Response:
        await asked(deps, session_id, KIND, stream_id)
        action = StopCapture(kind=KIND, capture_id=stream_id)
        return answer(live_stream_answer(await service.capture(session_id, action)))
