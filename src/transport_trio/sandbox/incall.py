"""Daily's operations on a call under way: what its people are sent, and what they may do."""

from __future__ import annotations

import json
from typing import Any

from transport_trio.sandbox.call import AppMessage, Call
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.operations import ApiRequest, check_hosted, only, room_of
from transport_trio.sandbox.permissions import check_permissions
from transport_trio.sandbox.refusals import invalid, js_text
from transport_trio.sandbox.rooms import Room

MESSAGE_MAX_BYTES = 4096
EVERYBODY = "*"


def send_app_message(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    only(request.body, "data", "recipient")
    data, recipient = request.body.get("data"), request.body.get("recipient", EVERYBODY)
    if not isinstance(data, dict):
        raise invalid(f"data was '{js_text(data)}' but should be an object")
    if not isinstance(recipient, str):
        raise invalid(f"recipient was '{js_text(recipient)}' but should be a string")
    size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MESSAGE_MAX_BYTES:
        raise invalid(f"data has {size} bytes but should have at most {MESSAGE_MAX_BYTES}")
    call = _hosted(sandbox, room, request)
    reached = tuple(one.id for one in call.present(request.now) if recipient in {EVERYBODY, one.id})
    call.messages.append(AppMessage(data=data, recipient=recipient, received_by=reached, sent_at=request.now))
    return {"sent": "true"}


def update_permissions(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    only(request.body, "data")
    changes = request.body.get("data")
    if not isinstance(changes, dict):
        raise invalid(f"data was '{js_text(changes)}' but should be an object")
    for who, given in changes.items():
        check_permissions(f"data.{who}", given)
    for one in _hosted(sandbox, room, request).present(request.now):
        # Each that is given replaces the one before; what is said to one person counts more than what is said to all.
        one.permit({**changes.get(EVERYBODY, {}), **changes.get(one.id, {})})
    return {"status": "sent"}


def _hosted(sandbox: Sandbox, room: Room, request: ApiRequest) -> Call:
    check_hosted(sandbox, room, request.now)
    return room.call
