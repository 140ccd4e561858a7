"""Who may enter a room, and when they will be put out again: fixed at the join, as measured at Daily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from transport_trio.sandbox.rooms import Room
from transport_trio.sandbox.tokens import InvalidToken, Signer, properties_of


class JoinRefused(Exception):
    """`reason` is the error type that Daily's client library reports."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@attrs.frozen(kw_only=True)
class Badge:
    """What the door knows of somebody who may enter."""

    user_id: str | None = None
    user_name: str | None = None
    is_owner: bool = False
    hidden: bool = False
    eject_at: float | None = None
    permissions: Mapping[str, Any] = attrs.field(factory=dict)
    token: Mapping[str, Any] = attrs.field(factory=dict)  # its properties


def admit(room: Room, token: str | None, user_name: str | None, signer: Signer, now: float) -> Badge:
    """Judge a join as Daily does.

    Raises:
        JoinRefused: with the reason a client would see.
    """
    claims = _claims(token, signer, now)
    if room.is_expired(now):
        raise JoinRefused("exp-room", "the room has expired")
    if (nbf := room.setting("nbf")) is not None and now < nbf:
        raise JoinRefused("nbf-room", "the room is not open yet")
    properties = properties_of(claims)
    if properties.get("room_name", room.name) != room.name:
        raise JoinRefused("not-allowed", "the token is for another room")
    if room.privacy == "private" and token is None:
        raise JoinRefused("not-allowed", "the room is private: it takes a meeting token")
    user_id = properties.get("user_id")
    _check_place(room, user_id, now)
    permissions = properties.get("permissions") or room.setting("permissions") or {}
    is_owner = properties.get("is_owner") is True
    return Badge(
        user_id=user_id,
        user_name=properties.get("user_name", user_name),
        is_owner=is_owner,
        hidden=permissions.get("hasPresence") is False and not is_owner,
        eject_at=_eject_at(room, properties, now),
        permissions=permissions,
        token=properties,
    )


def _claims(token: str | None, signer: Signer, now: float) -> Mapping[str, Any]:
    if token is None:
        return {}
    try:
        return signer.read(token, now)
    except InvalidToken as exc:
        raise JoinRefused(exc.reason, str(exc)) from exc


def _check_place(room: Room, user_id: str | None, now: float) -> None:
    if room.call.is_banned(user_id):
        raise JoinRefused("not-allowed", "this user has been banned")
    present = room.call.present(now)
    replaced = room.setting("enforce_unique_user_ids") and user_id is not None
    others = [one for one in present if not (replaced and one.user_id == user_id)]
    if len(others) >= room.setting("max_participants"):
        raise JoinRefused("meeting-full", "the meeting is full")


def _eject_at(room: Room, properties: Mapping[str, Any], now: float) -> float | None:
    """The token's eject options replace the room's; the earliest of those in force counts."""
    at_exp, elapsed = properties.get("eject_at_token_exp") is True, properties.get("eject_after_elapsed")
    exp = properties.get("exp")
    if not at_exp and elapsed is None:
        at_exp, elapsed = room.setting("eject_at_room_exp"), room.setting("eject_after_elapsed")
        exp = room.exp
    moments = [exp] if at_exp and exp is not None else []
    if elapsed is not None:
        moments.append(now + elapsed)
    return min(moments, default=None)
