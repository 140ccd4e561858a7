"""The Daily domain that the suite asks: the sandbox's, or a real one, which is treated with care.

On a real domain only rooms whose names begin with `PREFIX` are made, changed or deleted; each has an end of its own,
and the last step deletes them. Requests keep a distance, so that nothing is refused for its pace.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from transport_trio.sandbox import SandboxHandle

PREFIX = "tt-conformance-"
ROOM_LIFE_S = 3600
RUN_MAX_S = 600.0  # a room of another run that is older is a leftover, and a younger one may be somebody's
GAP_S = 0.3  # between two requests to a real domain: well under 20/s, and under 50 in 30 s where it matters
SLOW_GAP_S = 1.0
SLOW = ("/recordings", "/meetings", "/transcript", "/batch/rooms")
PAGES_MAX = 100
BATCH_MAX = 1000
TIMEOUT_S = 20.0

Json = dict[str, Any]


class TooFast(Exception):
    """Daily has refused a request for its pace: the suite must not go on."""


class Domain:
    """`sandbox` is None where nobody can be made to come, and no clock moves ahead."""

    def __init__(
        self,
        api_url: str,
        api_key: str,
        name: str,
        *,
        sandbox: SandboxHandle | None = None,
        gap_s: float = 0.0,
        client: httpx.Client,
    ) -> None:
        self.api_url, self.api_key, self.name, self.sandbox = api_url, api_key, name, sandbox
        self.prefix = f"{PREFIX}{uuid.uuid4().hex[:8]}-"
        self.learnt: dict[str, str] = {}
        self._client, self._gap_s = client, gap_s
        self._next_at = 0.0
        self.ahead_s = 0.0  # Daily's clock of ours

    def room_name(self, name: str) -> str:
        """How this run calls a room."""
        return f"{self.prefix}{name}"

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Daily's answer, once it is time to ask. Skips the test when the plan lacks what was asked for.

        Raises:
            TooFast: in spite of the gaps.
        """
        _check_is_ours(method, path, body or {})
        self._keep_distance(method, path)
        sent = {"Authorization": f"Bearer {self.api_key}"} if headers is None else dict(headers)
        answer = self._client.request(method, self.api_url + path, json=body, params=query, headers=sent)
        if answer.status_code == 429:
            raise TooFast(f"{method} {path}: {answer.text}")
        error = _error(answer)
        if error.get("error") == "invalid-plan-type":
            pytest.skip(f"the plan lacks it: {error.get('info')}")
        if error.get("error") == "not-simulated":
            pytest.skip(f"the sandbox does not simulate {method} {path}")
        return answer

    def make(self, name: str, *, privacy: str | None = None, **properties: Any) -> Json:
        """A room of this run, which ends by itself."""
        body: Json = {"name": self.room_name(name), "properties": {"exp": self.now() + ROOM_LIFE_S, **properties}}
        answer = self.ask("POST", "/rooms", body if privacy is None else {**body, "privacy": privacy})
        assert answer.status_code == 200, answer.text
        room: Json = answer.json()
        return room

    def now(self) -> int:
        return int(self.sandbox.now() if self.sandbox else time.time() + self.ahead_s)

    def pass_s(self, seconds: float) -> None:
        if self.sandbox:
            self.sandbox.advance(seconds)
        else:
            time.sleep(seconds)

    def learn(self, question: str, answer: str) -> None:
        """Note what an open point has turned out to be."""
        self.learnt[question] = answer

    def sweep(self) -> list[str]:
        """Delete the rooms of this run, and what earlier ones have left; their names."""
        names = [room["name"] for room in self._recent_rooms() if self._is_left(room)][:BATCH_MAX]
        if names and self.ask("DELETE", "/batch/rooms", {"rooms": names}).status_code != 200:
            for name in names:  # one of them may have come to its end meanwhile
                self.ask("DELETE", f"/rooms/{name}")
        return names

    def _is_left(self, room: Json) -> bool:
        if room["name"].startswith(self.prefix):
            return True
        return room["name"].startswith(PREFIX) and _made_at(room) < self.now() - RUN_MAX_S

    def _recent_rooms(self) -> Iterator[Json]:
        """Those in which one of ours can be: lists begin with the newest, and none of ours gets older."""
        query: Json = {"limit": 100}
        for _ in range(PAGES_MAX):
            page = self.ask("GET", "/rooms", query=query).json()["data"]
            yield from page
            if not page or _made_at(page[-1]) < self.now() - 2 * ROOM_LIFE_S:
                return
            query["starting_after"] = page[-1]["id"]

    def _keep_distance(self, method: str, path: str) -> None:
        if self._gap_s:
            time.sleep(max(0.0, self._next_at - time.monotonic()))
            slow = path.startswith(SLOW) or (method == "DELETE" and path.startswith("/rooms/"))
            self._next_at = time.monotonic() + (max(self._gap_s, SLOW_GAP_S) if slow else self._gap_s)


@contextmanager
def real_domain(environ: Mapping[str, str]) -> Iterator[Domain]:
    """The domain of `DAILY_API_KEY`, swept before and after.

    `DAILY_API_URL` names another address, `CONFORMANCE_GAP_S` another pace: for a sandbox in a process of its own.
    """
    api_url = environ.get("DAILY_API_URL", "https://api.daily.co/v1")
    gap_s = float(environ.get("CONFORMANCE_GAP_S", GAP_S))
    with httpx.Client(timeout=TIMEOUT_S) as client:
        domain = Domain(api_url, environ["DAILY_API_KEY"], environ["DAILY_DOMAIN"], gap_s=gap_s, client=client)
        _check_is_theirs(domain)
        domain.sweep()
        try:
            yield domain
        finally:
            domain.sweep()


def _check_is_theirs(domain: Domain) -> None:
    """Nothing is done in a domain that was not meant."""
    answer = domain.ask("GET", "/")
    name = _error(answer).get("domain_name")
    if answer.status_code != 200 or str(name).lower() != domain.name.lower():
        pytest.exit(f"DAILY_API_KEY is not the key of the domain {domain.name!r}: {answer.status_code}", returncode=2)
    domain.ahead_s = date_of(answer).timestamp() - time.time()


def _check_is_ours(method: str, path: str, body: Mapping[str, Any]) -> None:
    """Before anything is sent that makes, changes or deletes rooms: they have our prefix."""
    if method == "GET":
        return
    rooms = [path.split("/")[2]] if path.startswith("/rooms/") else []
    if (method, path) == ("POST", "/rooms"):
        rooms = [body.get("name", "")]
    if path == "/batch/rooms":
        rooms = [one if isinstance(one, str) else one.get("name", "") for one in body["rooms"]]
    for name in rooms:
        assert name.startswith(PREFIX), f"{name} is no room of ours"


def _made_at(room: Json) -> float:
    return datetime.fromisoformat(room["created_at"]).timestamp()


def date_of(answer: httpx.Response) -> datetime:
    return parsedate_to_datetime(answer.headers["date"])


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """The status, the stable error type and the free text of an answer that says no."""
    body = answer.json()
    return answer.status_code, body.get("error", ""), body.get("info", "")


def _error(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
