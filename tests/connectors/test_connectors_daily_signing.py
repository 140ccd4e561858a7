"""Tokens signed here, read by the sandbox over HTTP as Daily would."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio
from connectors_helpers import OpenDaily

from transport_trio.connectors.daily.signing import signed
from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus, ParticipantConfig, Permissions, RoomConfig, TokenOptions, TokenPlan
from transport_trio.sandbox import SandboxHandle


def a_plan(**options: object) -> TokenPlan:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    return TokenPlan(
        room_name="hello",
        room_config=RoomConfig(auto_start_recording=True, enable_transcription=True),
        participant=ParticipantConfig(name="Zoë", user_id="u1", permissions=Permissions(can_send_video=False)),
        expires_at=end,
        options=attrs.evolve(TokenOptions(), **options),
    )


def made(metrics: Metrics, by: str) -> float | None:
    return metrics.registry.get_sample_value("transport_tokens_total", {"provider": "daily", "by": by})


def signing_active(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("transport_signing_active", {"provider": "daily"})


async def minted(sandbox: SandboxHandle) -> int:
    return len(await trio.to_thread.run_sync(sandbox.requests, "create_meeting_token"))


def test_a_token_is_the_one_that_others_compute() -> None:
    """The vector was computed elsewhere; its first two parts are those of a token that Daily published."""
    claims = {"r": "room-0253", "d": "25df5057-ef0d-4d97-bde6-0cf287276cbb", "iat": 1548722207}
    assert signed(claims, "test-api-key") == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJyIjoicm9vbS0wMjUzIiwiZCI6IjI1ZGY1MDU3LWVmMGQtNGQ5Ny1iZGU2LTBjZjI4NzI3NmNiYiIsImlhdCI6MTU0ODcyMjIwN30."
        "OqRHy188-cpzUHyQymDD6Dn-Ya3_aKVXxbDTgch3OR0"
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"eject_at_expiry": True, "eject_after_s": 30}, {"not_before": datetime(2026, 1, 1, tzinfo=UTC)}],
    ids=["plain", "ejecting", "not before"],
)
async def test_a_token_of_ours_says_what_daily_s_would(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle, options: dict[str, object]
) -> None:
    plan = a_plan(**options)
    async with open_sandbox_daily(sign_tokens=True) as daily, open_sandbox_daily() as other:
        theirs = await other.create_token(plan)
        before = await minted(daily_sandbox)
        await daily.prove_signing()
        ours = await daily.create_token(plan)
        assert await minted(daily_sandbox) == before
        assert claims_of(ours) == claims_of(theirs)
        assert [check.status for check in daily.checks()] == [CheckStatus.OK, CheckStatus.OK]


async def test_daily_mints_until_it_has_read_one_of_ours(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sandbox_daily(sign_tokens=True) as daily:
        daily_sandbox.add_fault("error", operation="get_meeting_token", status=400)
        await daily.prove_signing()
        assert "meeting tokens are not signed here: Daily mints them" in caplog.messages
        assert daily.checks()[1].status is CheckStatus.DEGRADED
        assert signing_active(metrics) == 0
        await daily.create_token(a_plan())
        assert await minted(daily_sandbox) == 1
        daily_sandbox.set_faults()
        await daily.prove_signing()
        assert daily.checks()[1].status is CheckStatus.OK
        assert signing_active(metrics) == 1
        await daily.create_token(a_plan())
        assert await minted(daily_sandbox) == 1
        assert [made(metrics, by) for by in ("provider", "service")] == [1, 1]


async def test_what_only_daily_can_check_is_daily_s_to_mint(
    open_sandbox_daily: OpenDaily, daily_sandbox: SandboxHandle
) -> None:
    async with open_sandbox_daily(sign_tokens=True) as daily:
        await daily.prove_signing()
        await daily.create_token(a_plan(provider_options={"lang": "de"}))
        assert await minted(daily_sandbox) == 1


def claims_of(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims.pop("iat")
    return claims
