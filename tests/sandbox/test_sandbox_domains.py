"""Several domains in one sandbox: the key says which, and nothing of one shows in another."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from transport_trio.sandbox import SandboxConfig, SandboxHandle
from webhook_receiver import receiving


def ask(sandbox: SandboxHandle, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    return httpx.request(method, f"{sandbox.api_url}{path}", headers=headers, json=body, trust_env=False)


def test_the_key_is_one_domains(daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle) -> None:
    domains = [ask(one, "GET", "/").json() for one in (daily_sandbox, daily_sandbox_eu)]
    assert [one["domain_name"] for one in domains] == ["sandbox", "sandbox-eu"]
    assert domains[0]["domain_id"] != domains[1]["domain_id"]


def test_rooms_of_one_name_are_two_rooms(daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle) -> None:
    rooms = [ask(one, "POST", "/rooms", {"name": "demo"}).json() for one in (daily_sandbox, daily_sandbox_eu)]
    assert [room["url"].split(".")[0] for room in rooms] == ["https://sandbox", "https://sandbox-eu"]
    daily_sandbox_eu.join("demo", name="Ada")
    assert daily_sandbox.participants("demo") == []
    assert [one["userName"] for one in daily_sandbox_eu.participants("demo")] == ["Ada"]
    assert ask(daily_sandbox, "DELETE", "/rooms/demo").status_code == 200
    assert ask(daily_sandbox_eu, "GET", "/rooms/demo").status_code == 200


def test_limits_faults_log_and_clock_are_a_domains_own(
    daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle
) -> None:
    daily_sandbox_eu.add_fault("error", status=503, count=1)
    daily_sandbox_eu.advance(3600)
    assert ask(daily_sandbox, "GET", "/").status_code == 200
    there = ask(daily_sandbox_eu, "GET", "/")
    assert there.status_code == 503
    here = ask(daily_sandbox, "GET", "/")
    ahead = parsedate_to_datetime(there.headers["date"]) - parsedate_to_datetime(here.headers["date"])
    assert 3500 < ahead.total_seconds() < 3700
    assert [len(one.requests()) for one in (daily_sandbox, daily_sandbox_eu)] == [2, 1]


def test_a_domain_that_is_throttled_throttles_no_other(
    daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle
) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {daily_sandbox_eu.api_key}"}, trust_env=False) as client:
        answers = [client.get(f"{daily_sandbox_eu.api_url}/").status_code for _ in range(101)]
    assert answers[-1] == 429
    assert ask(daily_sandbox, "GET", "/").status_code == 200


def test_each_domain_has_its_webhook(daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle) -> None:
    with receiving() as receiver:
        for sandbox in (daily_sandbox, daily_sandbox_eu):
            ask(sandbox, "POST", "/rooms", {"name": "demo"})
        made = ask(daily_sandbox_eu, "POST", "/webhooks", {"url": receiver.url}).json()
        receiver.next()  # the test
        assert ask(daily_sandbox, "GET", "/webhooks").json() == []
        assert [one["uuid"] for one in ask(daily_sandbox_eu, "GET", "/webhooks").json()] == [made["uuid"]]
        daily_sandbox.join("demo", name="Ada")
        bob = daily_sandbox_eu.join("demo", name="Bob")
        assert receiver.next_of("participant.joined")["payload"]["session_id"] == bob["id"]


def test_a_token_of_one_domain_opens_no_room_of_another(
    daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle
) -> None:
    token = ask(daily_sandbox, "POST", "/meeting-tokens", {"properties": {"room_name": "demo"}}).json()["token"]
    assert ask(daily_sandbox, "GET", f"/meeting-tokens/{token}").status_code == 200
    assert ask(daily_sandbox_eu, "GET", f"/meeting-tokens/{token}").status_code == 400


def test_a_recording_s_link_leads_to_the_domain_that_has_it(
    daily_sandbox: SandboxHandle, daily_sandbox_eu: SandboxHandle
) -> None:
    """No key comes along with it that would say so."""
    daily_sandbox_eu.configure(capture_start_s=0, recording_ready_s=0)
    ask(daily_sandbox_eu, "POST", "/rooms", {"name": "demo", "properties": {"enable_recording": "cloud"}})
    daily_sandbox_eu.join("demo", name="Ada")
    for action in ("start", "stop"):
        ask(daily_sandbox_eu, "POST", f"/rooms/demo/recordings/{action}")
    [recording] = ask(daily_sandbox_eu, "GET", "/recordings").json()["data"]
    link = ask(daily_sandbox_eu, "GET", f"/recordings/{recording['id']}/access-link").json()["download_link"]
    assert httpx.get(link, trust_env=False).status_code == 200
    assert httpx.get(link.replace("/domains/sandbox-eu", ""), trust_env=False).status_code == 403


def test_an_unknown_key_is_refused_and_an_unknown_domain_not_found(daily_sandbox: SandboxHandle) -> None:
    stranger = SandboxHandle(daily_sandbox.url, api_key="nobodys", domain="sandbox")
    assert ask(stranger, "GET", "/").status_code == 401
    answer = httpx.get(f"{daily_sandbox.url}/sandbox/domains/nobodys/rooms", trust_env=False)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "further", [{"sandbox": "other"}, {"other": "sandbox"}, {"a": "key", "b": "key"}, {"": "key"}, {"a": ""}]
)
def test_two_domains_cannot_be_one(further: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="domain"):
        SandboxConfig(further_domains=further)


def test_one_seed_makes_other_ids_in_each_domain() -> None:
    seeds = [one.seed for one in SandboxConfig(seed=7, further_domains={"a": "a", "b": "b"}).each_domain()]
    assert seeds == [7, 8, 9]
