"""Daily's calls to the people of a call under way, which answer 404 also where the room is there and nobody is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.mapping import permissions_body
from transport_trio.connectors.daily.operations import (
    EJECT,
    FIND_ROOM,
    SEND_MESSAGE,
    UPDATE_PERMISSIONS,
    Operation,
)
from transport_trio.connectors.daily.reading import parse_ejected, parse_sent
from transport_trio.errors import NobodyInCall, RoomNotFound
from transport_trio.models import PermissionsChange, RoomConfig

T = TypeVar("T")


async def eject(
    client: DailyClient, room: str, participant_ids: Sequence[str], user_ids: Sequence[str], *, ban: bool
) -> tuple[str, ...]:
    body: dict[str, Any] = {"ban": ban}
    if participant_ids:
        body["ids"] = list(participant_ids)
    if user_ids:
        body["user_ids"] = list(user_ids)
    return await ask_call(client, EJECT, room, body, lambda answer: parse_ejected(answer.json))


async def update_permissions(
    client: DailyClient, room: str, participant_id: str, change: PermissionsChange, config: RoomConfig
) -> None:
    body = {"data": {participant_id: permissions_body(change, config)}}
    await ask_call(client, UPDATE_PERMISSIONS, room, body, lambda answer: parse_sent(answer.json))


async def send_message(client: DailyClient, room: str, recipient: str, data: dict[str, Any]) -> None:
    body = {"data": data, "recipient": recipient}
    await ask_call(client, SEND_MESSAGE, room, body, lambda answer: parse_sent(answer.json))


async def room_exists(client: DailyClient, name: str) -> bool:
    """Whether Daily knows a room of that name, even an expired one that it has not collected yet."""
    try:
        await client.call(FIND_ROOM, lambda answer: None, room=name)
    except RoomNotFound:
        return False
    return True


async def ask_call(
    client: DailyClient, op: Operation, room: str, body: dict[str, Any], read: Callable[[Answer], T]
) -> T:
    """What `read` makes of the answer of an operation on a call.

    Raises:
        NobodyInCall: the room is there, and nobody is known to be in it.
        ConnectorError: its other kinds.
    """
    try:
        return await client.call(op, read, room=room, body=body)
    except RoomNotFound as exc:
        # Only the free text of Daily's 404 tells an empty room from a missing one, and that text may change.
        if await room_exists(client, room):
            raise NobodyInCall(client.provider, room) from exc
        raise
