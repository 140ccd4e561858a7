"""The fixture, as a stranger's synchronous test would use it."""

from __future__ import annotations

import httpx

from transport_trio.sandbox import SandboxHandle


def test_fixture_serves_a_room_with_people(daily_sandbox: SandboxHandle) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {daily_sandbox.api_key}"}) as client:
        room = client.post(f"{daily_sandbox.api_url}/rooms", json={"name": "hello"})
        assert room.status_code == 200
        ada = daily_sandbox.join("hello", name="Ada", user_id="u1")
        presence = client.get(f"{daily_sandbox.api_url}/rooms/hello/presence").json()
    assert [one["id"] for one in presence["data"]] == [ada["id"]]
    assert [one["operation"] for one in daily_sandbox.requests()] == ["create_room", "room_presence"]
    daily_sandbox.leave("hello", ada)
    assert daily_sandbox.participants("hello") == []


def test_fixture_starts_each_test_with_nothing(daily_sandbox: SandboxHandle) -> None:
    assert daily_sandbox.rooms() == []
    assert daily_sandbox.requests() == []
