"""What comes in about the people in a room, read as strictly as `POST /sessions`."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from transport_trio.errors import InvalidRequest
from transport_trio.models import EVERYBODY, Permissions, PermissionsChange
from transport_trio.wire.out import encode
from transport_trio.wire.requests import USER_ID_MAX_CHARS, Body, body_of, control_faults

IDS_MAX = 100  # Daily's limit for an eject
ID_MAX_CHARS = 128
MESSAGE_DATA_MAX_BYTES = 4096  # Daily's limit
SENDING = ("can_send_video", "can_send_audio", "can_send_screen_video", "can_send_screen_audio")

Id = Annotated[str, Meta(min_length=1, max_length=ID_MAX_CHARS)]
UserId = Annotated[str, Meta(min_length=1, max_length=USER_ID_MAX_CHARS)]


class EjectBody(Body, frozen=True):
    participant_ids: Annotated[tuple[Id, ...], Meta(max_length=IDS_MAX)] = ()
    user_ids: Annotated[tuple[UserId, ...], Meta(max_length=IDS_MAX)] = ()
    ban: bool = False


class ChangeBody(Body, frozen=True):
    can_admin: bool | UnsetType = UNSET
    can_send_video: bool | UnsetType = UNSET
    can_send_audio: bool | UnsetType = UNSET
    can_send_screen_video: bool | UnsetType = UNSET
    can_send_screen_audio: bool | UnsetType = UNSET


class PermitBody(Body, frozen=True):
    participant_id: Id
    permissions: ChangeBody


class MessageBody(Body, frozen=True):
    data: dict[str, Any]
    recipient: Id = EVERYBODY


def eject_body(data: bytes) -> EjectBody:
    """The body of an eject.

    Raises:
        InvalidRequest: it has the wrong shape, names nobody, or holds what is no id.
    """
    body = body_of(data, EjectBody)
    faults = [
        *control_faults("$.participant_ids", *body.participant_ids),
        *control_faults("$.user_ids", *body.user_ids),
    ]
    if not body.participant_ids and not body.user_ids:
        faults.append(("$", "must name somebody in participant_ids or user_ids"))
    if faults:
        raise InvalidRequest(*faults)
    return body


def permit_body(data: bytes) -> tuple[str, PermissionsChange]:
    """Whose permissions change, and to what.

    Raises:
        InvalidRequest: it has the wrong shape, changes nothing, or decides only a part of what they may send.
    """
    body = body_of(data, PermitBody)
    given = {name: may for name in SENDING if (may := getattr(body.permissions, name)) is not UNSET}
    can_admin = None if body.permissions.can_admin is UNSET else body.permissions.can_admin
    faults = list(control_faults("$.participant_id", body.participant_id))
    if not given and can_admin is None:
        faults.append(("$.permissions", "changes nothing"))
    elif given and len(given) < len(SENDING):
        # A default for one left out could give back what somebody has taken away.
        missing = (name for name in SENDING if name not in given)
        faults.extend((f"$.permissions.{name}", "is required: the can_send_… are decided together") for name in missing)
    if faults:
        raise InvalidRequest(*faults)
    return body.participant_id, PermissionsChange(can_admin=can_admin, sending=Permissions(**given) if given else None)


def message_body(data: bytes) -> tuple[MessageBody, int]:
    """The message, and the size of its data as JSON.

    Raises:
        InvalidRequest: it has the wrong shape, or its data is too large.
    """
    body = body_of(data, MessageBody)
    size = len(encode(body.data))
    faults = list(control_faults("$.recipient", body.recipient))
    if size > MESSAGE_DATA_MAX_BYTES:
        faults.append(("$.data", f"must have at most {MESSAGE_DATA_MAX_BYTES} bytes as JSON; it has {size}"))
    if faults:
        raise InvalidRequest(*faults)
    return body, size
