"""`/sessions/{id}/transcription` and `/sessions/{id}/transcripts`: start, change, stop, list, fetch and delete."""

from __future__ import annotations

from http import HTTPStatus

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.errors import SessionHasEnded, TranscriptNotFound
from transport_trio.models import CaptureKind, CaptureStatus, Session
from transport_trio.sessions import StartCapture, StopCapture, UpdateCapture, capture_of
from transport_trio.web.answers import answer
from transport_trio.web.captures import asked, valid_for_s_of
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import parse_query
from transport_trio.web.sessions import known
from transport_trio.wire.transcripts import (
    transcript_answer,
    transcript_link_answer,
    transcription_changes,
    transcription_options,
    transcription_stop,
    transcripts_answer,
)

TRANSCRIPTION = "/sessions/<session_id>/transcription"
TRANSCRIPTS = "/sessions/<session_id>/transcripts"
TRANSCRIPT = f"{TRANSCRIPTS}/<transcript_id>"
KIND = CaptureKind.TRANSCRIPTION
RUNNING = frozenset({CaptureStatus.STARTING, CaptureStatus.RUNNING, CaptureStatus.STOPPING})


def register_transcripts(app: QuartTrio, deps: WebDeps) -> None:
    service = deps.service

    @app.post(f"{TRANSCRIPTION}/start")
    async def start_transcription(session_id: str) -> Response:
        session, data = await asked(deps, session_id)
        options = transcription_options(data, service.captures.managed_options(session.provider))
        capture = await service.capture(session_id, StartCapture(kind=KIND, options=options))
        headers = {"Location": f"/sessions/{session_id}/transcripts/{capture.id}"}
        return answer(transcript_answer(capture), HTTPStatus.CREATED, headers)

    @app.post(f"{TRANSCRIPTION}/update")
    async def update_transcription(session_id: str) -> Response:
        session, data = await asked(deps, session_id)
        transcript_id, changes = transcription_changes(data)
        action = UpdateCapture(kind=KIND, capture_id=_meant(session, transcript_id), options=changes)
        return answer(transcript_answer(await service.capture(session_id, action)))

    @app.post(f"{TRANSCRIPTION}/stop")
    async def stop_transcription(session_id: str) -> Response:
        session, data = await asked(deps, session_id)
        action = StopCapture(kind=KIND, capture_id=_meant(session, transcription_stop(data)))
        return answer(transcript_answer(await service.capture(session_id, action)))

    @app.get(TRANSCRIPTS)
    async def list_transcripts(session_id: str) -> Response:
        session = await known(deps, session_id)
        parse_query(request.query_string, ())
        return answer(transcripts_answer(session))

    @app.get(TRANSCRIPT)
    async def read_transcript(session_id: str, transcript_id: str) -> Response:
        capture = capture_of(await known(deps, session_id), KIND, transcript_id)
        parse_query(request.query_string, ())
        return answer(transcript_answer(capture))

    @app.get(f"{TRANSCRIPT}/link")
    async def link_transcript(session_id: str, transcript_id: str) -> Response:
        capture_of(await known(deps, session_id), KIND, transcript_id)
        link = await service.captures.link(session_id, KIND, transcript_id, valid_for_s_of(request.query_string))
        return answer(transcript_link_answer(transcript_id, link), HTTPStatus.OK, {"Cache-Control": "no-store"})

    @app.delete(TRANSCRIPT)
    async def delete_transcript(session_id: str, transcript_id: str) -> Response:
        capture_of(await known(deps, session_id), KIND, transcript_id)
        parse_query(request.query_string, ())
        return answer(transcript_answer(await service.captures.delete(session_id, KIND, transcript_id)))


def _meant(session: Session, transcript_id: str | None) -> str:
    """The transcript that is named, or the latest that runs.

    Raises:
        TranscriptNotFound: there is none.
        SessionHasEnded: nor can there be one.
    """
    if transcript_id is not None:
        return capture_of(session, KIND, transcript_id).id
    for capture in reversed(session.captures):
        if capture.kind is KIND and capture.status in RUNNING:
            return capture.id
    # Those of an ended session are over as well.
    raise SessionHasEnded(session.id) if session.has_ended else TranscriptNotFound(None)
