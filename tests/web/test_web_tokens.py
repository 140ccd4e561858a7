"""The routes of a session's meeting tokens, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from web_rig import NOW, FakeService, Site, assert_problem, created, serving

from fakes_connector import FakeConnector, OneConnector
from transport_trio.errors import ProviderTimeout
from transport_trio.models import Session
from transport_trio.ports import Change
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.grants import TokenExtended, TokenGranted
from transport_trio.sessions.idempotency import RunningKeys
from transport_trio.sessions.lifecycle import Policy, decide
from transport_trio.sessions.tokens import Tokens


class Noon:
    def now(self) -> datetime:
        return NOW

    async def sleep_until(self, at: datetime) -> None:
        raise AssertionError("nothing here waits")


@asynccontextmanager
async def with_tokens() -> AsyncIterator[tuple[Site, FakeConnector]]:
    """A service whose sessions are scripted and whose tokens are not."""
    connector = FakeConnector(now=lambda: NOW)
    service = FakeService()

    def prepare(site: Site) -> None:
        async def command(session_id: str, cause: TokenGranted | TokenExtended) -> Session:
            outcome = decide(service.sessions[session_id], cause, Policy(confirm_s=1, token_warning_s=60))
            await site.journal.commit(Change(remember=outcome.remember))
            service.sessions[session_id] = outcome.session
            return outcome.session

        deps = Deps(
            journal=site.journal,
            connectors=OneConnector(connector),
            clock=Noon(),
            metrics=site.metrics,
            settings=site.settings,
        )
        service.tokens = Tokens(deps, RunningKeys(), service.get, command)
        site.service = service

    async with serving(prepare=prepare) as site:
        yield site, connector


async def test_a_token_is_made_listed_and_renewed() -> None:
    async with with_tokens() as (site, connector):
        session_id = await created(site)
        path = f"/sessions/{session_id}/tokens"
        person = {"name": "Bob", "user_id": "u-bob"}
        options = {"token_ttl_s": 600, "not_before_s": 60, "eject_after_s": 30, "daily": {"lang": "de"}}
        response = await site.client.post(path, json={"participant_config": person, "options": options})
        assert response.status_code == 201
        made = response.json()
        assert made["meeting_token"] == "token-1"
        assert made["session_id"] == session_id
        assert made["participant"].items() >= person.items()
        assert made["options"]["eject_after_s"] == 30
        assert made["options"]["daily"] == {"lang": "de"}
        assert connector.tokens[0].options.provider_options == {"lang": "de"}
        listed = (await site.client.get(path)).json()["tokens"]
        assert [one["token_id"] for one in listed] == [session_id, made["token_id"]]
        assert not any("meeting_token" in one for one in listed)
        renew = f"{path}/{made['token_id']}/renew"
        assert (await site.client.post(renew)).json()["expires_at"] == made["expires_at"]
        renewed = await site.client.post(renew, json={"options": {"token_ttl_s": 1200}})
        assert renewed.json()["meeting_token"] == "token-3"
        assert renewed.json()["expires_at"] > made["expires_at"]


async def test_what_is_wrong_is_named() -> None:
    async with with_tokens() as (site, connector):
        session_id = await created(site)
        path = f"/sessions/{session_id}/tokens"
        for body, where in (
            ({"options": {"daily": {"exp": 1}}}, "$.options.daily.exp"),
            ({"options": {"daily": {"lang": "x" * 2000}}}, "$.options.daily"),
            ({"options": {"token_ttl_s": 0}}, "$.options.token_ttl_s"),
            ({"options": {"token_ttl_s": 60, "not_before_s": 14400}}, "$.options.not_before_s"),
            ({"participant_config": {"name": "\u0007"}}, "$.participant_config.name"),
            ({"participant": {}}, "$.participant"),
        ):
            document = assert_problem(await site.client.post(path, json=body), 400, "invalid_request")
            assert document["errors"][0]["path"] == where
        assert_problem(await site.client.post(f"{path}/x/renew"), 404, "token_not_found")
        unknown = session_id.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
        assert_problem(await site.client.post(f"/sessions/{unknown}/tokens", json={}), 404, "session_not_found")
        assert_problem(await site.client.get("/sessions/x/tokens"), 404, "session_not_found")
        connector.fail("create_token", ProviderTimeout("daily", "slow"))
        assert_problem(await site.client.post(path, json={}), 504, "provider_timeout")
        await site.client.delete(f"/sessions/{session_id}")
        assert_problem(await site.client.post(path, json={}), 409, "session_ended")


async def test_a_key_of_another_route_or_session_is_another_request() -> None:
    async with with_tokens() as (site, _):
        headers = {"Idempotency-Key": "k"}
        one, other = await created(site), await created(site)
        path = f"/sessions/{one}/tokens"
        assert (await site.client.post(path, json={}, headers=headers)).status_code == 201
        again = await site.client.post(path, json={"options": {}}, headers=headers)
        assert again.headers["Idempotency-Replayed"] == "true"
        for changed, body in ((path, {"options": {"eject_at_expiry": True}}), (f"/sessions/{other}/tokens", {})):
            response = await site.client.post(changed, json=body, headers=headers)
            assert_problem(response, 422, "idempotency_mismatch")
