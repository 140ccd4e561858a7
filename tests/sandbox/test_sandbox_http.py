"""What Daily's HTTP edge does before it looks at a request: paths, methods, keys, limits."""

from __future__ import annotations

import json
from contextlib import closing
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from trio.testing import MockClock

from transport_trio.sandbox import SandboxHandle
from transport_trio.sandbox.edge import MAX_BODY_BYTES, Edge
from transport_trio.sandbox.exchange import Answer, Request
from transport_trio.sandbox.limits import RateLimits
from transport_trio.sandbox.routes import NOT_SIMULATED

NOW = 1_800_000_000.0
NO_ENDPOINT = {"error": "not-found", "info": "api endpoint does not exist"}
BAD_HEADER = {"error": "authorization-header-error", "info": "invalid authorization header"}


def bare_get(daily_sandbox: SandboxHandle, path: str, authorization: str | None) -> tuple[int, Any]:
    """A request as written: httpx would tidy it up."""
    with closing(HTTPConnection(urlsplit(daily_sandbox.url).netloc, timeout=10)) as connection:
        connection.request("GET", path, headers={} if authorization is None else {"Authorization": authorization})
        response = connection.getresponse()
        return response.status, json.load(response)


@pytest.fixture
def keyless(daily_sandbox: SandboxHandle, api: httpx.Client) -> httpx.Client:
    del api.headers["Authorization"]
    return api


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/rooms/a/b"),
        ("PATCH", "/rooms"),
        ("PUT", "/rooms/hello"),
        ("DELETE", "/rooms"),
        ("OPTIONS", "/rooms"),
        ("POST", "/presence"),
    ],
)
def test_an_unknown_path_or_method_is_404_before_the_key_is_looked_at(
    keyless: httpx.Client, method: str, path: str
) -> None:
    response = keyless.request(method, path)
    assert (response.status_code, response.json()) == (404, NO_ENDPOINT)
    assert "Allow" not in response.headers


def test_a_websocket_has_no_endpoint_either(daily_sandbox: SandboxHandle) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    with closing(HTTPConnection(urlsplit(daily_sandbox.url).netloc, timeout=10)) as connection:
        connection.request("GET", "/v1/rooms", headers=headers | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        response = connection.getresponse()
        assert (response.status, json.load(response)) == (404, NO_ENDPOINT)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer   ", "bearer sandbox", "Basic c2FuZGJveA=="])
def test_a_missing_or_malformed_header_is_400(daily_sandbox: SandboxHandle, header: str | None) -> None:
    assert bare_get(daily_sandbox, "/v1/rooms", header) == (400, BAD_HEADER)


def test_two_slashes_are_another_path(daily_sandbox: SandboxHandle) -> None:
    assert bare_get(daily_sandbox, "/v1//rooms", "Bearer sandbox") == (404, NO_ENDPOINT)


def test_a_wrong_key_is_401_without_info(keyless: httpx.Client) -> None:
    for key in ("wrong", "sandbox2", "caf\xe9"):
        response = keyless.get("/rooms", headers={"Authorization": f"Bearer {key}".encode("latin1")})
        assert (response.status_code, response.json()) == (401, {"error": "authentication-error"})


def test_a_key_is_wanted_before_the_body_is_read(keyless: httpx.Client) -> None:
    assert keyless.post("/rooms", content=b"{").json() == BAD_HEADER


@pytest.mark.parametrize("path", ["/v1/rooms", "/v1/nothing", "/sandbox/reset"])
def test_a_body_too_large_is_read_to_its_end_and_refused(daily_sandbox: SandboxHandle, path: str) -> None:
    key = {"Authorization": f"Bearer {daily_sandbox.api_key}"}
    with closing(HTTPConnection(urlsplit(daily_sandbox.url).netloc, timeout=10)) as connection:
        for size_bytes, is_refused in ((MAX_BODY_BYTES + 1, True), (MAX_BODY_BYTES, False)):
            connection.request("POST", path, b" " * size_bytes, key)
            response = connection.getresponse()
            told = (response.status, json.load(response)["error"] if response.status >= 400 else "")
            assert (told == (413, "invalid-request-error")) is (is_refused and "nothing" not in path), told


async def test_a_body_that_does_not_come_is_refused_after_a_minute(autojump_clock: MockClock) -> None:
    sent: list[Any] = []

    async def view(request: Request) -> Answer:
        return Answer(request.body())

    async def unknown(_request: Request) -> Answer:
        raise AssertionError

    async def receive() -> Any:
        await trio.sleep(1)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    began = trio.current_time()
    scope: Any = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await Edge([("POST", "/", view)], unknown, lambda: NOW)(scope, receive, send)
    assert (sent[0]["status"], trio.current_time() - began) == (408, 60)


def test_every_answer_is_json_and_names_no_server(api: httpx.Client) -> None:
    for response in (api.get("/rooms"), api.get("/rooms/x"), api.get("/x"), api.post("/rooms", content=b"{")):
        assert response.headers["content-type"] == "application/json"
        assert "server" not in response.headers


def test_a_slash_at_the_end_does_not_matter(api: httpx.Client) -> None:
    assert api.get("/rooms/").json() == {"total_count": 0, "data": []}


def test_head_is_answered_like_get_without_a_body(api: httpx.Client) -> None:
    response = api.head("/rooms")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(("method", "path"), NOT_SIMULATED)
def test_what_daily_has_and_the_sandbox_has_not_says_so(api: httpx.Client, method: str, path: str) -> None:
    path = path.replace("<name>", "hello").replace("<id>", "1")
    response = api.request(method, path)
    assert (response.status_code, response.json()["error"]) == (501, "not-simulated")
    assert api.request(method, path, headers={"Authorization": "x"}).status_code == 400


PAID_CALLS = [
    ("GET", "/webhooks"),
    ("GET", "/recordings"),
    ("GET", "/transcript"),
    ("POST", "/rooms/hello/recordings/start"),
    ("POST", "/rooms/hello/transcription/start"),
    ("POST", "/rooms/hello/live-streaming/stop"),
]


@pytest.mark.daily_sandbox(free_plan=True)
@pytest.mark.parametrize(("method", "path"), PAID_CALLS)
def test_a_free_plan_lacks_what_is_to_be_paid_for(api: httpx.Client, method: str, path: str) -> None:
    response = api.request(method, path)
    assert (response.status_code, response.json()["error"]) == (400, "invalid-plan-type")
    assert api.get("/rooms").status_code == 200


def test_the_date_header_is_the_sandbox_s_time_of_day(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    now = daily_sandbox.advance(86400)
    date = parsedate_to_datetime(api.get("/").headers["date"]).timestamp()
    assert now - 1 <= date < now + 60


class TestRateLimits:
    @pytest.mark.parametrize(
        ("operation", "requests", "window_s"),
        [("get_room", 100, 5), ("create_room", 100, 5), ("delete_room", 50, 30), ("batch_create_rooms", 10, 30)],
    )
    def test_so_many_requests_pass_in_a_window_that_slides(
        self, operation: str, requests: int, window_s: float
    ) -> None:
        limits = RateLimits()
        for number in range(requests):
            assert limits.take(operation, NOW + number / requests) is None
        assert limits.take(operation, NOW + 1) == window_s - 1
        assert limits.take(operation, NOW + window_s - 0.001) is not None
        assert limits.take(operation, NOW + window_s) is None
        assert limits.take(operation, NOW + window_s) is not None

    def test_each_route_counts_for_itself(self) -> None:
        limits = RateLimits()
        assert all(limits.take("get_room", NOW) is None for _ in range(100))
        assert limits.take("get_room", NOW) is not None
        assert limits.take("list_rooms", NOW) is None

    def test_a_clock_set_back_does_not_refuse_for_long(self) -> None:
        limits = RateLimits()
        for _ in range(100):
            limits.take("get_room", NOW)
        assert limits.take("get_room", NOW - 3600) is None

    def test_a_request_too_many_is_429(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        statuses = [api.post("/batch/rooms").status_code for _ in range(11)]
        assert statuses == [400] * 10 + [429]
        response = api.post("/batch/rooms")
        assert response.json() == {"error": "rate-limit-error", "info": "Too many requests"}
        assert "Retry-After" not in response.headers
        daily_sandbox.advance(30)
        assert api.post("/batch/rooms").status_code == 400

    @pytest.mark.daily_sandbox(retry_after_s=1)
    def test_retry_after_is_sent_where_it_is_wanted(self, api: httpx.Client) -> None:
        for _ in range(10):
            assert api.post("/batch/rooms").status_code == 400
        assert api.post("/batch/rooms").headers["Retry-After"] == "1"

    @pytest.mark.daily_sandbox(rate_limits=False)
    def test_limits_can_be_switched_off(self, api: httpx.Client) -> None:
        assert {api.post("/batch/rooms").status_code for _ in range(20)} == {400}

    def test_a_wrong_key_uses_up_nothing(self, api: httpx.Client) -> None:
        for _ in range(12):
            assert api.post("/batch/rooms", headers={"Authorization": "Bearer x"}).status_code == 401
        assert api.post("/batch/rooms").status_code == 400
