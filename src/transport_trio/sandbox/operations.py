"""Daily's operations that the sandbox carries out: plain functions from a checked-in request to an answer's JSON.

Each runs without a checkpoint, so operations never interleave: of parallel creations with one name one wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from transport_trio.sandbox.call import presence_entry
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.paging import page_limit
from transport_trio.sandbox.properties import DOMAIN, ROOM, TOKEN, checked, merged
from transport_trio.sandbox.refusals import ApiError, invalid, js_text
from transport_trio.sandbox.rooms import NewRoom, Room, check_name, room_object
from transport_trio.sandbox.tokens import InvalidToken, properties_of

MAX_BATCH = 1000
MAX_EJECTED = 100


@attrs.frozen(kw_only=True)
class ApiRequest:
    """`now` is the time up to which the sandbox has settled; `path` holds the parts of the route."""

    now: float
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    host: str = ""  # as the client calls us, for links


Operation = Callable[[Sandbox, ApiRequest], Any]


def get_domain(sandbox: Sandbox, _request: ApiRequest) -> Any:
    config = sandbox.config
    return {"domain_name": config.domain, "domain_id": config.domain_id, "config": sandbox.domain_config}


def update_domain(sandbox: Sandbox, request: ApiRequest) -> Any:
    only(request.body, "properties")
    changes = checked(request.body.get("properties"), DOMAIN, request.now)
    sandbox.domain_config = merged(sandbox.domain_config, changes, DOMAIN)
    return {"domain_name": sandbox.config.domain, "config": sandbox.domain_config}


def list_rooms(sandbox: Sandbox, request: ApiRequest) -> Any:
    total, rooms = sandbox.rooms.page(request.query, request.now)
    return {"total_count": total, "data": [_shown(sandbox, room) for room in rooms]}


def create_room(sandbox: Sandbox, request: ApiRequest) -> Any:
    return _create(sandbox, [_new_room(request.body, request.now)], request.now)[0]


def batch_create_rooms(sandbox: Sandbox, request: ApiRequest) -> Any:
    only(request.body, "rooms")
    wanted = _batch(request.body.get("rooms"), dict, "objects")
    return _create(sandbox, [_new_room(item, request.now) for item in wanted], request.now)


def batch_delete_rooms(sandbox: Sandbox, request: ApiRequest) -> Any:
    only(request.body, "rooms")
    names = _batch(request.body.get("rooms"), str, "room names")
    return {"deleted_count": sandbox.rooms.remove_all(names, request.now)}


def get_room(sandbox: Sandbox, request: ApiRequest) -> Any:
    return _shown(sandbox, room_of(sandbox, request))


def update_room(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    only(request.body, "privacy", "properties")
    privacy = _privacy(request.body.get("privacy"), room.privacy)
    changes = checked(request.body.get("properties"), ROOM, request.now)
    room.privacy = privacy
    room.config = merged(room.config, changes, ROOM)
    return _shown(sandbox, room)


def delete_room(sandbox: Sandbox, request: ApiRequest) -> Any:
    name = request.path["name"]
    sandbox.rooms.remove(name, request.now)
    return {"deleted": True, "name": name}


def room_presence(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    limit = page_limit(request.query) if "limit" in request.query else None
    entries = [
        entry
        for entry in _presence(sandbox, room, request.now)
        if request.query.get("userId") in {None, entry["userId"]}
        and request.query.get("userName") in {None, entry["userName"]}
    ]
    return {"total_count": len(entries), "data": entries[:limit]}


def all_presence(sandbox: Sandbox, request: ApiRequest) -> Any:
    shown = {room.name: _presence(sandbox, room, request.now) for room in sandbox.rooms.all()}
    return {name: entries for name, entries in shown.items() if entries}


def eject(sandbox: Sandbox, request: ApiRequest) -> Any:
    room = room_of(sandbox, request)
    only(request.body, "ids", "user_ids", "ban")
    ids, user_ids = _names(request.body, "ids"), _names(request.body, "user_ids")
    ban = request.body.get("ban")
    if ban is not None and not isinstance(ban, bool):
        raise invalid(f"ban was '{js_text(ban)}' but should be a boolean")
    if not ids and not user_ids:
        raise invalid("ids or user_ids is required")
    present = room.call.present(request.now)
    check_hosted(sandbox, room, request.now)
    ejected = [one for one in present if one.id in ids or one.user_id in user_ids]
    room.call.put_out(ejected, request.now)
    if ban:
        room.call.ban(ejected)
    return {"ejectedIds": [one.id for one in ejected]}


def check_hosted(sandbox: Sandbox, room: Room, now: float) -> None:
    """Raises:
    ApiError: nobody is in the call, or the first came so recently that Daily does not know it yet.
    """
    if not room.call.is_hosted(now, sandbox.config.call_lag_s):
        raise ApiError(404, "not-found", f"room {room.name} does not seem to be hosting a call currently")


def create_meeting_token(sandbox: Sandbox, request: ApiRequest) -> Any:
    only(request.body, "properties")
    properties = checked(request.body.get("properties"), TOKEN, request.now)
    room_name = properties.get("room_name")
    if sandbox.config.refuse_unknown_rooms and room_name is not None:
        room = sandbox.rooms.find(room_name)
        if room is None or room.is_expired(request.now):
            raise invalid("room not found")
    return {"token": sandbox.signer.mint(properties, request.now)}


def get_meeting_token(sandbox: Sandbox, request: ApiRequest) -> Any:
    try:
        claims = sandbox.signer.read(
            request.path["token"], request.now, ignore_nbf=request.query.get("ignoreNbf") == "true"
        )
    except InvalidToken as exc:
        raise invalid(str(exc)) from exc
    return properties_of(claims)


def _create(sandbox: Sandbox, wanted: list[NewRoom], now: float) -> list[Any]:
    rooms = sandbox.rooms.add(wanted, now)
    if sandbox.config.people:
        for room in rooms:
            sandbox.crowd.visit(room.id, room.name, now)
    return [_shown(sandbox, room) for room in rooms]


def _new_room(body: Mapping[str, Any], now: float) -> NewRoom:
    only(body, "name", "privacy", "properties")
    name = body.get("name")
    return NewRoom(
        None if name is None else check_name(name),
        _privacy(body.get("privacy"), "public"),
        checked(body.get("properties"), ROOM, now),
    )


def room_of(sandbox: Sandbox, request: ApiRequest) -> Room:
    return sandbox.rooms.get(request.path["name"], request.now)


def _shown(sandbox: Sandbox, room: Room) -> dict[str, Any]:
    return room_object(room, sandbox.room_url(room))


def _presence(sandbox: Sandbox, room: Room, now: float) -> list[dict[str, Any]]:
    return [presence_entry(room.name, one, now) for one in room.call.shown(now, sandbox.config.presence_lag_s)]


def _privacy(given: Any, otherwise: str) -> str:
    if given is None:
        return otherwise
    if given not in ("public", "private"):
        raise invalid(f"privacy was '{js_text(given)}' but should be one of 'public', 'private'")
    return str(given)


def only(body: Mapping[str, Any], *known: str) -> None:
    for name in body:
        if name not in known:
            raise invalid(f"invalid property name '{name}'")


def _batch(given: Any, kind: type, wanted: str) -> list[Any]:
    if not isinstance(given, list) or not all(isinstance(item, kind) for item in given):
        raise invalid(f"rooms was '{js_text(given)}' but should be an array of {wanted}")
    if len(given) > MAX_BATCH:
        raise invalid(f"rooms has {len(given)} items but should have at most {MAX_BATCH}")
    return given


def _names(body: Mapping[str, Any], name: str) -> frozenset[str]:
    given = body.get(name)
    if given is None:
        return frozenset()
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise invalid(f"{name} was '{js_text(given)}' but should be an array of strings")
    if len(given) > MAX_EJECTED:
        raise invalid(f"{name} has {len(given)} items but should have at most {MAX_EJECTED}")
    return frozenset(given)
