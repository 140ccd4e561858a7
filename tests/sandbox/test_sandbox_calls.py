"""Who gets into a room, who is put out when, and what presence tells of it. No HTTP, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from transport_trio.sandbox.door import JoinRefused
from transport_trio.sandbox.jws import sign
from transport_trio.sandbox.refusals import ApiError

START = 1_800_000_000.0
MakeCore = Callable[..., Any]


@pytest.fixture
def core(make_core: MakeCore) -> Any:
    return make_core()


def room(core: Any, name: str = "hello", privacy: str = "public", **properties: Any) -> str:
    core.do("create_room", {"name": name, "privacy": privacy, "properties": properties})
    return name


def refusal(core: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(JoinRefused) as refused:
        core.enter(*args, **kwargs)
    return refused.value.reason


class TestTheDoor:
    def test_anybody_enters_a_public_room(self, core: Any) -> None:
        room(core)
        core.enter("hello", user_name="Ada")
        assert [one["userName"] for one in core.do("room_presence", name="hello")["data"]] == ["Ada"]

    def test_a_private_room_wants_a_token(self, core: Any) -> None:
        room(core, privacy="private")
        assert refusal(core, "hello") == "not-allowed"
        core.enter("hello", core.token(room_name="hello"))
        core.enter("hello", core.token())

    def test_a_token_for_another_room_is_refused(self, core: Any) -> None:
        room(core)
        assert refusal(core, "hello", core.token(room_name="other")) == "not-allowed"

    def test_there_is_no_entering_a_missing_or_deleted_room(self, core: Any) -> None:
        assert refusal(core, "hello") == "no-room"
        room(core)
        core.do("delete_room", name="hello")
        assert refusal(core, "hello") == "no-room"

    def test_a_room_opens_at_nbf_and_closes_at_exp(self, core: Any) -> None:
        room(core, nbf=START + 10, exp=START + 20)
        assert refusal(core, "hello") == "nbf-room"
        core.clock.pass_s(10)
        core.enter("hello")
        core.clock.pass_s(10)
        assert refusal(core, "hello") == "exp-room"

    def test_a_token_is_good_from_nbf_until_exp(self, core: Any) -> None:
        room(core)
        token = core.token(nbf=START + 10, exp=START + 20)
        assert refusal(core, "hello", token) == "nbf-token"
        core.clock.pass_s(10)
        core.enter("hello", token)
        core.clock.pass_s(10)
        assert refusal(core, "hello", token) == "exp-token"

    def test_a_token_with_long_claim_names_is_invalid(self, core: Any) -> None:
        room(core)
        domain_id = core.do("get_domain")["domain_id"]
        token = sign({"room_name": "hello", "d": domain_id, "iat": START}, b"sandbox")
        assert refusal(core, "hello", token) == "invalid-token"

    def test_a_full_room_takes_nobody_until_somebody_leaves(self, core: Any) -> None:
        room(core, max_participants=2)
        first = core.join("hello", user_id="u1")
        core.join("hello", user_id="u2")
        assert refusal(core, "hello") == "meeting-full"
        core.sandbox.rooms.find("hello").call.leave(first, core.clock())
        core.enter("hello")

    def test_the_token_s_name_goes_before_the_browser_s(self, core: Any) -> None:
        room(core)
        core.enter("hello", core.token(user_name="Ada"), user_name="Eve")
        core.enter("hello", core.token(), user_name="Eve")
        assert [one["userName"] for one in core.do("room_presence", name="hello")["data"]] == ["Ada", "Eve"]

    def test_unique_user_ids_put_the_older_one_out_even_of_a_full_room(self, core: Any) -> None:
        room(core, enforce_unique_user_ids=True, max_participants=1)
        core.join("hello", user_id="u1")
        second = core.join("hello", user_id="u1")
        assert core.shown("hello") == [second]

    def test_a_user_id_may_be_in_twice_otherwise(self, core: Any) -> None:
        room(core)
        both = [core.join("hello", user_id="u1"), core.join("hello", user_id="u1")]
        assert core.shown("hello") == both

    def test_hidden_people_do_not_show_but_count(self, core: Any) -> None:
        room(core, max_participants=1)
        core.join("hello", permissions={"hasPresence": False})
        assert core.shown("hello") == []
        assert refusal(core, "hello") == "meeting-full"

    def test_a_room_can_hide_all_but_its_owners(self, core: Any) -> None:
        room(core, permissions={"hasPresence": False})
        core.enter("hello")
        owner = core.join("hello", is_owner=True)
        assert core.shown("hello") == [owner]


class TestBeingPutOut:
    def left_after(self, core: Any, seconds: float) -> bool:
        """Whether somebody who is in is out exactly then, and not a second earlier."""
        core.clock.pass_s(seconds - 1)
        assert core.do("all_presence") != {}
        core.clock.pass_s(1)
        return core.do("all_presence") == {}

    def test_nobody_is_put_out_by_an_exp_alone(self, core: Any) -> None:
        room(core, exp=START + 100)
        core.join("hello", exp=START + 50)
        core.clock.pass_s(200)
        assert list(core.do("all_presence")) == ["hello"]

    def test_the_room_s_exp_puts_everybody_out_when_it_says_so(self, core: Any) -> None:
        room(core, exp=START + 100, eject_at_room_exp=True)
        core.enter("hello")
        core.join("hello")
        assert self.left_after(core, 100)

    def test_the_token_s_exp_puts_out_at_that_second(self, core: Any) -> None:
        room(core)
        core.join("hello", exp=START + 50, eject_at_token_exp=True)
        assert self.left_after(core, 50)

    def test_elapsed_time_counts_from_the_join(self, core: Any) -> None:
        room(core, eject_after_elapsed=30)
        core.clock.pass_s(10)
        core.enter("hello")
        assert self.left_after(core, 30)

    def test_the_earlier_of_the_token_s_limits_counts(self, core: Any) -> None:
        room(core)
        core.join("hello", exp=START + 50, eject_at_token_exp=True, eject_after_elapsed=20)
        assert self.left_after(core, 20)

    def test_a_token_s_eject_option_replaces_the_room_s(self, core: Any) -> None:
        room(core, exp=START + 100, eject_at_room_exp=True, eject_after_elapsed=30)
        core.join("hello", eject_after_elapsed=150)
        assert self.left_after(core, 150)

    def test_the_end_is_fixed_at_the_join(self, core: Any) -> None:
        room(core, exp=START + 100, eject_at_room_exp=True)
        core.join("hello", user_id="early")
        core.do("update_room", {"properties": {"exp": START + 500}}, name="hello")
        late = core.join("hello", user_id="late")
        core.clock.pass_s(100)
        assert core.shown("hello") == [late]
        core.clock.pass_s(400)
        assert core.do("all_presence") == {}

    def test_deleting_the_room_ends_the_call(self, core: Any) -> None:
        room(core)
        core.join("hello")
        core.do("delete_room", name="hello")
        room(core)
        assert core.shown("hello") == []


class TestEject:
    def test_people_go_by_session_id_and_by_user_id(self, core: Any) -> None:
        room(core)
        one, two, three = (core.join("hello", user_id=user_id) for user_id in ("u1", "u2", "u3"))
        answer = core.do("eject", {"ids": [one, "unknown"], "user_ids": ["u2", "nobody"]}, name="hello")
        assert answer == {"ejectedIds": [one, two]}
        assert core.shown("hello") == [three]
        core.join("hello", user_id="u1")

    def test_a_ban_holds_for_the_user_id(self, core: Any) -> None:
        room(core)
        core.join("hello", user_id="u1")
        core.do("eject", {"user_ids": ["u1"], "ban": True}, name="hello")
        token = core.token(user_id="u1")
        assert refusal(core, "hello", token) == "not-allowed"
        core.enter("hello")

    def test_an_empty_or_missing_room_is_404(self, core: Any) -> None:
        with pytest.raises(ApiError) as missing:
            core.do("eject", {"ids": ["x"]}, name="hello")
        room(core)
        with pytest.raises(ApiError) as empty:
            core.do("eject", {"ids": ["x"]}, name="hello")
        assert [missing.value.status, empty.value.status] == [404, 404]
        assert empty.value.body["info"].endswith("does not seem to be hosting a call currently")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"ids": []},
            {"ids": "x"},
            {"user_ids": [1]},
            {"ids": ["x"] * 101},
            {"ids": ["x"], "ban": "yes"},
            {"who": ["x"]},
        ],
    )
    def test_a_bad_body_is_400(self, core: Any, body: dict[str, Any]) -> None:
        room(core)
        core.join("hello")
        with pytest.raises(ApiError) as refused:
            core.do("eject", body, name="hello")
        assert refused.value.status == 400


class TestPresence:
    def test_an_entry_has_daily_s_fields(self, core: Any) -> None:
        room(core)
        session = core.join("hello", user_id="u1", user_name="Ada", is_owner=True)
        core.clock.pass_s(7.9)
        entry = core.do("room_presence", name="hello")["data"][0]
        meeting = entry.pop("mtgSessionId")
        assert entry == {
            "room": "hello",
            "id": session,
            "userId": "u1",
            "userName": "Ada",
            "joinTime": "2027-01-15T08:00:00.000Z",
            "duration": 7,
        }
        assert core.do("all_presence") == {"hello": [{**entry, "mtgSessionId": meeting}]}

    def test_anonymous_people_have_neither_id_nor_name(self, core: Any) -> None:
        room(core)
        core.enter("hello")
        entry = core.do("room_presence", name="hello")["data"][0]
        assert (entry["userId"], entry["userName"]) == (None, None)

    def test_only_rooms_with_people_are_told_of(self, core: Any) -> None:
        room(core, "empty")
        room(core, "busy")
        core.join("busy")
        assert list(core.do("all_presence")) == ["busy"]
        assert core.do("room_presence", name="empty") == {"total_count": 0, "data": []}

    def test_a_meeting_lasts_until_the_last_has_left(self, core: Any) -> None:
        room(core)

        def meeting() -> str:
            meeting_id: str = core.do("room_presence", name="hello")["data"][-1]["mtgSessionId"]
            return meeting_id

        core.join("hello", user_id="u1")
        first = meeting()
        core.join("hello", user_id="u2")
        assert meeting() == first
        core.sandbox.rooms.find("hello").call.end(core.clock())
        core.join("hello", user_id="u1")
        assert meeting() != first

    def test_joins_and_leaves_show_late(self, make_core: MakeCore) -> None:
        core = make_core(presence_lag_s=15)
        room(core)
        ada = core.join("hello", user_id="u1")
        core.clock.pass_s(14)
        assert core.shown("hello") == []
        core.clock.pass_s(1)
        assert core.shown("hello") == [ada]
        core.sandbox.rooms.find("hello").call.leave("u1", core.clock())
        core.clock.pass_s(14)
        assert core.shown("hello") == [ada]
        core.clock.pass_s(1)
        assert core.shown("hello") == []

    def test_somebody_who_rejoins_shows_twice_for_a_while(self, make_core: MakeCore) -> None:
        core = make_core(ghost_s=20, presence_lag_s=10)
        room(core)
        bob = core.join("hello", user_id="u2")
        first = core.join("hello", user_id="u1")
        core.clock.pass_s(60)
        core.sandbox.rooms.find("hello").call.leave("u1", core.clock())
        core.clock.pass_s(5)
        second = core.join("hello", user_id="u1")
        core.clock.pass_s(10)
        assert core.shown("hello") == [bob, first, second]
        core.clock.pass_s(19)
        assert core.shown("hello") == [bob, first, second]
        core.clock.pass_s(1)
        assert core.shown("hello") == [bob, second]

    @pytest.mark.parametrize(
        ("leaver", "joiner", "is_ghost"),
        [
            ({}, {}, False),
            ({"user_name": "Ada"}, {"user_name": "Bob"}, False),
            ({"user_name": "Ada"}, {"user_name": "Ada"}, True),
            ({"user_name": "Ada", "user_id": "u1"}, {"user_name": "Ada", "user_id": "u2"}, False),
            ({"user_name": "Ada", "user_id": "u1"}, {"user_name": "Ada"}, False),
            ({"user_name": "Ada", "user_id": "u1"}, {"user_name": "Bob", "user_id": "u1"}, True),
        ],
    )
    def test_only_the_same_person_leaves_a_ghost(
        self, make_core: MakeCore, leaver: dict[str, str], joiner: dict[str, str], is_ghost: bool
    ) -> None:
        core = make_core(ghost_s=20)
        room(core)
        gone = core.join("hello", **leaver)
        core.sandbox.rooms.find("hello").call.end(core.clock())
        come = core.join("hello", **joiner)
        assert core.shown("hello") == ([gone, come] if is_ghost else [come])

    def test_somebody_put_out_unseen_shows_as_long_as_one_who_left_at_that_second(self, make_core: MakeCore) -> None:
        core = make_core(presence_lag_s=15)
        room(core, eject_after_elapsed=30)
        ada = core.enter("hello")
        core.clock.pass_s(44)
        assert core.shown("hello") == [ada]
        core.clock.pass_s(1)
        assert core.shown("hello") == []

    def test_those_long_gone_are_forgotten(self, core: Any) -> None:
        room(core)
        for _ in range(50):
            core.join("hello", user_id="u1")
            core.sandbox.rooms.find("hello").call.end(core.clock())
            core.clock.pass_s(1)
        assert len(core.sandbox.rooms.find("hello").call._entries) <= 2
