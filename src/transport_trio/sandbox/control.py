"""The control API under /sandbox: what Daily has no call for, because there people and networks do it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.call import Participant, presence_entry
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.door import JoinRefused
from transport_trio.sandbox.edge import Route
from transport_trio.sandbox.exchange import Answer, Request, json_answer
from transport_trio.sandbox.faults import fault_from
from transport_trio.sandbox.outage import MAX_OUTAGE_S, Outage
from transport_trio.sandbox.properties import TOKEN, is_number
from transport_trio.sandbox.refusals import ApiError, room_not_found
from transport_trio.sandbox.rooms import Room, room_object
from transport_trio.sandbox.timeform import iso

PREFIX = "/sandbox"
MAX_ADVANCE_S = 10 * 365 * 86400.0
JOIN_KEYS = ("user_name", "user_id", "is_owner", "token", "anonymous")

Body = dict[str, Any]


def control_routes(sandbox: Sandbox, outage: Outage) -> list[Route]:
    control = Control(sandbox, outage)
    participants = "/rooms/<name>/participants"
    calls: tuple[tuple[str, str, Callable[..., Any]], ...] = (
        ("GET", "", control.overview),
        ("POST", "/reset", control.reset),
        ("PATCH", "/settings", control.configure),
        ("POST", "/clock", control.advance),
        ("POST", "/outage", control.begin_outage),
        ("GET", "/faults", control.faults),
        ("POST", "/faults", control.add_faults),
        ("PUT", "/faults", control.replace_faults),
        ("GET", "/requests", control.requests),
        ("DELETE", "/requests", control.forget_requests),
        ("GET", "/webhooks/deliveries", control.deliveries),
        ("GET", "/rooms", control.rooms),
        ("GET", participants, control.participants),
        ("POST", participants, control.join),
        ("DELETE", participants, control.leave_all),
        ("DELETE", f"{participants}/<who>", control.leave),
        ("GET", "/rooms/<name>/messages", control.messages),
    )
    return [(method, f"{PREFIX}{path}", partial(carry_out, call)) for method, path, call in calls]


async def carry_out(call: Callable[..., Any], request: Request) -> Answer:
    """The answer of a call that takes a body, or the query of a GET, and the parts of the path."""
    try:
        given = dict(request.query) if request.method in {"GET", "HEAD"} else _object(request.body())
        return json_answer(call(given, **request.args))
    except ValueError as exc:
        raise ApiError(400, "invalid-request-error", str(exc)) from exc


class Control:
    """One method for each call, which takes the body, or the query of a GET; ValueError for what makes no sense."""

    def __init__(self, sandbox: Sandbox, outage: Outage) -> None:
        self._sandbox, self._outage = sandbox, outage

    def overview(self, _body: Body) -> Any:
        config = self._sandbox.config
        return {
            "service": "daily-sandbox",
            "domain": config.domain,
            "domain_id": config.domain_id,
            "now": self._sandbox.settle(),
            "rooms": len(self._sandbox.rooms.all()),
            "settings": config.changeable(),
        }

    def reset(self, body: Body) -> Any:
        self._sandbox.reset(body)
        return self.overview({})

    def configure(self, body: Body) -> Any:
        self._sandbox.configure(body)
        return self._sandbox.config.changeable()

    def advance(self, body: Body) -> Any:
        only_keys(body, "advance_s")
        return {"now": self._sandbox.advance(_seconds(body, "advance_s", MAX_ADVANCE_S))}

    def begin_outage(self, body: Body) -> Any:
        only_keys(body, "for_s")
        for_s = _seconds(body, "for_s", MAX_OUTAGE_S)
        self._outage.begin(for_s)
        return {"for_s": for_s}

    def faults(self, _body: Body) -> Any:
        return {"faults": self._sandbox.faults.describe(self._sandbox.now())}

    def add_faults(self, body: Body) -> Any:
        only_keys(body, "faults")
        given = body.get("faults")
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise ValueError("faults must be an array of objects")
        self._sandbox.faults.arm([fault_from(one) for one in given], self._sandbox.now())
        return self.faults({})

    def replace_faults(self, body: Body) -> Any:
        before = self._sandbox.faults.take_all()
        try:
            return self.add_faults(body)
        except ValueError:
            self._sandbox.faults.put_back(before)
            raise

    def requests(self, query: Body) -> Any:
        found = self._sandbox.log.requests(query.get("operation"))
        return {"requests": [attrs.asdict(one, recurse=False) for one in found]}

    def forget_requests(self, _body: Body) -> Any:
        self._sandbox.log.clear()
        return {"requests": []}

    def deliveries(self, _body: Body) -> Any:
        """What webhooks were to be told of, and what became of it."""
        log = self._sandbox.webhooks.log
        return {"deliveries": [attrs.asdict(one, filter=lambda field, _: field.name != "body") for one in log]}

    def rooms(self, _body: Body) -> Any:
        """All rooms there are, those included that have expired and wait to be collected."""
        now = self._sandbox.settle()
        return {"rooms": [self._described(room, now) for room in self._sandbox.rooms.all()]}

    def participants(self, _body: Body, name: str) -> Any:
        now = self._sandbox.settle()
        return {"participants": [_described(one, name, now) for one in self._room(name).call.present(now)]}

    def messages(self, _body: Body, name: str) -> Any:
        """The app messages sent to the room's people, oldest first."""
        sent = self._room(name).call.messages
        return {
            "messages": [
                {
                    "data": one.data,
                    "recipient": one.recipient,
                    "receivedBy": list(one.received_by),
                    "sentAt": iso(one.sent_at),
                }
                for one in sent
            ]
        }

    def join(self, body: Body, name: str) -> Any:
        only_keys(body, *JOIN_KEYS)
        now = self._sandbox.settle()
        try:
            participant = self._sandbox.join(name, self._token(body, name, now), body.get("user_name"), now)
        except JoinRefused as exc:
            raise ApiError(403, "join-refused", str(exc), reason=exc.reason) from exc
        return _described(participant, name, now)

    def leave(self, _body: Body, name: str, who: str) -> Any:
        now = self._sandbox.settle()
        gone = self._room(name).call.leave(who, now)
        if not gone:
            raise ApiError(404, "not-found", f"nobody in room {name} is called {who}")
        return {"left": [_described(one, name, now) for one in gone]}

    def leave_all(self, _body: Body, name: str) -> Any:
        now = self._sandbox.settle()
        room = self._room(name)
        gone = room.call.present(now)
        room.call.end(now)
        return {"left": [_described(one, name, now) for one in gone]}

    def _token(self, body: Body, name: str, now: float) -> str | None:
        """The token brought along; else one as the room's owner would have made it, unless they come anonymously."""
        for key, kind in (("token", str), ("anonymous", bool), ("user_name", str)):
            if body.get(key) is not None and not isinstance(body[key], kind):
                raise ValueError(f"{key} has the wrong type")
        token: str | None = body.get("token")
        if token is not None or body.get("anonymous"):
            return token
        given = {key: body[key] for key in ("user_name", "user_id", "is_owner") if body.get(key) is not None}
        for key, value in given.items():
            TOKEN[key].check(key, value)
        return self._sandbox.signer.mint({"room_name": name, **given}, now)

    def _room(self, name: str) -> Room:
        room = self._sandbox.rooms.find(name)
        if room is None:
            raise room_not_found(name)
        return room

    def _described(self, room: Room, now: float) -> dict[str, Any]:
        return {
            **room_object(room, self._sandbox.room_url(room)),
            "expired": room.is_expired(now),
            "participants": [_described(one, room.name, now) for one in room.call.present(now)],
        }


def _described(participant: Participant, room_name: str, now: float) -> dict[str, Any]:
    return {
        **presence_entry(room_name, participant, now),
        "owner": participant.is_owner,
        "hidden": participant.hidden,
        "ejectAt": participant.eject_at,
        "permissions": participant.all_permissions,
    }


def _object(raw: bytes) -> Body:
    body = jsonform.read(raw)
    if isinstance(body, list):
        raise ValueError("the body must be an object, not an array")  # noqa: TRY004 - the caller's fault, no bug
    return dict(body)


def only_keys(body: Body, *known: str) -> None:
    for name in body:
        if name not in known:
            raise ValueError(f"unknown: {name}; known: {', '.join(known)}")


def _seconds(body: Body, name: str, most: float) -> float:
    value = body.get(name)
    if not is_number(value) or not 0 <= float(value or 0) <= most:
        raise ValueError(f"{name} must be a number of seconds, at most {most:g}")
    return float(value or 0)
