"""The fixture, as other people's test suites use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx

from transport_trio.sandbox import SandboxHandle

STRANGERS_TESTS = """
import asyncio
import json
import sys
import threading
import urllib.request

import pytest

def test_nothing_heavy_is_loaded_before_the_fixture_is_used():
    assert not {"trio", "quart", "hypercorn"} & set(sys.modules)
    assert not [thread for thread in threading.enumerate() if "sandbox" in thread.name]

def get(sandbox, path):
    headers = {"Authorization": "Bearer " + sandbox.api_key}
    with urllib.request.urlopen(urllib.request.Request(sandbox.api_url + path, headers=headers)) as response:
        return json.load(response)

def test_plain(daily_sandbox):
    assert get(daily_sandbox, "/")["domain_name"] == daily_sandbox.domain

def test_asyncio(daily_sandbox):
    async def main():
        return await asyncio.to_thread(get, daily_sandbox, "/rooms")
    assert asyncio.run(main()) == {"total_count": 0, "data": []}

@pytest.mark.daily_sandbox(rate_limits=False)
def test_unlimited(daily_sandbox):
    for _ in range(110):
        get(daily_sandbox, "/")
    assert len(daily_sandbox.requests("get_domain")) == 110
"""


def documented_tests() -> str:
    """The examples of docs/sandbox.md, which so cannot rot."""
    text = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def test_a_room_with_people_in_it(daily_sandbox: SandboxHandle) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {daily_sandbox.api_key}"}) as client:
        room = client.post(f"{daily_sandbox.api_url}/rooms", json={"name": "hello"})
        assert room.status_code == 200
        ada = daily_sandbox.join("hello", name="Ada", user_id="u1")
        presence = client.get(f"{daily_sandbox.api_url}/rooms/hello/presence").json()
    assert [one["id"] for one in presence["data"]] == [ada["id"]]
    assert [one["operation"] for one in daily_sandbox.requests()] == ["create_room", "room_presence"]
    daily_sandbox.leave("hello", ada)
    assert daily_sandbox.participants("hello") == []


def test_each_test_starts_with_nothing(daily_sandbox: SandboxHandle) -> None:
    assert daily_sandbox.rooms() == []
    assert daily_sandbox.requests() == []


def test_strangers_get_the_fixture_by_having_the_package_installed(tmp_path: Path) -> None:
    strange, documented = tmp_path / "test_strange.py", tmp_path / "test_documented.py"
    strange.write_text(STRANGERS_TESTS)
    documented.write_text(documented_tests())
    # Without the plugins of pytest-trio and anyio, which would load Trio themselves.
    options = ["-q", "-W", "error", "--strict-markers", "-p", "no:trio", "-p", "no:anyio"]
    command = [sys.executable, "-m", "pytest", *options, str(strange), str(documented)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "7 passed" in run.stdout
