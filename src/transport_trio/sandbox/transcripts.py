"""Daily's operations on transcriptions of a call under way, and on the transcripts that are left of them."""

from __future__ import annotations

from typing import Any

from transport_trio.sandbox.capture_bodies import ONE_INSTANCE, TRANSCRIPTION, TRANSCRIPTION_CHANGE, checked_body
from transport_trio.sandbox.capture_lookup import finished, kept, running
from transport_trio.sandbox.captures import Capture
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.files import access_link
from transport_trio.sandbox.operations import ApiRequest, check_hosted, room_of
from transport_trio.sandbox.paging import page_of
from transport_trio.sandbox.starting import begin_transcription
from transport_trio.sandbox.timeform import iso

SENT = {"sent": "true"}


def start_transcription(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    options = checked_body(request.body, TRANSCRIPTION)
    check_hosted(sandbox, room, request.now)
    begin_transcription(sandbox, room, options, request.now)
    return SENT


def update_transcription(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    changes = checked_body(request.body, TRANSCRIPTION_CHANGE)
    check_hosted(sandbox, room, request.now)
    sandbox.captures.update(running(sandbox, room, "transcription", changes), changes, request.now)
    return SENT


def stop_transcription(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    given = checked_body(request.body, ONE_INSTANCE)
    check_hosted(sandbox, room, request.now)
    sandbox.captures.stop(running(sandbox, room, "transcription", given), request.now)
    return SENT


def list_transcripts(sandbox: Sandbox, request: ApiRequest) -> Any:
    room_id, meeting_id = request.query.get("roomId"), request.query.get("mtgSessionId")
    found = [
        one
        for one in sandbox.captures.known("transcription")
        if room_id in {None, one.room_id} and meeting_id in {None, one.meeting_id}
    ]
    total, page = page_of(found, request.query, lambda one: (one.begun_at, one.id), "a transcript")
    return {"total_count": total, "data": [_shown(sandbox, one) for one in page]}


def get_transcript(sandbox: Sandbox, request: ApiRequest) -> Any:
    return _in_full(sandbox, kept(sandbox, request, "transcription"))


def delete_transcript(sandbox: Sandbox, request: ApiRequest) -> Any:
    capture = finished(sandbox, request, "transcription")
    sandbox.captures.forget(capture)
    return {**_in_full(sandbox, capture), "status": "t_deleted"}


def get_transcript_link(sandbox: Sandbox, request: ApiRequest) -> Any:
    capture = finished(sandbox, request, "transcription")
    link, _ = access_link(sandbox, capture, request)
    # Daily's example calls it so; its schema says `link`.
    return {"transcriptId": capture.id, "download_link": link}


def _shown(sandbox: Sandbox, capture: Capture) -> dict[str, Any]:
    return {
        "transcriptId": capture.id,
        "domainId": sandbox.config.domain_id,
        "roomId": capture.room_id,
        "mtgSessionId": capture.meeting_id,
        "status": "t_finished" if capture.finished else "t_in_progress",
        "duration": capture.duration_s if capture.finished else None,
        "created_at": iso(capture.begun_at),
        "updated_at": iso(capture.ready_at if capture.finished and capture.ready_at else capture.begun_at),
    }


def _in_full(sandbox: Sandbox, capture: Capture) -> dict[str, Any]:
    place = capture.place
    out = {"key": place["key"], "bucket": place["bucket_name"], "region": place["bucket_region"]}
    return {**_shown(sandbox, capture), "outParams": out}
