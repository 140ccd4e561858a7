"""Facts about meeting tokens, presence, and what is asked of a call in which nobody is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from connectors_helpers import daily_at, room_plan, token_plan
from contract_domain import Domain, refusal

from transport_trio.metrics import Metrics
from transport_trio.models import CheckStatus

section = pytest.mark.section
TEST_S = 60.0


def mint(domain: Domain, **properties: Any) -> str:
    answer = domain.ask("POST", "/meeting-tokens", {"properties": properties})
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


@section("6 meeting tokens")
class TestTokens:
    def test_a_token_reads_back_as_it_was_asked_for(self, domain: Domain) -> None:
        properties = {
            "room_name": domain.make("token")["name"],
            "exp": domain.now() + 600,
            "user_name": "Ada",
            "user_id": "u-1",
            "is_owner": True,
            "start_audio_off": True,
            "eject_at_token_exp": True,
        }
        permissions = {"canSend": ["video", "audio"], "canAdmin": False}
        token = mint(domain, **properties, permissions=permissions)
        read = domain.ask("GET", f"/meeting-tokens/{token}").json()
        assert {name: read.get(name) for name in properties} == properties
        assert read["permissions"].items() >= permissions.items()

    def test_its_claims_are_short_and_name_the_domain(self, domain: Domain) -> None:
        room, end = domain.make("claims")["name"], domain.now() + 600
        permissions = {"canSend": ["audio", "screenVideo"]}
        claims = claims_of(mint(domain, room_name=room, exp=end, user_id="u-1", is_owner=True, permissions=permissions))
        assert claims["d"] == domain.ask("GET", "/").json()["domain_id"]
        assert abs(claims["iat"] - domain.now()) < 120
        assert (claims["r"], claims["exp"], claims["ud"], claims["o"]) == (room, end, "u-1", True)
        assert set(claims["p"]["cs"].split(",")) == {"a", "sv"}

    @pytest.mark.parametrize(
        "properties",
        [{"exp": 1}, {"user_id": "u" * 37}, {"nickname": "Ada"}, {"is_owner": "yes"}],
    )
    def test_what_no_token_has_is_400(self, domain: Domain, properties: dict[str, Any]) -> None:
        body = {"properties": {"room_name": domain.room_name("x"), "exp": domain.now() + 60, **properties}}
        assert refusal(domain.ask("POST", "/meeting-tokens", body))[:2] == (400, "invalid-request-error")

    def test_somebody_else_s_token_is_400(self, domain: Domain) -> None:
        head, body, signature = mint(domain, room_name=domain.room_name("x"), exp=domain.now() + 60).split(".")
        turned = signature[::-1]
        assert domain.ask("GET", f"/meeting-tokens/{head}.{body}.{turned}").status_code == 400

    async def test_a_token_that_we_sign_is_taken_for_daily_s(self, domain: Domain, metrics: Metrics) -> None:
        now = datetime.fromtimestamp(domain.now(), UTC)
        plan = token_plan(room_plan(domain.room_name("signed"), now + timedelta(minutes=10)), name="Ada", user_id="u-1")
        key, name = domain.api_key, domain.name
        with trio.fail_after(TEST_S):
            async with daily_at(domain.api_url, metrics, api_key=key, domain=name, sign_tokens=True) as daily:
                await daily.prove_signing()
                assert daily.checks()[-1].status is CheckStatus.OK, daily.checks()[-1].message
                token = await daily.create_token(plan)
        read = domain.ask("GET", f"/meeting-tokens/{token}")
        assert (read.status_code, read.json()["room_name"], read.json()["user_id"]) == (200, plan.room_name, "u-1")


@section("12 open points")
class TestOpenAboutTokens:
    def test_a_token_for_a_room_that_is_not_there(self, domain: Domain) -> None:
        body = {"properties": {"room_name": domain.room_name("nowhere"), "exp": domain.now() + 60}}
        answer = domain.ask("POST", "/meeting-tokens", body)
        assert answer.status_code in {200, 400}
        domain.learn("a token for a missing room", "made" if answer.status_code == 200 else answer.text[:120])

    def test_the_longest_user_name(self, domain: Domain) -> None:
        """We take 128 characters."""
        mint(domain, room_name=domain.room_name("x"), exp=domain.now() + 60, user_name="n" * 128)
        body = {"properties": {"room_name": domain.room_name("x"), "exp": domain.now() + 60, "user_name": "n" * 600}}
        answer = domain.ask("POST", "/meeting-tokens", body)
        domain.learn("a user_name of 600 characters", f"{answer.status_code}")


@section("7 presence")
class TestPresence:
    def test_an_empty_room_is_an_empty_list(self, domain: Domain) -> None:
        name = domain.make("empty")["name"]
        answer = domain.ask("GET", f"/rooms/{name}/presence")
        assert (answer.status_code, answer.json()) == (200, {"total_count": 0, "data": []})

    def test_a_missing_room_is_404_and_no_empty_list(self, domain: Domain) -> None:
        answer = domain.ask("GET", f"/rooms/{domain.room_name('nowhere')}/presence")
        assert refusal(answer)[:2] == (404, "not-found")

    def test_the_whole_domain_s_is_an_object_without_empty_rooms(self, domain: Domain) -> None:
        name = domain.make("alone")["name"]
        answer = domain.ask("GET", "/presence")
        assert answer.status_code == 200
        assert isinstance(answer.json(), dict)
        assert name not in answer.json()

    @section("12 open points")
    def test_what_a_deleted_room_s_presence_says(self, domain: Domain) -> None:
        name = domain.make("just-deleted")["name"]
        domain.ask("DELETE", f"/rooms/{name}")
        answer = domain.ask("GET", f"/rooms/{name}/presence")
        domain.learn("presence of a room just deleted, that nobody was in", f"{answer.status_code} {answer.text[:120]}")


@section("8 calls under way")
class TestNobodyInCall:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("eject", {"user_ids": ["u-1"]}),
            ("send-app-message", {"data": {"say": "hi"}, "recipient": "*"}),
            ("update-permissions", {"data": {"*": {"canSend": False}}}),
            ("recordings/start", {}),
            ("transcription/start", {}),
            ("live-streaming/start", {"rtmpUrl": "rtmp://127.0.0.1/none"}),
        ],
    )
    def test_a_room_in_which_nobody_is_hosts_no_call(self, domain: Domain, path: str, body: dict[str, Any]) -> None:
        name = domain.make(f"quiet-{path.replace('/', '-')}", enable_recording="cloud")["name"]
        assert refusal(domain.ask("POST", f"/rooms/{name}/{path}", body))[:2] == (404, "not-found")

    @section("12 open points")
    def test_an_unknown_key_of_a_recording(self, domain: Domain) -> None:
        name = domain.make("unknown-key", enable_recording="cloud")["name"]
        answer = domain.ask("POST", f"/rooms/{name}/recordings/start", {"no_such_key": 1})
        verdict = {400: "refused", 404: "passed over, or looked at only after the call"}
        domain.learn("an unknown key in recordings/start", f"{answer.status_code}: {verdict.get(answer.status_code)}")
