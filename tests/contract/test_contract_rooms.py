"""Facts about keys, errors, pages and rooms."""

from __future__ import annotations

import pytest
from contract_domain import Domain, date_of, refusal

from transport_trio.sandbox import JoinRefused

section = pytest.mark.section


@section("1 base and keys")
class TestKeys:
    @pytest.mark.parametrize("header", [{}, {"Authorization": "x"}, {"Authorization": "Bearer"}])
    def test_no_key_is_a_400_and_no_401(self, domain: Domain, header: dict[str, str]) -> None:
        status, error, _ = refusal(domain.ask("GET", "/rooms", headers=header))
        assert (status, error) == (400, "authorization-header-error")

    def test_a_wrong_key_is_a_401_without_words(self, domain: Domain) -> None:
        answer = domain.ask("GET", "/rooms", headers={"Authorization": f"Bearer {'0' * 64}"})
        assert (answer.status_code, answer.json()) == (401, {"error": "authentication-error"})

    def test_the_key_belongs_to_the_domain(self, domain: Domain) -> None:
        answer = domain.ask("GET", "/")
        assert answer.status_code == 200
        assert answer.json()["domain_name"].lower() == domain.name.lower()
        assert answer.json()["domain_id"]
        limits = {name: value for name, value in answer.json()["config"].items() if "max" in name}
        domain.learn("the domain's configuration tells of limits", str(limits or "no"))

    def test_answers_tell_the_time(self, domain: Domain) -> None:
        """Deadlines believe it after a jump of our clock."""
        off_s = date_of(domain.ask("GET", "/")).timestamp() - domain.now()
        assert abs(off_s) < 60

    @pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PATCH", "/rooms")])
    def test_unknown_paths_and_wrong_methods_are_404_also_without_a_key(
        self, domain: Domain, method: str, path: str
    ) -> None:
        status, error, _ = refusal(domain.ask(method, path, headers={}))
        assert (status, error) == (404, "not-found")


@section("5.1 rooms: the object")
class TestRoom:
    def test_a_room_is_made_with_200_and_looks_so(self, domain: Domain) -> None:
        room = domain.make("object", max_participants=7)
        assert room["name"] == domain.room_name("object")
        assert room["url"].lower() == f"https://{domain.name}.daily.co/{room['name']}".lower()
        assert room["id"]
        assert room["api_created"] is True
        assert room["privacy"] == "public"
        assert room["created_at"].endswith("Z")
        assert room["config"]["max_participants"] == 7
        assert room["config"]["exp"] > domain.now()
        assert domain.ask("GET", f"/rooms/{room['name']}").json() == room

    def test_a_private_room_needs_a_token(self, domain: Domain) -> None:
        room = domain.make("private", privacy="private")
        assert room["privacy"] == "private"
        if domain.sandbox:  # elsewhere only a browser could try
            with pytest.raises(JoinRefused, match="not-allowed"):
                domain.sandbox.join(room["name"], anonymous=True)

    def test_a_fraction_of_a_second_is_taken_as_an_end(self, domain: Domain) -> None:
        room = domain.make("fraction", exp=domain.now() + 3600.5)
        assert abs(room["config"]["exp"] - domain.now() - 3600) < 60

    def test_a_change_sets_what_is_given_and_null_takes_it_back(self, domain: Domain) -> None:
        path = f"/rooms/{domain.make('change', start_video_off=True)['name']}"
        end = domain.now() + 1800
        changed = domain.ask("POST", path, {"properties": {"exp": end, "start_video_off": None}}).json()
        assert changed["config"]["exp"] == end
        assert changed["config"].get("start_video_off", False) is False

    def test_a_room_s_id_in_a_path(self, domain: Domain) -> None:
        answer = domain.ask("GET", f"/rooms/{domain.make('by-id')['id']}")
        domain.learn("GET of a room by its id", str(answer.status_code))


@section("5.2 rooms: what is refused")
class TestRefusals:
    def test_a_taken_name_is_400_and_the_first_room_stays(self, domain: Domain) -> None:
        room = domain.make("taken")
        body = {"name": room["name"], "properties": {"exp": domain.now() + 60}}
        status, error, info = refusal(domain.ask("POST", "/rooms", body))
        assert (status, error) == (400, "invalid-request-error")
        assert "already exists" in info
        assert domain.ask("GET", f"/rooms/{room['name']}").json() == room

    @pytest.mark.parametrize(
        ("properties", "words"),
        [
            ({"exp": 1}, "in the past"),
            ({"exp": "soon"}, "exp"),
            ({"enable_transcription": True}, "enable_transcription"),
            ({"auto_start_recording": True}, "auto_start_recording"),
            ({"enable_recording": "off"}, ""),
        ],
    )
    def test_properties_that_rooms_do_not_have_are_400(
        self, domain: Domain, properties: dict[str, object], words: str
    ) -> None:
        name = domain.room_name("refused")
        body = {"name": name, "properties": {"exp": domain.now() + 60, **properties}}
        status, error, info = refusal(domain.ask("POST", "/rooms", body))
        assert (status, error) == (400, "invalid-request-error")
        assert words in info

    def test_names_have_letters_digits_hyphens_and_underscores_only(self, domain: Domain) -> None:
        body = {"name": domain.room_name("a b"), "properties": {"exp": domain.now() + 60}}
        assert refusal(domain.ask("POST", "/rooms", body))[:2] == (400, "invalid-request-error")

    def test_a_room_that_is_not_there_is_404(self, domain: Domain) -> None:
        assert refusal(domain.ask("GET", f"/rooms/{domain.room_name('nowhere')}"))[:2] == (404, "not-found")

    def test_what_is_deleted_twice_is_404_the_second_time(self, domain: Domain) -> None:
        name = domain.make("twice")["name"]
        assert domain.ask("DELETE", f"/rooms/{name}").json() == {"deleted": True, "name": name}
        assert refusal(domain.ask("DELETE", f"/rooms/{name}"))[:2] == (404, "not-found")


@section("4 pages")
def test_rooms_are_listed_newest_first_and_paged_by_id(domain: Domain) -> None:
    first = domain.make("older")["name"]
    domain.pass_s(1.1)  # of two in one second the id decides
    second = domain.make("newer")["name"]
    page = domain.ask("GET", "/rooms", query={"limit": 100}).json()
    names = [room["name"] for room in page["data"]]
    assert names.index(second) < names.index(first)
    assert page["total_count"] >= 2
    one = domain.ask("GET", "/rooms", query={"limit": 1}).json()["data"]
    rest = domain.ask("GET", "/rooms", query={"limit": 1, "starting_after": one[0]["id"]}).json()["data"]
    assert [one[0]["name"], rest[0]["name"]] == names[:2]


@section("5.2 rooms: batches")
class TestBatches:
    def test_a_batch_is_made_and_deleted_as_a_whole(self, domain: Domain) -> None:
        names = [domain.room_name(f"batch-{number}") for number in range(3)]
        rooms = [{"name": name, "properties": {"exp": domain.now() + 600}} for name in names]
        made = domain.ask("POST", "/batch/rooms", {"rooms": rooms})
        assert made.status_code == 200
        assert sorted(room["name"] for room in made.json()) == names
        assert domain.ask("DELETE", "/batch/rooms", {"rooms": names}).json() == {"deleted_count": 3}
        assert domain.ask("GET", f"/rooms/{names[0]}").status_code == 404

    def test_one_room_that_is_not_there_keeps_all_from_being_deleted(self, domain: Domain) -> None:
        name = domain.make("kept")["name"]
        answer = domain.ask("DELETE", "/batch/rooms", {"rooms": [name, domain.room_name("missing")]})
        assert 400 <= answer.status_code < 500
        assert domain.ask("GET", f"/rooms/{name}").status_code == 200

    def test_one_bad_room_keeps_all_from_being_made(self, domain: Domain) -> None:
        name = domain.room_name("half")
        rooms = [{"name": name, "properties": {"exp": domain.now() + 600}}, {"name": domain.room_name("?")}]
        assert refusal(domain.ask("POST", "/batch/rooms", {"rooms": rooms}))[0] == 400
        assert domain.ask("GET", f"/rooms/{name}").status_code == 404


@section("12 open points")
def test_what_an_expired_room_answers(domain: Domain) -> None:
    """It has left the lists, and is gone when deleted; what a look at it says, nobody has told."""
    name = domain.make("expired", exp=domain.now() + 5)["name"]
    domain.pass_s(6)
    look = domain.ask("GET", f"/rooms/{name}")
    domain.learn("GET of an expired room", f"{look.status_code} {look.text[:120]}")
    listed = domain.ask("GET", "/rooms", query={"limit": 100}).json()["data"]
    assert name not in {room["name"] for room in listed}
    deleted = domain.ask("DELETE", f"/rooms/{name}")
    assert (deleted.status_code, deleted.json().get("deleted")) == (404, True)
