"""Daily's operations on live streams of a call under way. Nothing is left of one when it has ended."""

from __future__ import annotations

from typing import Any

from transport_trio.sandbox.capture_bodies import ONE_INSTANCE, STREAMING, checked_body
from transport_trio.sandbox.capture_lookup import running
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.operations import ApiRequest, check_hosted, room_of
from transport_trio.sandbox.starting import begin_live_stream, check_endpoints

SENT = {"sent": "true"}


def start_live_stream(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    options = checked_body(request.body, STREAMING)
    check_hosted(sandbox, room, request.now)
    begin_live_stream(sandbox, room, options, request.now)
    return SENT


def update_live_stream(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    changes = checked_body(request.body, STREAMING)
    check_endpoints(sandbox, room, changes)
    check_hosted(sandbox, room, request.now)
    sandbox.captures.update(running(sandbox, room, "streaming", changes), changes, request.now)
    return SENT


def stop_live_stream(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    given = checked_body(request.body, ONE_INSTANCE)
    check_hosted(sandbox, room, request.now)
    sandbox.captures.stop(running(sandbox, room, "streaming", given), request.now)
    return SENT
