"""The whole service with two domains, one of which goes away with a live session and comes back empty."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio

from service_process import logged, service_process
from transport_trio.sandbox import SandboxConfig, SandboxHandle, sandbox_in_thread

TEST_S = 60.0
QUICK = {"PRESENCE_POLL_S": "0.2", "PRESENCE_CONFIRM_S": "0.2", "PROVIDER_TIMEOUT_S": "0.5"}


def connector(prefix: str, sandbox: SandboxHandle) -> dict[str, str]:
    return {
        f"{prefix}_API_URL": sandbox.api_url,
        f"{prefix}_API_KEY": sandbox.api_key,
        f"{prefix}_DOMAIN": sandbox.domain,
        f"{prefix}_WEBHOOK_URL": "self",
    }


async def statuses(client: httpx.AsyncClient) -> dict[str, str]:
    answer = await client.get("/ready")
    assert answer.status_code == 200
    return {check["name"]: check["status"] for check in answer.json()["checks"] if check["name"].startswith("provider")}


async def until(client: httpx.AsyncClient, session_id: str, **wanted: Any) -> dict[str, Any]:
    while True:
        shown: dict[str, Any] = (await client.get(f"/sessions/{session_id}")).json()
        if wanted.items() <= shown.items():
            return shown
        await trio.sleep(0.05)


async def until_pushed(client: httpx.AsyncClient, provider: str) -> None:
    """Each domain signs with a secret of its own, so it is the right door that has taken it."""
    taken = f'transport_webhooks_total{{outcome="taken",provider="{provider}",type="participant.joined"}} 1.0'
    while taken not in (await client.get("/metrics")).text:  # noqa: ASYNC110
        await trio.sleep(0.05)


async def create(client: httpx.AsyncClient, provider: str) -> dict[str, Any]:
    answer = await client.post("/sessions", json={"provider": provider, "options": {"daily": {"lang": "de"}}})
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


async def test_one_domain_goes_away_and_the_other_goes_on(tmp_path: Path, daily_sandbox: SandboxHandle) -> None:
    with trio.fail_after(TEST_S), ExitStack() as theirs:
        config = SandboxConfig(api_key="eu", domain="eu")
        eu = theirs.enter_context(sandbox_in_thread(config))
        settings = {**QUICK, **connector("DAILY", daily_sandbox), **connector("DAILY_EU", eu)}
        async with service_process(tmp_path, **settings, DAILY_CONNECTORS="daily,daily-eu") as service:
            async with httpx.AsyncClient(base_url=service.url, timeout=TEST_S) as client:
                here, there = [await create(client, provider) for provider in ("daily", "daily-eu")]
                assert (here["room_url"][:22], there["room_url"][:17]) == (
                    "https://sandbox.daily.",
                    "https://eu.daily.",
                )
                assert there["provider_metadata"]["daily_room_data"]["config"]["lang"] == "de"
                assert await statuses(client) == {"provider:daily": "ok", "provider:daily-eu": "ok"}

                for name in ("daily", "daily-eu"):
                    await service.child.line(f'"webhook registered", "provider": "{name}"')
                await trio.to_thread.run_sync(eu.join, there["room_name"], "Bob")
                await until_pushed(client, "daily-eu")

                theirs.close()
                lost = await client.post("/sessions", json={"provider": "daily-eu"})
                assert (lost.status_code, lost.json()["code"]) == (503, "provider_unreachable")
                assert await statuses(client) == {"provider:daily": "ok", "provider:daily-eu": "degraded"}
                await trio.to_thread.run_sync(daily_sandbox.join, here["room_name"], "Ada")
                await until(client, here["session_id"], status="Active")
                await until_pushed(client, "daily")
                await create(client, "daily")
                for session in (here, there):
                    assert (await client.delete(f"/sessions/{session['session_id']}")).status_code == 200
                await until(client, here["session_id"], provider_cleanup="done")
                assert (await until(client, there["session_id"], status="Ended"))["provider_cleanup"] == "pending"

                port = urlsplit(eu.url).port
                assert port is not None
                theirs.enter_context(sandbox_in_thread(SandboxConfig(api_key="eu", domain="eu", port=port)))
                await until(client, there["session_id"], provider_cleanup="done")
                assert await statuses(client) == {"provider:daily": "ok", "provider:daily-eu": "ok"}
                left = await create(client, "daily-eu")
            assert await service.child.stop() == 0
        await without_the_other(tmp_path, {**QUICK, **connector("DAILY", daily_sandbox)}, left["session_id"])


async def without_the_other(folder: Path, settings: dict[str, str], session_id: str) -> None:
    """The next start, whose settings name the connector no more."""
    async with service_process(folder, **settings) as service:
        told = await logged(service.child, "provider without connector: sessions end by their own time, rooms stay")
        assert (told["provider"], told["sessions"], told["rooms_owed"]) == ("daily-eu", 1, 0)
        async with httpx.AsyncClient(base_url=service.url, timeout=TEST_S) as client:
            assert await statuses(client) == {"provider:daily": "ok"}
            refused = await client.post("/sessions", json={"provider": "daily-eu"})
            assert (refused.status_code, refused.json()["code"]) == (400, "unknown_provider")
            refused = await client.post(f"/sessions/{session_id}/tokens", json={})
            assert (refused.status_code, refused.json()["code"]) == (503, "provider_not_served")
            assert (await client.delete(f"/sessions/{session_id}")).status_code == 200
            shown = (await client.get(f"/sessions/{session_id}")).json()
            assert (shown["status"], shown["provider_cleanup"]) == ("Ended", "pending")
        assert await service.child.stop() == 0
