"""The control API and the handle over it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from transport_trio.sandbox import SandboxConfig, SandboxHandle
from transport_trio.sandbox.config import CHANGEABLE, REALISTIC_GHOST_S, REALISTIC_LAG_S
from transport_trio.sandbox.handle import JoinRefused, SandboxError


@pytest.fixture
def room(api: httpx.Client) -> str:
    api.post("/rooms", json={"name": "hello", "privacy": "private"})
    return "hello"


class TestPeople:
    def test_a_join_brings_a_good_token_by_itself(self, daily_sandbox: SandboxHandle, room: str) -> None:
        ada = daily_sandbox.join(room, name="Ada", user_id="u1", is_owner=True)
        assert (ada["userName"], ada["userId"], ada["owner"]) == ("Ada", "u1", True)
        (found,) = daily_sandbox.participants(room)
        assert found | {"duration": 0} == ada | {"duration": 0}

    def test_an_anonymous_join_obeys_the_room_s_privacy(
        self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str
    ) -> None:
        with pytest.raises(JoinRefused) as refused:
            daily_sandbox.join(room, name="Ada", anonymous=True)
        assert refused.value.reason == "not-allowed"
        api.post(f"/rooms/{room}", json={"privacy": "public"})
        assert daily_sandbox.join(room, name="Ada", anonymous=True)["userName"] == "Ada"

    def test_a_join_with_a_token_is_judged_by_it(
        self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str
    ) -> None:
        token = api.post("/meeting-tokens", json={"properties": {"room_name": room, "user_id": "u1"}}).json()["token"]
        assert daily_sandbox.join(room, token=token)["userId"] == "u1"
        with pytest.raises(JoinRefused, match="invalid-token: the token is not signed"):
            daily_sandbox.join(room, token="nonsense")

    def test_joining_nowhere_is_refused(self, daily_sandbox: SandboxHandle) -> None:
        with pytest.raises(JoinRefused) as refused:
            daily_sandbox.join("nowhere")
        assert refused.value.reason == "no-room"

    def test_people_leave_by_what_join_returned_or_by_id_or_all(self, daily_sandbox: SandboxHandle, room: str) -> None:
        one, two, three, four = (daily_sandbox.join(room, user_id=f"u{number}") for number in range(4))
        assert [gone["id"] for gone in daily_sandbox.leave(room, one)] == [one["id"]]
        assert [gone["id"] for gone in daily_sandbox.leave(room, two["id"])] == [two["id"]]
        assert [gone["id"] for gone in daily_sandbox.leave(room, "u2")] == [three["id"]]
        assert [gone["id"] for gone in daily_sandbox.leave(room)] == [four["id"]]
        assert daily_sandbox.leave(room) == []

    def test_who_is_not_there_cannot_leave(self, daily_sandbox: SandboxHandle, room: str) -> None:
        with pytest.raises(SandboxError, match="nobody in room hello is called u1"):
            daily_sandbox.leave(room, "u1")
        with pytest.raises(SandboxError, match="room nowhere not found"):
            daily_sandbox.leave("nowhere")

    @pytest.mark.parametrize(
        "body",
        [
            {"user_name": 1},
            {"token": {}},
            {"anonymous": "yes"},
            {"is_owner": "yes"},
            {"user_id": "u" * 37},
            {"nickname": "x"},
        ],
    )
    def test_a_join_with_a_bad_body_is_400(
        self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str, body: dict[str, Any]
    ) -> None:
        response = api.post(f"{daily_sandbox.url}/sandbox/rooms/{room}/participants", json=body)
        assert response.status_code == 400
        assert daily_sandbox.participants(room) == []


class TestLooking:
    def test_rooms_show_even_when_they_have_expired(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        api.post("/rooms", json={"name": "brief", "properties": {"exp": daily_sandbox.now() + 60}})
        ada = daily_sandbox.join("brief", name="Ada")
        daily_sandbox.advance(61)
        (brief,) = daily_sandbox.rooms()
        assert (brief["name"], brief["expired"]) == ("brief", True)
        assert [one["id"] for one in brief["participants"]] == [ada["id"]]

    def test_presence_filters_by_user(self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str) -> None:
        for number in range(3):
            daily_sandbox.join(room, name=f"name {number}", user_id=f"u{number}")
        path = f"/rooms/{room}/presence"
        found = [
            api.get(path, params=query).json() for query in ({}, {"userId": "u1"}, {"userName": "name 2"}, {"limit": 2})
        ]
        assert [(one["total_count"], len(one["data"])) for one in found] == [(3, 3), (1, 1), (1, 1), (3, 2)]
        assert found[1]["data"][0]["userName"] == "name 1"
        assert api.get(path, params={"limit": "x"}).status_code == 400

    def test_requests_are_logged_with_their_bodies_but_without_keys(
        self, api: httpx.Client, daily_sandbox: SandboxHandle
    ) -> None:
        api.post("/rooms", json={"name": "a"})
        api.get("/rooms/a", headers={"Authorization": "Bearer secret-of-mine"})
        api.get("/nothing")
        api.post("/rooms", json={"properties": {"recordings_template": "x" * 5000}})
        logged = daily_sandbox.requests()
        assert [(one["method"], one["path"], one["operation"], one["status"]) for one in logged] == [
            ("POST", "/rooms", "create_room", 200),
            ("GET", "/rooms/a", "get_room", 401),
            ("GET", "/nothing", None, 404),
            ("POST", "/rooms", "create_room", 200),
        ]
        assert [one["body"] for one in logged] == [{"name": "a"}, None, None, None]
        assert [one["number"] for one in logged] == [1, 2, 3, 4]
        assert "secret-of-mine" not in str(logged)
        daily_sandbox.forget_requests()
        assert daily_sandbox.requests() == []

    def test_the_overview_tells_where_one_is(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        overview = api.get(f"{daily_sandbox.url}/sandbox").json()
        assert (overview["service"], overview["domain"], overview["rooms"]) == ("daily-sandbox", "sandbox", 0)
        assert set(overview["settings"]) == CHANGEABLE
        assert overview["domain_id"] == api.get("/").json()["domain_id"]


class TestSettings:
    def test_settings_change_at_once(self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str) -> None:
        daily_sandbox.join(room, name="Ada")
        daily_sandbox.configure(presence_lag_s=15)
        assert api.get("/presence").json() == {}
        daily_sandbox.advance(15)
        assert list(api.get("/presence").json()) == [room]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"api_key": "mine"}, "api_key is no setting that can change"),
            ({"colour": 1}, "colour is no setting"),
            ({"presence_lag_s": -1}, "presence_lag_s"),
            ({"presence_lag_s": "15"}, "wrong type"),
            ({"presence_lag_s": True}, "presence_lag_s cannot be True"),
            ({"rate_limits": 0}, "rate_limits cannot be 0"),
            ({"rate_limits": None}, "rate_limits cannot be None"),
        ],
    )
    def test_a_setting_that_makes_no_sense_is_refused(
        self, daily_sandbox: SandboxHandle, settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SandboxError, match=message):
            daily_sandbox.configure(**settings)
        with pytest.raises(SandboxError, match=message):
            daily_sandbox.reset(**settings)

    def test_a_refused_change_changes_nothing(self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str) -> None:
        before = api.get(f"{daily_sandbox.url}/sandbox").json()["settings"]
        with pytest.raises(SandboxError):
            daily_sandbox.configure(people=True, presence_lag_s=-1)
        with pytest.raises(SandboxError):
            daily_sandbox.reset(people=True, presence_lag_s=-1)
        after = api.get(f"{daily_sandbox.url}/sandbox").json()
        assert (after["settings"], after["rooms"]) == (before, 1)

    def test_a_reset_brings_everything_back(self, api: httpx.Client, daily_sandbox: SandboxHandle, room: str) -> None:
        daily_sandbox.configure(presence_lag_s=15)
        daily_sandbox.add_fault("error")
        ahead = daily_sandbox.advance(3600)
        daily_sandbox.reset()
        assert daily_sandbox.rooms() == daily_sandbox.faults() == daily_sandbox.requests() == []
        assert daily_sandbox.now() < ahead - 3000
        assert api.get("/rooms").json() == {"total_count": 0, "data": []}

    def test_the_clock_ends_with_the_year_9999(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        def centuries_pass() -> None:
            for _ in range(900):
                daily_sandbox.advance(10 * 365 * 86400)

        with pytest.raises(SandboxError, match="beyond the year 9999"):
            centuries_pass()
        assert api.get("/rooms").status_code == 200

    @pytest.mark.daily_sandbox(presence_lag_s=15, rate_limits=False)
    def test_the_marker_chooses_settings_for_one_test(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        settings = api.get(f"{daily_sandbox.url}/sandbox").json()["settings"]
        assert (settings["presence_lag_s"], settings["rate_limits"]) == (15, False)

    def test_realistic_is_daily_as_measured(self) -> None:
        config = SandboxConfig.realistic(port=1)
        assert (config.presence_lag_s, config.ghost_s, config.port) == (REALISTIC_LAG_S, REALISTIC_GHOST_S, 1)
        assert SandboxConfig.realistic(ghost_s=0).ghost_s == 0

    def test_the_key_does_not_print(self) -> None:
        assert "hush" not in repr(SandboxConfig(api_key="hush"))

    @pytest.mark.parametrize("room_url", ["http://x/{room}", "{", "{}"])
    def test_a_room_url_with_unknown_places_is_refused(self, room_url: str) -> None:
        with pytest.raises(ValueError, match="room_url"):
            SandboxConfig(room_url=room_url)

    def test_a_full_domain_refuses_rooms(self, make_core: Any) -> None:
        core = make_core(max_rooms=2)
        core.do("batch_create_rooms", {"rooms": [{}, {}]})
        with pytest.raises(Exception, match="domain has reached its maximum number of rooms"):
            core.do("create_room")

    def test_the_log_of_requests_is_bounded(self, make_core: Any) -> None:
        log = make_core(requests_max=3).sandbox.log
        for number in range(5):
            log.add(time=0.0, method="GET", path=f"/{number}", operation=None, body=None, status=404, fault=None)
        assert [one.number for one in log.requests()] == [3, 4, 5]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/clock", b'{"advance_s": "1"}'),
        ("POST", "/clock", b'{"advance_s": -1}'),
        ("POST", "/clock", b'{"advance_s": 1e12}'),
        ("POST", "/clock", b"{}"),
        ("POST", "/clock", b'{"advance_s": 1, "x": 1}'),
        ("POST", "/outage", b'{"for_s": 1e9}'),
        ("POST", "/outage", b"[]"),
        ("POST", "/faults", b'{"faults": {}}'),
        ("POST", "/faults", b'{"faults": [1]}'),
        ("POST", "/faults", b"\xff"),
        ("PUT", "/faults", b"{"),
        ("PATCH", "/settings", b"[1]"),
    ],
)
def test_a_bad_control_call_is_400_and_says_why(
    api: httpx.Client, daily_sandbox: SandboxHandle, method: str, path: str, body: bytes
) -> None:
    response = api.request(method, f"{daily_sandbox.url}/sandbox{path}", content=body)
    assert (response.status_code, response.json()["error"]) == (400, "invalid-request-error")
    assert response.json()["info"]


def test_an_unknown_control_call_is_404(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    assert api.get(f"{daily_sandbox.url}/sandbox/nothing").status_code == 404
    assert api.delete(f"{daily_sandbox.url}/sandbox/clock").status_code == 404
