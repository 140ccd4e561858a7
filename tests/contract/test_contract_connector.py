"""What every connector promises (`ports.TransportConnector`): Daily's, and the fake."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from connectors_helpers import Provider, room_plan, token_plan

from transport_trio.errors import ProviderRejected, ProviderThrottled, ProviderUnreachable, RoomExists, RoomNotFound
from transport_trio.models import CheckStatus

HOUR = timedelta(hours=1)
TEST_S = 60.0

people = pytest.mark.takes("somebody in the room")
clock = pytest.mark.takes("a clock that moves ahead")
faults = pytest.mark.takes("faults on order")
alone = pytest.mark.takes("a domain of its own")
many_requests = pytest.mark.takes("more requests than a real domain should be asked")


async def test_a_room_is_made_as_planned_and_found_again(provider: Provider) -> None:
    plan = room_plan(provider.room("lobby"), provider.now() + HOUR)
    with trio.fail_after(TEST_S):
        made = await provider.connector.create_room(plan)
        found = await provider.connector.find_room(provider.room("lobby"))
    assert found == made
    assert (made.name, made.expires_at) == (provider.room("lobby"), plan.expires_at)
    assert made.url.endswith(f"/{provider.room('lobby')}")
    assert made.provider_id
    assert made.created_at is not None
    assert abs(made.created_at - provider.now()) < timedelta(seconds=30)


async def test_a_taken_name_is_told_and_the_first_room_stays_as_it_was(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        first = await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        with pytest.raises(RoomExists) as caught:
            await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + 2 * HOUR))
        assert await provider.connector.find_room(provider.room("lobby")) == first
    assert caught.value.room_name == provider.room("lobby")


async def test_no_room_is_found_where_there_is_none(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        assert await provider.connector.find_room(provider.room("nowhere")) is None


@clock
async def test_an_expired_room_is_not_found(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        await provider.advance(3601)
        assert await provider.connector.find_room(provider.room("lobby")) is None


async def test_a_deleted_room_is_gone_and_deleting_it_again_says_so(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        assert await provider.connector.delete_room(provider.room("lobby"))
        assert await provider.connector.find_room(provider.room("lobby")) is None
        assert not await provider.connector.delete_room(provider.room("lobby"))


@clock
async def test_an_expired_room_can_be_deleted(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        await provider.advance(3601)
        await provider.connector.delete_room(provider.room("lobby"))


async def test_a_token_can_be_minted_again_and_again(provider: Provider) -> None:
    plan = room_plan(provider.room("lobby"), provider.now() + HOUR)
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(plan)
        for _ in range(2):
            assert await provider.connector.create_token(token_plan(plan, name="Ada", user_id="u1"))


async def test_a_token_that_would_have_expired_is_refused(provider: Provider) -> None:
    plan = room_plan(provider.room("lobby"), provider.now() - HOUR)
    with trio.fail_after(TEST_S), pytest.raises(ProviderRejected) as caught:
        await provider.connector.create_token(token_plan(plan))
    assert caught.value.status == 400
    assert "past" in caught.value.detail


@people
async def test_presence_names_who_is_there(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        assert (await provider.connector.presence(provider.room("lobby"))).participants == ()
        ada = await provider.join(provider.room("lobby"), name="Ada", user_id="u1")
        bob = await provider.join(provider.room("lobby"), name="Bob", user_id="u2")
        both = (await provider.connector.presence(provider.room("lobby"))).participants
        await provider.leave(provider.room("lobby"), ada)
        (left,) = (await provider.connector.presence(provider.room("lobby"))).participants
    assert {(one.id, one.user_id, one.name) for one in both} == {(ada, "u1", "Ada"), (bob, "u2", "Bob")}
    assert all(abs(one.joined_at - provider.now()) < timedelta(seconds=30) for one in both)
    assert left.id == bob


@people
async def test_who_rejoins_has_a_new_id_and_is_the_same_person(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        first = await provider.join(provider.room("lobby"), name="Ada", user_id="u1")
        (before,) = (await provider.connector.presence(provider.room("lobby"))).participants
        await provider.leave(provider.room("lobby"), first)
        await provider.join(provider.room("lobby"), name="Ada", user_id="u1")
        (after,) = (await provider.connector.presence(provider.room("lobby"))).participants
    assert before.id != after.id
    assert before.person == after.person


async def test_presence_of_no_room_is_an_error_and_not_an_empty_room(provider: Provider) -> None:
    with trio.fail_after(TEST_S), pytest.raises(RoomNotFound) as caught:
        await provider.connector.presence(provider.room("nowhere"))
    assert caught.value.room_name == provider.room("nowhere")


@faults
async def test_a_lost_answer_leaves_a_creation_in_doubt_and_a_look_settles_it(provider: Provider) -> None:
    plan = room_plan(provider.room("lobby"), provider.now() + HOUR)
    await provider.lose_answer("create_room")
    with trio.fail_after(TEST_S):
        with pytest.raises(ProviderUnreachable) as caught:
            await provider.connector.create_room(plan)
        found = await provider.connector.find_room(provider.room("lobby"))
    assert caught.value.in_doubt
    assert found is not None
    assert found.expires_at == plan.expires_at


@faults
async def test_a_throttled_call_says_when_to_come_back(provider: Provider) -> None:
    await provider.throttle("find_room", retry_after_s=50)
    with trio.fail_after(TEST_S), pytest.raises(ProviderThrottled) as caught:
        await provider.connector.find_room(provider.room("lobby"))
    assert caught.value.retry_after_s == 50


@faults
async def test_health_goes_with_the_latest_calls(provider: Provider) -> None:
    assert provider.connector.health().status is CheckStatus.OK
    await provider.break_down("find_room")
    with trio.fail_after(TEST_S):
        with pytest.raises(ProviderUnreachable):
            await provider.connector.find_room(provider.room("lobby"))
        ill = provider.connector.health()
        await provider.recover()
        await provider.connector.find_room(provider.room("lobby"))
    assert ill.status is CheckStatus.DEGRADED
    assert ill.message
    assert provider.connector.health().status is CheckStatus.OK
    assert ill.name == f"provider:{provider.connector.name}"


@clock
async def test_check_tells_the_providers_time(provider: Provider) -> None:
    await provider.advance(7200)
    with trio.fail_after(TEST_S):
        theirs = await provider.connector.check()
    assert theirs is not None
    assert abs(theirs - provider.now()) < timedelta(seconds=30)


@many_requests
async def test_a_cancelled_call_leaves_a_connector_that_works(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        for _ in range(30):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(provider.connector.find_room, provider.room("lobby"))
                    await trio.lowlevel.checkpoint()
                    scope.cancel()
        assert await provider.connector.find_room(provider.room("lobby")) is None


async def test_a_dry_run_tells_both_requests_and_makes_nothing(provider: Provider) -> None:
    plan = room_plan(provider.room("lobby"), provider.now() + HOUR, options={"lang": "de"})
    told = provider.connector.dry_run(plan, token_plan(plan))
    end = int(plan.expires_at.timestamp())
    assert told["room"]["name"] == provider.room("lobby")
    assert told["room"]["properties"]["lang"] == "de"
    assert told["token"]["body"]["properties"]["exp"] == told["token"]["claims"]["exp"] == end
    with trio.fail_after(TEST_S):
        assert await provider.connector.find_room(provider.room("lobby")) is None


async def test_the_end_of_a_room_is_not_the_callers_to_set(provider: Provider) -> None:
    assert "exp" in provider.connector.managed_options


@alone
async def test_all_rooms_are_listed_page_by_page_newest_first(provider: Provider) -> None:
    connector, end = provider.connector, provider.now() + HOUR
    with trio.fail_after(TEST_S):
        made = [await connector.create_room(room_plan(provider.room(f"room-{number}"), end)) for number in range(7)]
        listed, after = [], None
        while (page := await connector.list_rooms(after)).after is not None:
            assert page.entries == len(page.rooms) > 0
            listed += page.rooms
            after = page.after
        assert page.rooms == ()
    assert sorted(listed, key=lambda room: room.name) == made


@alone
async def test_what_follows_a_room_that_is_gone_is_refused(provider: Provider) -> None:
    with trio.fail_after(TEST_S), pytest.raises(ProviderRejected):
        await provider.connector.list_rooms("4c0b3f43-3a0e-4f1c-9d1f-000000000000")


@alone
async def test_an_expired_room_is_not_listed(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        await provider.advance(3601)
        assert (await provider.connector.list_rooms(None)).rooms == ()


async def test_rooms_are_deleted_together_all_or_none(provider: Provider) -> None:
    connector, end = provider.connector, provider.now() + HOUR
    first, second, third = (provider.room(name) for name in ("first", "second", "third"))
    with trio.fail_after(TEST_S):
        for name in (first, second, third):
            await connector.create_room(room_plan(name, end))
        with pytest.raises(ProviderRejected):
            await connector.delete_rooms([first, provider.room("gone"), second])
        assert await connector.find_room(first) is not None
        await connector.delete_rooms([first, second])
        found = [await connector.find_room(name) for name in (first, second, third)]
        assert [room is not None for room in found] == [False, False, True]


@faults
async def test_deleting_together_is_never_repeated(provider: Provider) -> None:
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(provider.room("lobby"), provider.now() + HOUR))
        await provider.lose_answer("delete_rooms")
        with pytest.raises(ProviderUnreachable) as caught:
            await provider.connector.delete_rooms([provider.room("lobby")])
        assert caught.value.in_doubt
        assert await provider.connector.find_room(provider.room("lobby")) is None


@people
async def test_people_are_counted_and_a_room_that_is_not_there_is_told(provider: Provider) -> None:
    lobby = provider.room("lobby")
    with trio.fail_after(TEST_S):
        await provider.connector.create_room(room_plan(lobby, provider.now() + HOUR))
        assert await provider.connector.count_people(lobby) == 0
        await provider.join(lobby, name="Ada")
        assert await provider.connector.count_people(lobby) == 1
        with pytest.raises(RoomNotFound):
            await provider.connector.count_people(provider.room("nowhere"))
