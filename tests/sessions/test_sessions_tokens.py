"""Meeting tokens for further participants, on Trio's clock."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
from session_builders import a_request
from session_world import World
from trio.testing import MockClock

from fakes_connector import trio_time
from transport_trio.errors import (
    IdempotencyMismatch,
    InvalidRequest,
    ProviderRejected,
    ProviderUnreachable,
    SessionHasEnded,
    SessionNotFound,
    TokenNotFound,
    TooManyTokens,
)
from transport_trio.models import ParticipantConfig, TokenRequest
from transport_trio.sessions import IdempotencyKey
from transport_trio.sessions.grants import FORGET_S, TOKENS_MAX

BOB = TokenRequest(participant=ParticipantConfig(name="Bob", user_id="u-bob"), ttl_s=600, eject_at_expiry=True)
KEY = IdempotencyKey(caller="c", key="k", fingerprint="f")


def told_of(world: World, token_id: str) -> list[str]:
    bodies: list[dict[str, Any]] = [json.loads(event.body) for event in world.told]
    return [body["type"] for body in bodies if body.get("token_id") == token_id]


async def test_a_further_token_is_minted_listed_and_told(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        minted = await service.tokens.create(session.id, BOB)
        assert minted.meeting_token == "token-2"
        plan = world.connector.tokens[-1]
        assert (plan.room_name, plan.participant) == (session.room.name, BOB.participant)
        assert plan.options.eject_at_expiry
        assert plan.expires_at == minted.granted.grant.expires_at == trio_time() + timedelta(seconds=600)
        assert [one.id for one in await service.tokens.list(session.id)] == [session.id, minted.granted.id]
        assert world.types() == ["session_created", "token_created"]
        assert "token-2" not in repr(await world.journal.get(session.id)) + repr(world.told) + repr(minted)


async def test_each_token_is_warned_of_and_ends_by_itself(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        bob = (await service.tokens.create(session.id, BOB)).granted.id
        await trio.sleep(541)
        assert told_of(world, bob) == ["token_created", "token_expiring"]
        await trio.sleep(60)
        assert told_of(world, bob) == ["token_created", "token_expiring", "token_expired"]
        assert told_of(world, session.id) == []
        await trio.sleep(3000)
        assert told_of(world, session.id) == ["token_expiring", "token_expired"]


async def test_an_expired_token_is_forgotten_later_and_not_before(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        bob = (await service.tokens.create(session.id, BOB)).granted.id
        await trio.sleep(600 + FORGET_S - 1)
        assert bob in [one.id for one in await service.tokens.list(session.id)]
        await trio.sleep(2)
        assert [one.id for one in await service.tokens.list(session.id)] == [session.id]
        stored = await world.journal.get(session.id)
        assert stored is not None
        assert stored.further_tokens == ()
        with pytest.raises(TokenNotFound):
            await service.tokens.renew(session.id, bob)


async def test_a_renewal_has_the_same_claims_and_a_later_end(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        bob = (await service.tokens.create(session.id, BOB)).granted.id
        first = world.connector.tokens[-1]
        await trio.sleep(650)
        renewed = await service.tokens.renew(session.id, bob)
        end = trio_time() + timedelta(seconds=600)
        assert world.connector.tokens[-1] == attrs.evolve(first, expires_at=end)
        assert renewed.granted.grant.expires_at == end
        await trio.sleep(601)
        kinds = ["token_created", "token_expiring", "token_expired", "token_renewed", "token_expiring", "token_expired"]
        assert told_of(world, bob) == kinds


@pytest.mark.parametrize(("ttl_s", "length_s"), [(600, 600), (None, 3600)])
async def test_a_length_counts_from_when_the_token_lets_somebody_in(
    autojump_clock: MockClock, world: World, ttl_s: int | None, length_s: int
) -> None:
    """From now on, 600 seconds not before 600 were good for nothing."""
    async with world.service() as service:
        session = (await service.create(a_request(session_ttl_s=7200))).session
        start = trio_time() + timedelta(seconds=600)
        later = await service.tokens.create(session.id, TokenRequest(ttl_s=ttl_s, not_before_s=600))
        one = later.granted
        assert (one.options.not_before, one.grant.expires_at) == (start, start + timedelta(seconds=length_s))
        await trio.sleep(300)
        renewed = await service.tokens.renew(session.id, one.id, ttl_s=length_s + 1)
        assert renewed.granted.grant.expires_at == start + timedelta(seconds=length_s + 1)
        await trio.sleep(600)
        renewed = await service.tokens.renew(session.id, one.id, ttl_s=length_s)
        assert renewed.granted.grant.expires_at == trio_time() + timedelta(seconds=length_s)


async def test_no_token_is_made_that_could_never_be_used(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request(session_ttl_s=700))).session
        cut = await service.tokens.create(session.id, TokenRequest(not_before_s=600))
        assert cut.granted.grant.expires_at == session.expires_at
        with pytest.raises(InvalidRequest, match=r"\$.options.not_before_s: .* 700 s"):
            await service.tokens.create(session.id, TokenRequest(not_before_s=700))
        with pytest.raises(InvalidRequest, match=r"\$.options.token_ttl_s: .* 100 s"):
            await service.tokens.create(session.id, TokenRequest(ttl_s=600, not_before_s=600))


async def test_the_first_token_is_renewed_by_the_session_s_id(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        await trio.sleep(1800)
        await service.tokens.renew(session.id, session.id)
        assert (await service.get(session.id)).token.expires_at == trio_time() + timedelta(seconds=3600)


async def test_no_token_outlives_its_session_and_no_end_moves_back(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request(session_ttl_s=300))).session
        minted = await service.tokens.create(session.id, TokenRequest())
        assert minted.granted.grant.expires_at == session.expires_at
        with pytest.raises(InvalidRequest, match="300 s"):
            await service.tokens.create(session.id, attrs.evolve(BOB, ttl_s=301))
        with pytest.raises(InvalidRequest, match="300 s"):
            await service.tokens.renew(session.id, minted.granted.id, ttl_s=301)
        again = await service.tokens.renew(session.id, minted.granted.id, ttl_s=10)
        assert again.granted.grant.expires_at == session.expires_at


async def test_a_repeat_with_a_key_is_the_same_token(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        first = await service.tokens.create(session.id, BOB, idempotency=KEY)
        await trio.sleep(5)
        again = await service.tokens.create(session.id, BOB, idempotency=KEY)
        assert again.replayed
        assert again.granted == first.granted
        assert world.connector.tokens[-1] == world.connector.tokens[-2]
        with pytest.raises(IdempotencyMismatch):
            await service.tokens.create(session.id, BOB, idempotency=attrs.evolve(KEY, fingerprint="g"))
        with pytest.raises(IdempotencyMismatch):
            await service.create(a_request(), idempotency=attrs.evolve(KEY, fingerprint="h"))
        await trio.sleep(600)
        assert (await service.tokens.create(session.id, BOB, idempotency=KEY)).meeting_token is None


async def test_a_failure_leaves_nothing_and_frees_the_key(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.fail("create_token", ProviderUnreachable("daily", "down"))
        with pytest.raises(ProviderUnreachable):
            await service.tokens.create(session.id, BOB, idempotency=KEY)
        assert len(await service.tokens.list(session.id)) == 1
        assert not (await service.tokens.create(session.id, BOB, idempotency=KEY)).replayed


async def test_what_the_provider_refuses_of_the_caller_s_is_told_so(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.fail("create_token", ProviderRejected("daily", 400, "invalid property name 'x'"), times=2)
        with pytest.raises(InvalidRequest, match=r"\$.options.daily: invalid property name 'x'"):
            await service.tokens.create(session.id, attrs.evolve(BOB, provider_options={"x": 1}))
        with pytest.raises(ProviderRejected):
            await service.tokens.create(session.id, BOB)


async def test_the_number_of_tokens_is_bounded(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        for _ in range(TOKENS_MAX - 1):
            await service.tokens.create(session.id, BOB)
        minted = len(world.connector.tokens)
        with pytest.raises(TooManyTokens):
            await service.tokens.create(session.id, BOB)
        assert len(world.connector.tokens) == minted


async def test_an_ended_session_has_no_more_tokens(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        await service.end(session.id)
        with pytest.raises(SessionHasEnded):
            await service.tokens.create(session.id, BOB)
        with pytest.raises(SessionHasEnded):
            await service.tokens.renew(session.id, session.id)
        with pytest.raises(SessionNotFound):
            await service.tokens.create("nobody", BOB)


async def test_a_session_that_ends_meanwhile_hands_out_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.service() as service:
        session = (await service.create(a_request())).session
        world.connector.delay("create_token", 2.0)

        async def ask() -> None:
            with pytest.raises(SessionHasEnded):
                await service.tokens.create(session.id, BOB)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            await service.end(session.id)
        assert world.types()[-1] == "session_ended"
