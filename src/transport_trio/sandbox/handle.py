"""A running sandbox in the hands of a test: plain synchronous calls over its control API, standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_S = 10.0

Json = dict[str, Any]


class SandboxError(Exception):
    """The sandbox refused a control call; the message says why."""


class JoinRefused(SandboxError):
    """Daily would not let them in; `reason` is its client library's word, like `exp-room` or `meeting-full`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class SandboxHandle:
    """Where the sandbox is, and everything that can be done to it. Calls block, for milliseconds."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        domain: str,
        control: str = "/sandbox",
        further_domains: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._control = control
        # The other domains behind this port, by name. An outage is theirs, too.
        self.further = {
            name: SandboxHandle(url, api_key=key, domain=name, control=f"{control}/domains/{quote(name, safe='')}")
            for name, key in (further_domains or {}).items()
        }
        self.api_url = f"{url}/v1"
        self.api_key = api_key
        self.domain = domain
        # A proxy from the environment has no business with a loopback address.
        self._opener = build_opener(ProxyHandler({}))

    def join(
        self,
        room: str,
        name: str | None = None,
        user_id: str | None = None,
        *,
        is_owner: bool = False,
        token: str | None = None,
        anonymous: bool = False,
    ) -> Json:
        """Let somebody enter the room; their presence entry, whose `id` is new for each join.

        With `token` they come with that meeting token; with `anonymous` without any, as by a bare link; else with a
        good token that holds what is given here.

        Raises:
            JoinRefused: Daily would refuse them.
        """
        body = {"user_name": name, "user_id": user_id, "is_owner": is_owner, "token": token, "anonymous": anonymous}
        return self._call("POST", _participants(room), body)

    def leave(self, room: str, who: str | Mapping[str, Any] | None = None) -> list[Json]:
        """Let somebody leave: by what `join` returned, by session id or by user id; without `who` everybody.

        Raises:
            SandboxError: there is no such room or nobody of that name in it.
        """
        if who is None:
            path = _participants(room)
        else:
            path = f"{_participants(room)}/{quote(who if isinstance(who, str) else who['id'], safe='')}"
        left: list[Json] = self._call("DELETE", path)["left"]
        return left

    def participants(self, room: str) -> list[Json]:
        """Who is in the room in truth, whatever presence tells."""
        participants: list[Json] = self._call("GET", _participants(room))["participants"]
        return participants

    def messages(self, room: str) -> list[Json]:
        """The app messages sent to the room's people, oldest first: `data`, `recipient`, `receivedBy`, `sentAt`."""
        messages: list[Json] = self._call("GET", f"/rooms/{quote(room, safe='')}/messages")["messages"]
        return messages

    def captures(self, room: str) -> list[Json]:
        """The recordings, transcriptions and live streams of the room that run or will be ready soon."""
        captures: list[Json] = self._call("GET", _captures(room))["captures"]
        return captures

    def start_capture(self, room: str, kind: str, *, by: str | None = None, **options: Any) -> list[Json]:
        """Let somebody in the call (whoever came first, or `by`) start a recording, transcription or live stream.

        `kind` is `recording`, `transcription` or `streaming`; `options` as the API takes them. What `captures` returns.

        Raises:
            SandboxError: nobody is there, or Daily would refuse it.
        """
        body = {"kind": kind, "by": by, "options": options}
        captures: list[Json] = self._call("POST", _captures(room), body)["captures"]
        return captures

    def stop_capture(self, room: str, kind: str, **instance: str) -> None:
        """Let somebody in the call stop one: `stop_capture("demo", "recording", instanceId=...)`.

        Raises:
            SandboxError: none of this kind is running.
        """
        self._call("DELETE", _captures(room), {"kind": kind, **instance})

    def fail_capture(self, room: str, kind: str, *, message: str | None = None, **instance: str) -> Json:
        """Let one break off, or be lost before it is ready; webhooks are told of the error.

        Raises:
            SandboxError: there is none of this kind.
        """
        told = {} if message is None else {"message": message}
        return self._call("POST", f"{_captures(room)}/fail", {"kind": kind, **told, **instance})

    def idle(self, room: str, idle: bool = True) -> None:
        """Let everybody in the room be silent and without a camera from now on, or no longer."""
        self._call("POST", f"/rooms/{quote(room, safe='')}/idle", {"idle": idle})

    def rooms(self) -> list[Json]:
        """All rooms with their `participants`; those too that have expired and wait to be collected."""
        rooms: list[Json] = self._call("GET", "/rooms")["rooms"]
        return rooms

    def deliveries(self) -> list[Json]:
        """What webhooks were to be told, oldest first, each with its `type`, `tries`, `status` and `outcome`."""
        deliveries: list[Json] = self._call("GET", "/webhooks/deliveries")["deliveries"]
        return deliveries

    def requests(self, operation: str | None = None) -> list[Json]:
        """What was asked under /v1, oldest first: `method`, `path`, `operation`, `status`, `body`, `fault`, `time`."""
        query = "" if operation is None else "?" + urlencode({"operation": operation})
        requests: list[Json] = self._call("GET", f"/requests{query}")["requests"]
        return requests

    def forget_requests(self) -> None:
        self._call("DELETE", "/requests")

    def set_faults(self, *faults: Mapping[str, Any]) -> None:
        """Put these faults into force instead of all others; without any, nothing goes wrong any more.

        A fault is like `{"kind": "error", "status": 503, "operation": "create_room", "count": 2}`.
        """
        self._call("PUT", "/faults", {"faults": list(faults)})

    def add_fault(self, kind: str, **options: Any) -> None:
        """Put one more fault into force: `add_fault("delay", delay_s=2, operation="get_room")`."""
        self._call("POST", "/faults", {"faults": [{"kind": kind, **options}]})

    def faults(self) -> list[Json]:
        """The faults in force, with how often each has `fired` and how many are `left`."""
        faults: list[Json] = self._call("GET", "/faults")["faults"]
        return faults

    def configure(self, **settings: Any) -> None:
        """Change settings: `configure(presence_lag_s=15, rate_limits=False)`."""
        self._call("PATCH", "/settings", settings)

    def advance(self, by_s: float) -> float:
        """Move the sandbox's clock ahead; its new unix time."""
        now: float = self._call("POST", "/clock", {"advance_s": by_s})["now"]
        return now

    def now(self) -> float:
        """The sandbox's unix time."""
        now: float = self._call("GET", "")["now"]
        return now

    def outage(self, for_s: float) -> None:
        """Close the port for so long: new connections are refused, those that exist are closed."""
        self._call("POST", "/outage", {"for_s": for_s})

    def reset(self, **settings: Any) -> None:
        """Begin anew with no rooms, no faults, an empty log, the clock right, and the first settings but for these."""
        self._call("POST", "/reset", settings)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{self._control}{path}", data, method=method)  # noqa: S310 - our own URL
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                answer: Json = json.load(response)
                return answer
        except HTTPError as exc:
            with exc:
                refusal = json.load(exc)
            if refusal.get("error") == "join-refused":
                raise JoinRefused(refusal["reason"], refusal["info"]) from exc
            raise SandboxError(refusal.get("info", refusal.get("error"))) from exc


def _captures(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}/captures"


def _participants(room: str) -> str:
    return f"/rooms/{quote(room, safe='')}/participants"
