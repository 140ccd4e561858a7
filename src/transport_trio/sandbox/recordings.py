"""Daily's operations on recordings: of a call under way, and of what there is afterwards."""

from __future__ import annotations

from typing import Any

from transport_trio.sandbox.capture_bodies import RECORDING, RECORDING_STOP, checked_body
from transport_trio.sandbox.capture_lookup import finished, kept, running
from transport_trio.sandbox.captures import Capture
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.files import access_link
from transport_trio.sandbox.operations import ApiRequest, check_hosted, room_of
from transport_trio.sandbox.paging import page_of
from transport_trio.sandbox.refusals import invalid
from transport_trio.sandbox.starting import begin_recording

SENT = {"status": "sent"}


def start_recording(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    options = checked_body(request.body, RECORDING)
    check_hosted(sandbox, room, request.now)
    begin_recording(sandbox, room, options, request.now)
    return SENT


def update_recording(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    changes = checked_body(request.body, RECORDING)
    check_hosted(sandbox, room, request.now)
    capture = running(sandbox, room, "recording", changes)
    if capture.options.get("type") == "raw-tracks":
        raise invalid("a raw-tracks recording cannot be updated")
    sandbox.captures.update(capture, changes, request.now)
    return SENT


def stop_recording(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    given = checked_body(request.body, RECORDING_STOP)
    check_hosted(sandbox, room, request.now)
    capture = running(sandbox, room, "recording", given)
    if given.get("type", capture.options.get("type", "cloud")) != capture.options.get("type", "cloud"):
        raise invalid(f"room {room.name} has no recording of this type")
    sandbox.captures.stop(capture, request.now)
    return SENT


def list_recordings(sandbox: Sandbox, request: ApiRequest) -> Any:
    room_name = request.query.get("room_name")
    found = [one for one in sandbox.captures.known("recording") if room_name in {None, one.room_name}]
    total, page = page_of(found, request.query, lambda one: (one.begun_at, one.id), "a recording")
    return {"total_count": total, "data": [recording_object(one) for one in page]}


def get_recording(sandbox: Sandbox, request: ApiRequest) -> Any:
    return recording_object(kept(sandbox, request, "recording"))


def delete_recording(sandbox: Sandbox, request: ApiRequest) -> Any:
    capture = finished(sandbox, request, "recording")
    sandbox.captures.forget(capture)
    place = capture.place
    return {
        "deleted": True,
        "id": capture.id,
        "s3_bucket": place["bucket_name"],
        "s3_region": place["bucket_region"],
        "s3_key": place["key"],
    }


def get_recording_link(sandbox: Sandbox, request: ApiRequest) -> Any:
    link, expires = access_link(sandbox, finished(sandbox, request, "recording"), request)
    return {"download_link": link, "expires": expires}


def recording_object(capture: Capture) -> dict[str, Any]:
    """`duration` and `status` finished come when it is ready; to which meeting it belongs, not always."""
    place = capture.place
    return {
        "id": capture.id,
        "room_name": capture.room_name,
        "start_ts": int(capture.begun_at),
        "type": capture.options.get("type", "cloud"),
        "status": "finished" if capture.finished else "in-progress",
        "max_participants": capture.max_participants,
        **({"duration": capture.duration_s} if capture.finished else {}),
        "share_token": capture.share_token,
        "s3key": place["key"],
        **({"mtgSessionId": capture.meeting_id} if capture.tells_meeting else {}),
        **({"tracks": tracks} if capture.finished and (tracks := capture.tracks) else {}),
    }
