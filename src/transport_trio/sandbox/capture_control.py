"""The control API's part for recordings, transcriptions and live streams: what people in a call, and mishaps, do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from transport_trio.sandbox.call import Participant
from transport_trio.sandbox.capture_bodies import checked_body
from transport_trio.sandbox.captures import INSTANCE, Capture, Kind
from transport_trio.sandbox.control import PREFIX, Body, carry_out, only_keys
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.edge import Route
from transport_trio.sandbox.refusals import ApiError, room_not_found
from transport_trio.sandbox.rooms import Room
from transport_trio.sandbox.starting import BEGIN

MISHAP = "the worker has crashed"


def capture_control_routes(sandbox: Sandbox) -> list[Route]:
    control = CaptureControl(sandbox)
    captures = f"{PREFIX}/rooms/<name>/captures"
    calls: tuple[tuple[str, str, Callable[..., Any]], ...] = (
        ("GET", captures, control.running),
        ("POST", captures, control.start),
        ("DELETE", captures, control.stop),
        ("POST", f"{captures}/fail", control.fail),
        ("POST", f"{PREFIX}/rooms/<name>/idle", control.idle),
    )
    return [(method, path, partial(carry_out, call)) for method, path, call in calls]


class CaptureControl:
    """One method for each call, as in `Control`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def running(self, _body: Body, name: str) -> Any:
        """What is running in the room or on its way to being ready."""
        self._sandbox.settle()
        return {"captures": [_described(one) for one in self._sandbox.captures.all_open(self._room(name))]}

    def start(self, body: Body, name: str) -> Any:
        """Somebody in the call starts one themselves."""
        only_keys(body, "kind", "by", "options")
        kind, now = _kind(body), self._sandbox.settle()
        room = self._room(name)
        table, begin = BEGIN[kind]
        options = body.get("options", {})
        if not isinstance(options, dict):
            raise ValueError("options must be an object")  # noqa: TRY004 - the caller's fault, no bug
        begin(self._sandbox, room, checked_body(options, table), now, self._somebody(room, body.get("by"), now).id)
        return self.running({}, name)

    def stop(self, body: Body, name: str) -> Any:
        """Somebody in the call stops one."""
        only_keys(body, "kind", "instanceId")
        now = self._sandbox.settle()
        capture = self._sandbox.captures.running(self._room(name), _kind(body), body.get("instanceId", INSTANCE))
        if capture is None:
            raise ApiError(404, "not-found", f"nothing of this kind is running in room {name}")
        self._sandbox.captures.stop(capture, now)
        return self.running({}, name)

    def fail(self, body: Body, name: str) -> Any:
        """One breaks off, or turns out to be lost before it is ready."""
        only_keys(body, "kind", "instanceId", "message")
        kind, now = _kind(body), self._sandbox.settle()
        instance_id, message = body.get("instanceId"), body.get("message", MISHAP)
        for capture in reversed(self._sandbox.captures.all_open(self._room(name))):
            if capture.kind == kind and instance_id in {None, capture.instance_id}:
                self._sandbox.captures.fail(capture, str(message), now)
                return _described(capture)
        raise ApiError(404, "not-found", f"nothing of this kind is running in room {name}")

    def idle(self, body: Body, name: str) -> Any:
        """Everybody mutes and turns the camera off; or somebody takes it back."""
        only_keys(body, "idle")
        idle, now = body.get("idle", True), self._sandbox.settle()
        if not isinstance(idle, bool):
            raise ValueError("idle must be true or false")  # noqa: TRY004 - the caller's fault, no bug
        self._room(name).call.idle_since = now if idle else None
        return {"idle": idle}

    def _room(self, name: str) -> Room:
        room = self._sandbox.rooms.find(name)
        if room is None:
            raise room_not_found(name)
        return room

    def _somebody(self, room: Room, who: Any, now: float) -> Participant:
        for one in room.call.present(now):
            if who is None or one.goes_by(who):
                return one
        raise ApiError(404, "not-found", f"nobody in room {room.name} is called {who}")


def _kind(body: Body) -> Kind:
    if body.get("kind") not in BEGIN:
        raise ValueError(f"kind must be one of {', '.join(BEGIN)}")
    return cast("Kind", body["kind"])


def _described(capture: Capture) -> dict[str, Any]:
    return {
        "id": capture.id,
        "kind": capture.kind,
        "instanceId": capture.instance_id,
        "startedBy": capture.started_by,
        "options": capture.options,
        "running": capture.is_running,
        "begun": capture.begun,
    }
