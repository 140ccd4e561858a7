"""The suite itself: it leaves nothing behind, and touches nothing that is not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from contract_domain import PREFIX, RUN_MAX_S, Domain, real_domain

from transport_trio.sandbox import SandboxHandle

WITHIN_S = 30.0
FOREIGN = "somebody-elses"

pytestmark = pytest.mark.takes("rooms that are not of this suite")


def make_foreign(domain: Domain, name: str = FOREIGN) -> None:
    headers = {"Authorization": f"Bearer {domain.api_key}"}
    httpx.post(f"{domain.api_url}/rooms", json={"name": name}, headers=headers, trust_env=False, verify=False)


def names(sandbox: SandboxHandle) -> list[str]:
    return [room["name"] for room in sandbox.rooms()]


def test_a_sweep_deletes_the_rooms_of_this_run_and_old_ones_of_others(
    domain: Domain, daily_sandbox: SandboxHandle
) -> None:
    make_foreign(domain)
    make_foreign(domain, f"{PREFIX}earlier-1")
    daily_sandbox.advance(RUN_MAX_S + 1)
    make_foreign(domain, f"{PREFIX}beside-1")
    make_foreign(domain, PREFIX.rstrip("-"))
    mine = domain.make("mine")["name"]
    assert sorted(domain.sweep()) == sorted([mine, f"{PREFIX}earlier-1"])
    assert names(daily_sandbox) == [FOREIGN, f"{PREFIX}beside-1", PREFIX.rstrip("-")]
    assert domain.sweep() == []


def test_a_sweep_goes_on_when_a_room_has_gone_meanwhile(domain: Domain, daily_sandbox: SandboxHandle) -> None:
    for number in range(3):
        domain.make(f"mine-{number}")
    daily_sandbox.add_fault("not_found", operation="batch_delete_rooms", count=1)
    assert len(domain.sweep()) == 3
    assert names(daily_sandbox) == []


def test_a_sweep_looks_no_further_back_than_its_rooms_last(domain: Domain, daily_sandbox: SandboxHandle) -> None:
    for number in range(3):
        make_foreign(domain, f"old-{number}")
    daily_sandbox.advance(3 * 3600)
    daily_sandbox.forget_requests()
    domain.sweep()
    assert len(daily_sandbox.requests("list_rooms")) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", f"/rooms/{FOREIGN}", None),
        ("POST", f"/rooms/{FOREIGN}", {"privacy": "private"}),
        ("POST", f"/rooms/{FOREIGN}/eject", {"user_ids": ["u1"]}),
        ("POST", "/rooms", {"properties": {}}),
        ("POST", "/batch/rooms", {"rooms": [{"name": FOREIGN}]}),
        ("DELETE", "/batch/rooms", {"rooms": [f"{PREFIX}x", FOREIGN]}),
    ],
)
def test_what_concerns_other_rooms_is_not_even_sent(
    domain: Domain, daily_sandbox: SandboxHandle, method: str, path: str, body: dict[str, object] | None
) -> None:
    with pytest.raises(AssertionError, match="no room of ours"):
        domain.ask(method, path, body)
    assert daily_sandbox.requests() == []


def given(sandbox: SandboxHandle) -> dict[str, str]:
    return {
        "DAILY_API_URL": sandbox.api_url,
        "DAILY_API_KEY": sandbox.api_key,
        "DAILY_DOMAIN": sandbox.domain,
        "CONFORMANCE_GAP_S": "0",
    }


def begin(sandbox: SandboxHandle, *tests: str) -> subprocess.Popen[str]:
    """The suite in a process of its own, asking this sandbox as if it were Daily."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--conformance", "-rs", *tests]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **given(sandbox)})


@pytest.mark.daily_sandbox(free_plan=True)
def test_a_domain_behind_a_key_is_asked_and_what_its_plan_lacks_is_skipped(
    domain: Domain, daily_sandbox: SandboxHandle
) -> None:
    make_foreign(domain)
    suite = begin(daily_sandbox, "tests/contract/test_contract_people.py", "tests/contract/test_contract_afterwards.py")
    told, _ = suite.communicate(timeout=WITHIN_S)
    assert suite.returncode == 0, told
    assert "the plan lacks it: This feature is only available to paid accounts" in told
    assert "9.2 recordings: 4 skipped" in told
    assert "a token for a missing room: made" in told
    assert names(daily_sandbox) == [FOREIGN]
    assert len(daily_sandbox.requests("create_room")) > 5


def test_another_domain_than_the_one_named_is_left_alone(daily_sandbox: SandboxHandle) -> None:
    environ = {**given(daily_sandbox), "DAILY_DOMAIN": "not-this-one"}
    with pytest.raises(pytest.exit.Exception, match="not the key of the domain 'not-this-one'"), real_domain(environ):
        raise AssertionError("it has begun")
    assert [one["operation"] for one in daily_sandbox.requests()] == ["get_domain"]


def test_ctrl_c_leaves_no_room_behind(domain: Domain, daily_sandbox: SandboxHandle) -> None:
    make_foreign(domain)
    daily_sandbox.add_fault("delay", operation="batch_create_rooms", delay_s=WITHIN_S, takes_effect=True)
    suite = begin(daily_sandbox, "tests/contract/test_contract_rooms.py::TestBatches")
    give_up = time.monotonic() + WITHIN_S
    while not any(name.endswith("batch-2") for name in names(daily_sandbox)) and time.monotonic() < give_up:
        time.sleep(0.02)
    suite.send_signal(signal.SIGINT)
    told, _ = suite.communicate(timeout=WITHIN_S)
    assert suite.returncode == 2, told
    assert names(daily_sandbox) == [FOREIGN]
