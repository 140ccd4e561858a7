"""What every connector promises of the people in a call, and what Daily's makes of Daily's words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio
from connectors_helpers import Provider, room_plan
from daily_calls import CALLS, NOT_FOUND, ROOM, TEST_S, Scripted
from scripted_http import answer, hang_up

from transport_trio.connectors.daily.mapping import permissions_body
from transport_trio.errors import ConnectorError, NobodyInCall, ProviderUnreachable, RoomNotFound
from transport_trio.models import Permissions, PermissionsChange, RoomConfig

HOUR = timedelta(hours=1)
MUTE = PermissionsChange(sending=Permissions(**{f"can_send_{what}": False for what in ("video", "audio")}))
MUTE_ALL = PermissionsChange(
    sending=Permissions(
        can_send_video=False, can_send_audio=False, can_send_screen_video=False, can_send_screen_audio=False
    )
)
IN_CALL = ("eject", "update_permissions", "send_message")


@pytest.fixture
async def lobby(provider: Provider) -> Provider:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan("lobby", provider.now() + HOUR))
    return provider


async def test_whoever_is_named_is_put_out(lobby: Provider) -> None:
    with trio.fail_after(TEST_S):
        ada = await lobby.join("lobby", name="Ada", user_id="u1")
        bob = await lobby.join("lobby", name="Bob", user_id="u2")
        cyn = await lobby.join("lobby", name="Cyn", user_id="u3")
        ejected = await lobby.connector.eject("lobby", participant_ids=[ada, "?"], user_ids=["u2"], ban=False)
        (left,) = (await lobby.connector.presence("lobby")).participants
    assert set(ejected) == {ada, bob}
    assert left.id == cyn


async def test_permissions_change_for_one_and_for_all(lobby: Provider) -> None:
    config = RoomConfig()
    with trio.fail_after(TEST_S):
        ada, bob = await lobby.join("lobby", name="Ada"), await lobby.join("lobby", name="Bob")
        await lobby.connector.update_permissions("lobby", "*", PermissionsChange(can_admin=False), config)
        await lobby.connector.update_permissions("lobby", ada, MUTE_ALL, config)
        assert [await lobby.may_send("lobby", who) for who in (ada, bob)] == [False, True]
        await lobby.connector.update_permissions("lobby", "*", MUTE_ALL, config)
        assert [await lobby.may_send("lobby", who) for who in (ada, bob)] == [False, False]


async def test_a_message_arrives_as_it_was_sent(lobby: Provider) -> None:
    with trio.fail_after(TEST_S):
        ada = await lobby.join("lobby", name="Ada")
        await lobby.connector.send_message("lobby", "*", {"say": "grüß", "n": [1, None]})
        await lobby.connector.send_message("lobby", ada, {})
        assert await lobby.messages("lobby") == [("*", {"say": "grüß", "n": [1, None]}), (ada, {})]


async def in_call(provider: Provider, name: str, room: str = "lobby") -> Any:
    match name:
        case "eject":
            return await provider.connector.eject(room, participant_ids=["p"], user_ids=[], ban=False)
        case "update_permissions":
            return await provider.connector.update_permissions(room, "*", MUTE_ALL, RoomConfig())
        case _:
            return await provider.connector.send_message(room, "*", {"say": "hi"})


@pytest.mark.parametrize("name", IN_CALL)
async def test_an_empty_room_is_not_a_missing_one(lobby: Provider, name: str) -> None:
    with trio.fail_after(TEST_S):
        with pytest.raises(NobodyInCall) as empty:
            await in_call(lobby, name)
        with pytest.raises(RoomNotFound):
            await in_call(lobby, name, room="nowhere")
    assert empty.value.room_name == "lobby"


async def test_a_lost_message_is_in_doubt_and_not_sent_twice(lobby: Provider) -> None:
    await lobby.lose_answer("send_message")
    with trio.fail_after(TEST_S):
        await lobby.join("lobby", name="Ada")
        with pytest.raises(ProviderUnreachable) as caught:
            await lobby.connector.send_message("lobby", "*", {"say": "hi"})
        assert await lobby.messages("lobby") == [("*", {"say": "hi"})]
    assert caught.value.in_doubt


@pytest.mark.parametrize("name", IN_CALL)
async def test_only_what_can_be_repeated_is_repeated(scripted: Scripted, name: str) -> None:
    call, body = CALLS[name]
    daily, server = await scripted(hang_up, answer(200, body))
    doubt = None
    with trio.fail_after(TEST_S):
        try:
            await call(daily)
        except ConnectorError as exc:
            doubt = exc.in_doubt
    assert (len(server.received), doubt) == ((2, None) if name == "update_permissions" else (1, True))


@pytest.mark.parametrize("name", IN_CALL)
async def test_a_404_is_looked_into_whatever_its_words_are(scripted: Scripted, name: str) -> None:
    """Daily's free text may change; what it says of the room counts."""
    call, _ = CALLS[name]
    daily, server = await scripted(answer(404, {"error": "not-found", "info": "new words"}), answer(200, ROOM))
    with trio.fail_after(TEST_S), pytest.raises(NobodyInCall):
        await call(daily)
    assert server.received[1].target == "/v1/rooms/lobby"
    daily, _ = await scripted(NOT_FOUND, NOT_FOUND)
    with trio.fail_after(TEST_S), pytest.raises(RoomNotFound):
        await call(daily)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("eject", {}),
        ("eject", {"ejectedIds": "p1"}),
        ("send_message", {}),
        ("send_message", {"sent": "false"}),
        ("send_message", []),
    ],
)
async def test_a_success_that_does_not_say_so_is_in_doubt(scripted: Scripted, name: str, body: Any) -> None:
    daily, server = await scripted(answer(200, body))
    with trio.fail_after(TEST_S), pytest.raises(ProviderUnreachable) as caught:
        await CALLS[name][0](daily)
    assert caught.value.in_doubt
    assert len(server.received) == 1


async def test_ids_that_make_no_sense_are_passed_over(scripted: Scripted) -> None:
    daily, _ = await scripted(answer(200, {"ejectedIds": ["p1", 7, "", "x" * 129, "a\nb"]}))
    with trio.fail_after(TEST_S):
        assert await daily.eject("lobby", participant_ids=["p1"], user_ids=[], ban=True) == ("p1",)


@pytest.mark.parametrize(
    ("change", "config", "body"),
    [
        (PermissionsChange(), {}, {}),
        (PermissionsChange(can_admin=True), {}, {"canAdmin": True}),
        (PermissionsChange(can_admin=False), {}, {"canAdmin": False}),
        (PermissionsChange(can_admin=False), {"enable_transcription": True}, {"canAdmin": ["transcription"]}),
        (PermissionsChange(can_admin=True), {"auto_start_transcription": True}, {"canAdmin": True}),
        (PermissionsChange(sending=Permissions()), {}, {"canSend": True}),
        (MUTE, {}, {"canSend": ["screenVideo", "screenAudio"]}),
        (MUTE_ALL, {}, {"canSend": False}),
    ],
)
def test_permissions_in_dailys_words(change: PermissionsChange, config: dict[str, bool], body: dict[str, Any]) -> None:
    assert permissions_body(change, RoomConfig(**config)) == body
