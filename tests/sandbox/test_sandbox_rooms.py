"""Rooms as Daily makes, lists, changes and loses them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from transport_trio.sandbox import SandboxHandle
from transport_trio.sandbox.refusals import ApiError


def refused(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


def make(api: httpx.Client, *names: str, **properties: Any) -> None:
    for name in names:
        assert api.post("/rooms", json={"name": name, "properties": properties}).status_code == 200


def test_a_new_room_is_answered_with_200_in_daily_s_shape(api: httpx.Client) -> None:
    response = api.post("/rooms", json={"name": "hello", "privacy": "private"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    room = response.json()
    assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", room.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", room.pop("created_at"))
    assert room == {
        "name": "hello",
        "api_created": True,
        "privacy": "private",
        "url": "https://sandbox.daily.co/hello",
        "config": {},
    }
    assert api.get("/rooms/hello").json()["name"] == "hello"


def test_a_room_without_a_name_gets_twenty_random_letters_and_is_public(api: httpx.Client) -> None:
    rooms = [api.post("/rooms").json(), api.post("/rooms", json={"name": None}).json()]
    assert all(re.fullmatch(r"[A-Za-z0-9]{20}", room["name"]) for room in rooms)
    assert rooms[0]["name"] != rooms[1]["name"]
    assert {room["privacy"] for room in rooms} == {"public"}


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("a b", "a b contains invalid characters (room names can contain A-Z, a-z, 0-9, '-', and '_')"),
        ("", " contains invalid characters (room names can contain A-Z, a-z, 0-9, '-', and '_')"),
        ("n\n", "n\n contains invalid characters (room names can contain A-Z, a-z, 0-9, '-', and '_')"),
        ("n" * 129, "n" * 129 + " is too long (room names can have at most 128 characters)"),
        (7, "name was '7' but should be a string"),
    ],
)
def test_a_bad_name_is_refused(api: httpx.Client, name: Any, info: str) -> None:
    response = api.post("/rooms", json={"name": name})
    assert refused(response) == (400, {"error": "invalid-request-error", "info": info})


def test_the_longest_name_passes(api: httpx.Client) -> None:
    make(api, "n" * 128)


def test_a_name_is_given_once_even_to_parallel_creations(api: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: api.post("/rooms", json={"name": "one"}), range(8)))
    assert sorted(response.status_code for response in responses) == [200] + [400] * 7
    losers = [response.json() for response in responses if response.status_code == 400]
    assert losers == [{"error": "invalid-request-error", "info": "a room named one already exists"}] * 7


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_missing_room_is_not_found(api: httpx.Client, method: str) -> None:
    response = api.request(method, "/rooms/nowhere")
    assert refused(response) == (404, {"error": "not-found", "info": "room nowhere not found"})


def test_deleting_a_room_says_so_once(api: httpx.Client) -> None:
    make(api, "hello")
    assert refused(api.delete("/rooms/hello")) == (200, {"deleted": True, "name": "hello"})
    assert api.delete("/rooms/hello").status_code == 404
    assert api.get("/rooms/hello").status_code == 404


def test_config_holds_only_what_differs_from_the_defaults(api: httpx.Client) -> None:
    make(api, "hello", start_video_off=True, enable_chat=False, enable_screenshare=True, max_participants=5)
    assert api.get("/rooms/hello").json()["config"] == {"start_video_off": True, "max_participants": 5}


def test_an_update_changes_what_it_names_and_null_resets(api: httpx.Client) -> None:
    make(api, "hello", start_video_off=True, enable_chat=True, lang="de")
    changes = {"privacy": "private", "properties": {"enable_chat": None, "lang": "fr", "start_audio_off": False}}
    room = api.post("/rooms/hello", json=changes).json()
    assert room["privacy"] == "private"
    assert room["config"] == {"start_video_off": True, "lang": "fr"}
    assert api.get("/rooms/hello").json() == room


def test_a_refused_update_changes_nothing(api: httpx.Client) -> None:
    make(api, "hello", lang="de")
    before = api.get("/rooms/hello").json()
    bad = {"privacy": "private", "properties": {"lang": "fr", "enable_chat": "yes"}}
    assert api.post("/rooms/hello", json=bad).status_code == 400
    assert api.get("/rooms/hello").json() == before


@pytest.mark.parametrize(
    ("body", "info"),
    [
        ({"colour": "red"}, "invalid property name 'colour'"),
        ({"properties": {"enable_transcription": True}}, "invalid property name 'enable_transcription'"),
        ({"properties": {"owner_only_broadcast": True}}, "invalid property name 'owner_only_broadcast'"),
        ({"properties": []}, "properties was '' but should be an object"),
        ({"privacy": "Private"}, "privacy was 'Private' but should be one of 'public', 'private'"),
        ({"privacy": ["public"]}, "privacy was 'public' but should be one of 'public', 'private'"),
        ({"properties": {"exp": 1000}}, "exp was '1000', which is in the past rather than in the future"),
        ({"properties": {"exp": "soon"}}, "exp was 'soon' but should be a number of seconds since the unix epoch"),
        ({"properties": {"exp": True}}, "exp was 'true' but should be a number of seconds since the unix epoch"),
    ],
)
def test_a_bad_body_is_refused_in_daily_s_words(api: httpx.Client, body: Any, info: str) -> None:
    response = api.post("/rooms", json=body)
    assert refused(response) == (400, {"error": "invalid-request-error", "info": info})
    assert api.get("/rooms").json()["total_count"] == 0


@pytest.mark.parametrize(
    "raw",
    [b"{", b"nonsense", b'"text"', b"7", b"\xff{}", b'{"name": NaN}', b"[" * 100_000],
    ids=["cut", "word", "string", "number", "not utf-8", "NaN", "deep"],
)
def test_what_is_no_json_is_a_json_parsing_error(api: httpx.Client, raw: bytes) -> None:
    status, body = refused(api.post("/rooms", content=raw))
    assert (status, body["error"]) == (400, "json-parsing-error")


@pytest.mark.parametrize("levels", [101, 330, 900])
def test_json_that_is_nested_deeper_than_anybody_means_is_refused(
    api: httpx.Client, daily_sandbox: SandboxHandle, levels: int
) -> None:
    deep = b'{"name":' + b'{"a":[' * (levels // 2) + b"]}" * (levels // 2) + b"}"
    status, body = refused(api.post("/rooms", content=deep))
    assert (status, body["error"]) == (400, "json-parsing-error")
    assert [one["status"] for one in daily_sandbox.requests()] == [400]


def test_brackets_in_a_text_are_not_nesting(api: httpx.Client) -> None:
    status, body = refused(api.post("/rooms", json={"name": "[" * 200}))
    assert (status, body["error"]) == (400, "invalid-request-error")


def test_an_array_is_json_but_no_request(api: httpx.Client) -> None:
    status, body = refused(api.post("/rooms", json=[]))
    assert (status, body["error"]) == (400, "invalid-request-error")


def test_a_huge_body_is_refused(api: httpx.Client) -> None:
    status, body = refused(api.post("/rooms", content=b" " * (3 * 1024 * 1024)))
    assert (status, body["error"]) == (413, "invalid-request-error")


@pytest.mark.parametrize("number", [b"1" + b"0" * 5000, b"-1e999"], ids=["digits", "exponent"])
def test_a_number_beyond_all_numbers_is_a_json_parsing_error(api: httpx.Client, number: bytes) -> None:
    status, body = refused(api.post("/rooms", content=b'{"properties":{"exp":' + number + b"}}"))
    assert (status, body["error"]) == (400, "json-parsing-error")


def test_the_content_type_does_not_matter(api: httpx.Client) -> None:
    response = api.post("/rooms", content=b'{"name":"plain"}', headers={"Content-Type": "text/plain"})
    assert response.json()["name"] == "plain"


def test_a_fractional_exp_passes_and_comes_back(api: httpx.Client) -> None:
    exp = time.time() + 60.5
    assert api.post("/rooms", json={"properties": {"exp": exp}}).json()["config"] == {"exp": exp}


def test_exp_must_be_later_than_now_by_anything_at_all(make_core: Callable[..., Any]) -> None:
    core = make_core()
    now = core.clock()
    with pytest.raises(ApiError, match="in the past rather than in the future"):
        core.do("create_room", {"properties": {"exp": now}})
    core.do("create_room", {"properties": {"exp": now + 0.001}})


def test_an_expired_room_vanishes_and_its_deletion_says_404_and_deleted(
    api: httpx.Client, daily_sandbox: SandboxHandle
) -> None:
    make(api, "brief", exp=time.time() + 60)
    make(api, "lasting")
    daily_sandbox.advance(61)
    assert [room["name"] for room in api.get("/rooms").json()["data"]] == ["lasting"]
    assert api.get("/rooms/brief").status_code == 404
    assert api.post("/rooms/brief", json={"properties": {"exp": None}}).status_code == 404
    gone = {"error": "not-found", "info": "room brief not found"}
    assert refused(api.delete("/rooms/brief")) == (404, {**gone, "deleted": True})
    assert refused(api.delete("/rooms/brief")) == (404, gone)


def test_an_expired_room_is_collected_after_a_while(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    make(api, "brief", exp=time.time() + 60)
    daily_sandbox.join("brief", name="Ada")
    daily_sandbox.advance(61)
    assert list(api.get("/presence").json()) == ["brief"]
    daily_sandbox.advance(600)
    assert api.get("/presence").json() == {}
    assert "deleted" not in api.delete("/rooms/brief").json()


def test_the_name_of_an_expired_room_is_free_again(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    make(api, "brief", exp=time.time() + 60)
    daily_sandbox.join("brief", name="Ada")
    daily_sandbox.advance(61)
    make(api, "brief")
    assert api.get("/rooms/brief/presence").json() == {"total_count": 0, "data": []}


class TestPages:
    @pytest.fixture(autouse=True)
    def _seven_rooms(self, api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
        for number in range(7):
            make(api, f"room-{number}")
            daily_sandbox.advance(1)

    def page(self, api: httpx.Client, **query: Any) -> list[str]:
        answer = api.get("/rooms", params=query).json()
        assert answer["total_count"] == 7
        return [room["name"].removeprefix("room-") for room in answer["data"]]

    def id_of(self, api: httpx.Client, number: int) -> str:
        room_id: str = api.get(f"/rooms/room-{number}").json()["id"]
        return room_id

    def test_rooms_come_newest_first(self, api: httpx.Client) -> None:
        assert self.page(api) == list("6543210")

    def test_starting_after_walks_to_an_empty_page(self, api: httpx.Client) -> None:
        assert self.page(api, limit=3) == list("654")
        assert self.page(api, limit=3, starting_after=self.id_of(api, 4)) == list("321")
        assert self.page(api, limit=3, starting_after=self.id_of(api, 1)) == ["0"]
        assert self.page(api, limit=3, starting_after=self.id_of(api, 0)) == []

    def test_ending_before_walks_back(self, api: httpx.Client) -> None:
        assert self.page(api, limit=2, ending_before=self.id_of(api, 2)) == list("43")
        assert self.page(api, limit=9, ending_before=self.id_of(api, 5)) == ["6"]
        assert self.page(api, limit=2, ending_before="OLDEST") == list("10")

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", ""])
    def test_a_bad_limit_is_refused(self, api: httpx.Client, limit: str) -> None:
        status, body = refused(api.get("/rooms", params={"limit": limit}))
        assert (status, body["error"]) == (400, "invalid-request-error")

    def test_an_unknown_cursor_is_refused(self, api: httpx.Client) -> None:
        assert api.get("/rooms", params={"starting_after": "room-1"}).status_code == 400
        assert api.get("/rooms", params={"ending_before": "room-1"}).status_code == 400


def test_a_page_has_at_most_a_hundred_rooms(api: httpx.Client) -> None:
    api.post("/batch/rooms", json={"rooms": [{} for _ in range(120)]})
    for limit in (None, 100, 500):
        answer = api.get("/rooms", params={} if limit is None else {"limit": limit}).json()
        assert (answer["total_count"], len(answer["data"])) == (120, 100)


class TestBatches:
    def test_a_batch_makes_all_rooms(self, api: httpx.Client) -> None:
        rooms = api.post("/batch/rooms", json={"rooms": [{"name": "a"}, {"privacy": "private"}, {}]}).json()
        assert [room["privacy"] for room in rooms] == ["public", "private", "public"]
        assert api.get("/rooms").json()["total_count"] == 3

    @pytest.mark.parametrize(
        "rooms",
        [[{"name": "a"}, {"name": "taken"}], [{"name": "a"}, {"name": "a"}], [{"name": "a"}, {"name": "b c"}]],
        ids=["taken", "twice", "bad"],
    )
    def test_one_bad_room_spoils_the_batch(self, api: httpx.Client, rooms: list[dict[str, str]]) -> None:
        make(api, "taken")
        assert api.post("/batch/rooms", json={"rooms": rooms}).status_code == 400
        assert [room["name"] for room in api.get("/rooms").json()["data"]] == ["taken"]

    @pytest.mark.parametrize("rooms", [None, "a", ["a"], [{}] * 1001], ids=["none", "text", "names", "too many"])
    def test_a_batch_of_something_else_is_refused(self, api: httpx.Client, rooms: Any) -> None:
        assert api.post("/batch/rooms", json={"rooms": rooms}).status_code == 400
        assert api.get("/rooms").json()["total_count"] == 0

    def test_a_batch_deletes_all_rooms_or_none(self, api: httpx.Client) -> None:
        make(api, "a", "b", "c")
        assert api.request("DELETE", "/batch/rooms", json={"rooms": ["a", "missing"]}).status_code == 404
        assert api.get("/rooms").json()["total_count"] == 3
        answer = api.request("DELETE", "/batch/rooms", json={"rooms": ["a", "b", "a"]})
        assert refused(answer) == (200, {"deleted_count": 2})
        assert [room["name"] for room in api.get("/rooms").json()["data"]] == ["c"]


def test_sip_gives_the_room_an_address_to_dial(api: httpx.Client) -> None:
    sip = {"display_name": "caller", "sip_mode": "dial-in", "provider": "daily"}
    config = api.post("/rooms", json={"properties": {"sip": sip}}).json()["config"]
    assert config["sip"] == sip
    assert re.fullmatch(r"\d+@.+", config["sip_uri"]["endpoint"])


class TestDomain:
    def test_the_domain_tells_its_name_and_id(self, api: httpx.Client) -> None:
        for path in ("", "/"):
            domain = api.get(path).json()
            assert sorted(domain) == ["config", "domain_id", "domain_name"]
            assert (domain["domain_name"], domain["config"]) == ("sandbox", {})

    def test_the_domain_can_be_configured(self, api: httpx.Client) -> None:
        answer = api.post("/", json={"properties": {"hide_daily_branding": True, "lang": "en"}})
        assert refused(answer) == (200, {"domain_name": "sandbox", "config": {"hide_daily_branding": True}})
        assert api.get("/").json()["config"] == {"hide_daily_branding": True}
        assert api.post("/", json={"properties": {"exp": 1}}).status_code == 400
