"""What goes wrong on order, as a client sees it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from transport_trio.sandbox import SandboxHandle, faults
from transport_trio.sandbox.faults import MAX_FAULTS, Fault, Faults, fault_from
from transport_trio.sandbox.handle import SandboxError
from transport_trio.sandbox.routes import OPERATIONS

NOW = 1_800_000_000.0


def names(daily_sandbox: SandboxHandle) -> list[str]:
    return [room["name"] for room in daily_sandbox.rooms()]


def connected(daily_sandbox: SandboxHandle) -> socket.socket:
    url = httpx.URL(daily_sandbox.url)
    return socket.create_connection((url.host, url.port or 0), timeout=10)


@contextmanager
def asking_for_a_room(daily_sandbox: SandboxHandle) -> Iterator[socket.socket]:
    """A client that asks for a room and hangs up at the end of the block, whatever it got until then."""
    with connected(daily_sandbox) as stream:
        head = b"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox\r\nContent-Length: 12\r\n\r\n"
        stream.sendall(head + b'{"name":"a"}')
        stream.setblocking(False)
        yield stream


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"


class TestKinds:
    def test_an_error_comes_instead_of_the_effect(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", status=503, info="maintenance", retry_after_s=2)
        response = api.post("/rooms", json={"name": "a"})
        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
        assert response.json() == {"error": "server-error", "info": "maintenance"}
        assert names(daily_sandbox) == []

    def test_a_connection_goes_on_after_an_error_that_came_before_the_body(self, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", count=1)
        head = b"POST /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox\r\nContent-Length: 12\r\n\r\n"
        with connected(daily_sandbox) as stream:
            for status in (b"500", b"200"):
                stream.sendall(head)
                time.sleep(0.1)
                stream.sendall(b'{"name":"a"}')
                answer = b""
                while not answer.endswith(b"}"):
                    answer += stream.recv(4096)
                assert answer.split()[1] == status
        assert names(daily_sandbox) == ["a"]

    def test_an_error_can_come_after_the_effect(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", takes_effect=True)
        assert api.post("/rooms", json={"name": "a"}).json() == {"error": "server-error"}
        assert names(daily_sandbox) == ["a"]

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, "invalid-request-error"),
            (401, "authentication-error"),
            (403, "forbidden-error"),
            (502, "server-error"),
        ],
    )
    def test_an_error_has_the_type_of_its_status(
        self, api: httpx.Client, daily_sandbox: SandboxHandle, status: int, error: str
    ) -> None:
        daily_sandbox.add_fault("error", status=status)
        response = api.get("/rooms")
        assert (response.status_code, response.json()) == (status, {"error": error})

    @pytest.mark.parametrize(("retry_after_s", "header"), [(None, None), (3, "3"), (0.5, "0.5")])
    def test_throttling_comes_with_or_without_retry_after(
        self, api: httpx.Client, daily_sandbox: SandboxHandle, retry_after_s: float | None, header: str | None
    ) -> None:
        daily_sandbox.add_fault("throttle", retry_after_s=retry_after_s)
        response = api.post("/rooms", json={"name": "a"})
        assert (response.status_code, response.json()["error"]) == (429, "rate-limit-error")
        assert response.headers.get("Retry-After") == header
        assert names(daily_sandbox) == []

    def test_a_lost_response_leaves_its_effect(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("lost_response", count=1)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            api.post("/rooms", json={"name": "a"})
        assert names(daily_sandbox) == ["a"]
        assert api.get("/rooms/a").status_code == 200
        assert [one["status"] for one in daily_sandbox.requests()] == [None, 200]

    def test_a_hang_up_leaves_nothing(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("hang_up", count=1)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            api.post("/rooms", json={"name": "a"})
        assert names(daily_sandbox) == []

    def test_a_cut_body_ends_before_its_length(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("cut_body", count=1)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            api.post("/rooms", json={"name": "a"})
        assert names(daily_sandbox) == ["a"]

    def test_a_cut_body_looks_like_any_other_answer_until_it_ends(
        self, api: httpx.Client, daily_sandbox: SandboxHandle
    ) -> None:
        whole = api.get("/rooms")
        daily_sandbox.add_fault("cut_body", count=1)
        with connected(daily_sandbox) as stream:
            stream.sendall(b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox\r\n\r\n")
            received = b"".join(iter(lambda: stream.recv(4096), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        assert 0 < len(body) < len(whole.content)
        assert whole.content.startswith(body)
        names_sent = {line.split(b":")[0].decode().lower() for line in head.split(b"\r\n")[1:]}
        assert names_sent == set(whole.headers)

    def test_a_client_of_http_2_is_cut_off_too(self, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("lost_response")
        upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        with connected(daily_sandbox) as stream:
            stream.sendall(b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
            stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            received = b"".join(iter(lambda: stream.recv(4096), b""))
        assert received.startswith(b"HTTP/1.1 101 ")
        assert b"authorization-header-error" not in received

    def test_garbage_comes_with_status_200(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("garbage")
        response = api.post("/rooms", json={"name": "a"})
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        with pytest.raises(ValueError, match=r"Expecting value|decode"):
            json.loads(response.content)
        assert names(daily_sandbox) == ["a"]

    def test_wrong_types_keep_the_names_of_the_fields(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        right = api.post("/rooms", json={"name": "a"}).json()
        daily_sandbox.add_fault("wrong_types")
        wrong = api.get("/rooms/a").json()
        assert list(wrong) == list(right)
        assert all(type(wrong[name]) is not type(right[name]) for name in right)

    def test_a_delay_before_the_effect_forgets_a_client_that_gave_up(self, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("delay", delay_s=600, count=1)
        with asking_for_a_room(daily_sandbox):
            until(lambda: daily_sandbox.faults() == [])
        until(lambda: [one["status"] for one in daily_sandbox.requests()] == [None])
        assert names(daily_sandbox) == []

    def test_a_delay_after_the_effect_leaves_the_room(self, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("delay", delay_s=600, count=1, takes_effect=True)
        with asking_for_a_room(daily_sandbox) as stream:
            until(lambda: names(daily_sandbox) == ["a"])
            with pytest.raises(BlockingIOError):
                stream.recv(1)
        until(lambda: [one["status"] for one in daily_sandbox.requests()] == [None])
        assert names(daily_sandbox) == ["a"]

    def test_a_delay_passes_and_adds_up_with_other_faults(
        self, api: httpx.Client, daily_sandbox: SandboxHandle
    ) -> None:
        daily_sandbox.set_faults({"kind": "delay", "delay_s": 0.2}, {"kind": "error", "status": 502})
        assert api.get("/rooms").status_code == 502
        assert [fault["fired"] for fault in daily_sandbox.faults()] == [1, 1]

    def test_presence_can_be_empty_once(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        api.post("/rooms", json={"name": "a"})
        daily_sandbox.join("a", name="Ada")
        daily_sandbox.add_fault("empty_presence", count=2)
        assert api.get("/rooms/a").status_code == 200
        assert api.get("/rooms/a/presence").json() == {"total_count": 0, "data": []}
        assert api.get("/presence").json() == {}
        assert api.get("/rooms/a/presence").json()["total_count"] == 1
        assert list(api.get("/presence").json()) == ["a"]

    def test_presence_can_tell_of_half_the_people(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        for room in ("a", "b"):
            api.post("/rooms", json={"name": room})
        people = [daily_sandbox.join("a", user_id=f"u{number}")["id"] for number in range(3)]
        daily_sandbox.join("b")
        daily_sandbox.add_fault("half_presence", count=4)
        assert api.get("/rooms/a").status_code == 200
        told = api.get("/rooms/a/presence").json()
        assert (told["total_count"], [one["id"] for one in told["data"]]) == (3, [people[1]])
        assert api.get("/rooms/b/presence").json() == {"total_count": 1, "data": []}
        assert api.get("/rooms/c/presence").status_code == 404
        assert [one["id"] for one in api.get("/presence").json()["a"]] == [people[1]]
        assert len(api.get("/rooms/a/presence").json()["data"]) == 3

    def test_a_room_can_be_missing_for_a_moment(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        api.post("/rooms", json={"name": "a"})
        daily_sandbox.add_fault("not_found", operation="room_presence", count=1)
        response = api.get("/rooms/a/presence")
        assert (response.status_code, response.json()["info"]) == (404, "room a not found")
        assert api.get("/rooms/a/presence").status_code == 200


class TestScope:
    def test_an_operation_alone_can_fail(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", operation="create_room")
        assert api.post("/rooms").status_code == 500
        assert api.get("/rooms").status_code == 200
        assert api.post("/batch/rooms", json={"rooms": []}).status_code == 200

    def test_only_the_next_two_fail(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", count=2)
        assert [api.get("/rooms").status_code for _ in range(3)] == [500, 500, 200]
        assert daily_sandbox.faults() == []

    def test_one_fault_spoils_an_answer_and_the_next_waits_its_turn(
        self, api: httpx.Client, daily_sandbox: SandboxHandle
    ) -> None:
        daily_sandbox.set_faults({"kind": "error", "status": 502, "count": 1}, {"kind": "throttle", "count": 1})
        assert [api.get("/rooms").status_code for _ in range(3)] == [502, 429, 200]

    def test_a_fault_ends_with_its_time(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", for_s=600)
        daily_sandbox.advance(300)
        assert api.get("/rooms").status_code == 500
        daily_sandbox.advance(300)
        assert api.get("/rooms").status_code == 200

    def test_setting_faults_replaces_all_others(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error")
        daily_sandbox.set_faults({"kind": "throttle", "operation": "list_rooms"})
        assert api.get("/rooms").status_code == 429
        assert api.get("/").status_code == 200
        daily_sandbox.set_faults()
        assert api.get("/rooms").status_code == 200

    def test_faults_strike_before_the_key_is_looked_at(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error", status=503)
        assert api.get("/rooms", headers={"Authorization": "Bearer wrong"}).status_code == 503

    def test_the_control_api_is_never_spoilt(self, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error")
        assert daily_sandbox.rooms() == []

    def test_the_log_tells_which_fault_struck(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("throttle", count=1)
        api.get("/rooms")
        api.get("/rooms")
        logged = [(one["status"], one["fault"]) for one in daily_sandbox.requests("list_rooms")]
        assert logged == [(429, "throttle"), (200, None)]


class TestChance:
    def draws(self, seed: int, chance: float) -> list[bool]:
        armed = Faults(seed)
        armed.arm([Fault(kind="error", chance=chance)], NOW)
        return [bool(armed.draw("get_room", NOW)) for _ in range(1000)]

    def test_a_seed_repeats_the_same_faults(self) -> None:
        assert self.draws(7, 0.5) == self.draws(7, 0.5)
        assert self.draws(7, 0.5) != self.draws(8, 0.5)

    def test_the_chance_is_roughly_kept(self) -> None:
        assert 150 < sum(self.draws(1, 0.2)) < 250
        assert all(self.draws(1, 1.0))


class TestBadFaults:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "kind"),
            ({"kind": "fire"}, "'kind' must be in"),
            ({"kind": "error", "colour": 1}, "a fault has no 'colour'"),
            ({"kind": "error", "status": 200}, "status must be a whole number from 400 to 599"),
            ({"kind": "error", "status": "500"}, "status must be a whole number"),
            ({"kind": "error", "count": 0}, "count must be a whole number"),
            ({"kind": "error", "count": True}, "count must be a whole number"),
            ({"kind": "error", "chance": 1.5}, "chance must be a number from 0 to 1"),
            ({"kind": "delay", "delay_s": -1}, "delay_s must be a number"),
            ({"kind": "delay", "for_s": "x"}, "for_s must be a number"),
            ({"kind": "throttle", "takes_effect": True}, "takes_effect cannot be True for throttle"),
            ({"kind": "garbage", "takes_effect": False}, "takes_effect cannot be False for garbage"),
            ({"kind": "error", "operation": 5}, "there is no operation 5"),
            ({"kind": "error", "operation": "explode"}, "there is no operation 'explode'"),
        ],
    )
    def test_a_fault_that_makes_no_sense_is_refused(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            fault_from(given)

    def test_refused_faults_leave_the_others_in_force(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        daily_sandbox.add_fault("error")
        with pytest.raises(SandboxError, match="'kind' must be in"):
            daily_sandbox.set_faults({"kind": "fire"})
        with pytest.raises(SandboxError, match="more than"):
            daily_sandbox.set_faults(*[{"kind": "throttle"}] * (MAX_FAULTS + 1))
        assert api.get("/rooms").status_code == 500

    def test_every_operation_can_be_named(self) -> None:
        names = {operation.__name__ for _, _, operation in OPERATIONS}
        assert {fault_from({"kind": "error", "operation": name}).operation for name in names} == names
        assert names | {"not_simulated", "webhook_delivery"} == faults.OPERATIONS
