"""Which recording, transcription or live stream a request means; and what Daily says where there is none."""

from __future__ import annotations

from typing import Any

from transport_trio.sandbox.captures import INSTANCE, Capture, Kind
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.operations import ApiRequest
from transport_trio.sandbox.refusals import ApiError, invalid
from transport_trio.sandbox.rooms import Room

DONE = {"recording": "recorded", "transcription": "transcribed", "streaming": "streamed"}
NAMES = {"recording": "recording", "transcription": "transcript"}


def running(sandbox: Sandbox, room: Room, kind: Kind, given: dict[str, Any]) -> Capture:
    """The one of the instance in the body, or of the one that is meant when none is named."""
    capture = sandbox.captures.running(room, kind, given.get("instanceId", INSTANCE))
    if capture is None:
        raise invalid(f"room {room.name} is not being {DONE[kind]}")
    return capture


def kept(sandbox: Sandbox, request: ApiRequest, kind: Kind) -> Capture:
    """The one of the id in the path."""
    id_ = request.path["id"]
    for capture in sandbox.captures.known(kind):
        if capture.id == id_:
            return capture
    raise ApiError(404, "not-found", f"{NAMES[kind]} {id_} not found")


def finished(sandbox: Sandbox, request: ApiRequest, kind: Kind) -> Capture:
    capture = kept(sandbox, request, kind)
    if not capture.finished:
        raise invalid(f"{NAMES[kind]} {capture.id} is not finished")
    return capture
