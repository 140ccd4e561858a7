"""What people in a call are sent, and what they may do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from transport_trio.sandbox import SandboxHandle
from transport_trio.sandbox.call import MESSAGES_KEPT
from transport_trio.sandbox.refusals import ApiError

MakeCore = Callable[..., Any]
IN_CALL = {
    "eject": {"ids": ["x"]},
    "send_app_message": {"data": {}},
    "update_permissions": {"data": {"*": {"canSend": False}}},
}


@pytest.fixture
def core(make_core: MakeCore) -> Any:
    core = make_core()
    core.do("create_room", {"name": "hello"})
    return core


def messages(core: Any) -> list[Any]:
    return list(core.sandbox.rooms.find("hello").call.messages)


def permissions(core: Any) -> dict[str, dict[str, Any]]:
    return {one.id: one.all_permissions for one in core.sandbox.rooms.find("hello").call.present(core.clock())}


@pytest.mark.parametrize("operation", IN_CALL)
class TestNobodyThere:
    def test_an_empty_room_hosts_no_call(self, core: Any, operation: str) -> None:
        with pytest.raises(ApiError) as caught:
            core.do(operation, IN_CALL[operation], name="hello")
        assert caught.value.status == 404
        assert "does not seem to be hosting a call currently" in str(caught.value)

    def test_a_missing_room_is_told_in_other_words(self, core: Any, operation: str) -> None:
        with pytest.raises(ApiError, match="room nowhere not found"):
            core.do(operation, IN_CALL[operation], name="nowhere")

    def test_the_call_is_known_some_time_after_the_first_join(self, make_core: MakeCore, operation: str) -> None:
        core = make_core(call_lag_s=3)
        core.do("create_room", {"name": "hello"})
        core.join("hello", user_id="u1")
        core.clock.pass_s(2.9)
        with pytest.raises(ApiError, match="hosting a call"):
            core.do(operation, IN_CALL[operation], name="hello")
        core.join("hello", user_id="u2")  # who comes later does not begin it anew
        core.clock.pass_s(0.1)
        core.do(operation, IN_CALL[operation], name="hello")


class TestMessages:
    def test_everybody_gets_what_is_sent_to_all(self, core: Any) -> None:
        ada, bob = core.join("hello", user_id="u1"), core.join("hello", user_id="u2")
        assert core.do("send_app_message", {"data": {"say": "hi"}}, name="hello") == {"sent": "true"}
        [sent] = messages(core)
        assert (sent.data, sent.recipient, sent.received_by) == ({"say": "hi"}, "*", (ada, bob))

    def test_one_gets_what_is_sent_to_one(self, core: Any) -> None:
        core.join("hello", user_id="u1")
        bob = core.join("hello", user_id="u2")
        core.do("send_app_message", {"data": {}, "recipient": bob}, name="hello")
        core.do("send_app_message", {"data": {}, "recipient": "nobody"}, name="hello")
        assert [sent.received_by for sent in messages(core)] == [(bob,), ()]

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({}, "data was 'null'"),
            ({"data": "hi"}, "should be an object"),
            ({"data": {}, "recipient": 7}, "should be a string"),
            ({"data": {"x": "ä" * 2045}}, "should have at most 4096"),
            ({"data": {}, "to": "*"}, "invalid property name 'to'"),
        ],
    )
    def test_what_is_no_message_is_refused(self, core: Any, body: dict[str, Any], fault: str) -> None:
        core.join("hello")
        with pytest.raises(ApiError, match=fault):
            core.do("send_app_message", body, name="hello")
        assert messages(core) == []

    def test_four_kilobytes_pass(self, core: Any) -> None:
        core.join("hello")
        core.do("send_app_message", {"data": {"x": "ä" * 2044}}, name="hello")
        assert len(messages(core)) == 1

    def test_a_bounded_number_is_kept(self, core: Any) -> None:
        core.join("hello")
        for number in range(MESSAGES_KEPT + 1):
            core.do("send_app_message", {"data": {"n": number}}, name="hello")
        kept = messages(core)
        assert (len(kept), kept[0].data) == (MESSAGES_KEPT, {"n": 1})


class TestPermissions:
    def test_each_that_is_given_replaces_the_one_before(self, core: Any) -> None:
        ada = core.join("hello", user_id="u1", permissions={"canSend": ["video", "audio"], "canAdmin": ["streaming"]})
        bob = core.join("hello", user_id="u2")
        body = {"data": {ada: {"canSend": ["audio"]}}}
        assert core.do("update_permissions", body, name="hello") == {"status": "sent"}
        told = permissions(core)
        assert (told[ada]["canSend"], told[ada]["canAdmin"]) == (["audio"], ["streaming"])
        assert told[bob]["canSend"] is True

    def test_a_star_means_everybody_and_a_name_counts_more(self, core: Any) -> None:
        ada, bob = core.join("hello", user_id="u1"), core.join("hello", user_id="u2")
        core.do("update_permissions", {"data": {"*": {"canSend": False}, bob: {"canSend": True}}}, name="hello")
        assert {who: each["canSend"] for who, each in permissions(core).items()} == {ada: False, bob: True}

    def test_who_loses_presence_is_out_of_it(self, core: Any) -> None:
        ada = core.join("hello", user_id="u1")
        core.do("update_permissions", {"data": {ada: {"hasPresence": False}}}, name="hello")
        assert core.shown("hello") == []
        core.do("update_permissions", {"data": {ada: {"hasPresence": True}}}, name="hello")
        assert core.shown("hello") == [ada]

    def test_permissions_end_with_the_join(self, core: Any) -> None:
        ada = core.join("hello", user_id="u1")
        core.do("update_permissions", {"data": {ada: {"canSend": False}}}, name="hello")
        again = core.join("hello", user_id="u1")
        assert permissions(core)[again]["canSend"] is True

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({}, "data was 'null'"),
            ({"data": {"*": {"canSend": ["smell"]}}}, "canSend"),
            ({"data": {"*": {"canFly": True}}}, "canFly"),
            ({"data": {}, "who": "*"}, "invalid property name 'who'"),
        ],
    )
    def test_what_are_no_permissions_is_refused(self, core: Any, body: dict[str, Any], fault: str) -> None:
        core.join("hello")
        with pytest.raises(ApiError, match=fault):
            core.do("update_permissions", body, name="hello")


def test_the_control_side_shows_what_arrived(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    api.post("/rooms", json={"name": "hello"})
    ada = daily_sandbox.join("hello", name="Ada")
    assert ada["permissions"]["canSend"] is True
    assert api.post("/rooms/hello/send-app-message", json={"data": {"a": 1}, "recipient": ada["id"]}).status_code == 200
    assert api.post("/rooms/hello/update-permissions", json={"data": {"*": {"canSend": False}}}).status_code == 200
    [sent] = daily_sandbox.messages("hello")
    assert (sent["data"], sent["recipient"], sent["receivedBy"]) == ({"a": 1}, ada["id"], [ada["id"]])
    assert daily_sandbox.participants("hello")[0]["permissions"]["canSend"] is False
