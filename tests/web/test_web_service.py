"""REST on the real use-cases: a journal in memory and a scripted provider behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import attrs
import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry
from web_rig import MINIMAL, TEST_S, assert_problem

from fakes import MemoryJournal
from fakes_connector import FakeConnector
from transport_trio.concurrency import SystemClock
from transport_trio.connectors import ConnectorRegistry, open_daily
from transport_trio.errors import ProviderThrottled, ProviderTimeout
from transport_trio.hub import open_hub
from transport_trio.metrics import Metrics
from transport_trio.ports import TransportConnector
from transport_trio.sandbox import JoinRefused, SandboxHandle
from transport_trio.sessions import open_sessions
from transport_trio.sessions.deps import Deps
from transport_trio.settings import Settings
from transport_trio.web import KeyRing, WebDeps, serve

KEY = {"Idempotency-Key": "first try"}


@attrs.frozen
class Real:
    client: httpx.AsyncClient
    journal: MemoryJournal
    connector: FakeConnector


@asynccontextmanager
async def running(at: TransportConnector | None = None) -> AsyncIterator[Real]:
    """The service, over the scripted provider or the one given."""
    settings = Settings(port=0, drain_s=1.0, orphan_sweep="off")  # else it asks the provider, too
    metrics = Metrics.create(CollectorRegistry())
    clock, journal = SystemClock(), MemoryJournal()
    connector = FakeConnector(now=lambda: datetime.now(UTC))
    connectors = ConnectorRegistry(metrics)
    connectors.register(at or connector)
    stop = trio.Event()
    deps = Deps(journal=journal, connectors=connectors, clock=clock, metrics=metrics, settings=settings)
    async with (
        open_hub(journal, metrics, settings) as hub,
        open_sessions(deps) as service,
        trio.open_nursery() as nursery,
    ):
        journal.on_commit(hub.tell)
        web = WebDeps(
            settings=settings,
            service=service,
            journal=journal,
            hub=hub,
            metrics=metrics,
            keys=KeyRing(()),
            clock=clock,
            checks=lambda: [journal.health(), (at or connector).health()],
            started_at=trio.current_time(),
            stopping=stop.is_set,
        )
        url = await nursery.start(partial(serve, web, stop=stop))
        async with httpx.AsyncClient(base_url=url, timeout=TEST_S) as client:
            yield Real(client, journal, connector)
        stop.set()


@pytest.fixture
async def real() -> AsyncIterator[Real]:
    async with running() as service:
        yield service


async def test_a_session_lives_from_post_to_delete(real: Real) -> None:
    created = await real.client.post("/sessions", json=MINIMAL)
    assert created.status_code == 201
    where = created.headers["location"]
    assert created.json()["meeting_token"] == "token-1"
    read = (await real.client.get(where)).json()
    assert (read["status"], read["room_url"]) == ("Created", created.json()["room_url"])
    assert (await real.client.delete(where)).status_code == 200
    assert (await real.client.delete(where)).status_code == 200
    read = (await real.client.get(where)).json()
    assert (read["status"], read["end_reason"]) == ("Ended", "requested")
    events = (await real.client.get("/events")).json()["events"]
    assert [event["type"] for event in events] == ["session_created", "session_updated", "session_ended"]
    assert "token-1" not in str(events)


async def test_a_repeat_with_its_key_is_the_same_session_and_another_body_a_mismatch(real: Real) -> None:
    first = await real.client.post("/sessions", json=MINIMAL, headers=KEY)
    again = await real.client.post("/sessions", json=MINIMAL | {"room_config": {}}, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["session_id"] == first.json()["session_id"]
    assert again.json()["expires_at"] == first.json()["expires_at"]
    assert again.json()["meeting_token"] == "token-2"
    other = await real.client.post("/sessions", json=MINIMAL | {"room_config": {"name": "x"}}, headers=KEY)
    assert_problem(other, 422, "idempotency_mismatch")
    assert len(real.connector.rooms) == 1


async def test_a_replay_after_the_end_has_no_token(real: Real) -> None:
    first = await real.client.post("/sessions", json=MINIMAL, headers=KEY)
    await real.client.delete(first.headers["location"])
    again = await real.client.post("/sessions", json=MINIMAL, headers=KEY)
    assert (again.status_code, again.json()["meeting_token"], again.json()["status"]) == (201, None, "Ended")


async def test_a_failure_frees_the_key(real: Real) -> None:
    real.connector.fail("create_room", ProviderThrottled("daily", 3.0))
    failed = await real.client.post("/sessions", json=MINIMAL, headers=KEY)
    assert_problem(failed, 503, "provider_throttled")
    assert failed.headers["retry-after"] == "3"
    assert (await real.client.post("/sessions", json=MINIMAL, headers=KEY)).status_code == 201


async def test_a_room_name_that_is_taken_is_409(real: Real) -> None:
    named = MINIMAL | {"room_config": {"name": "our-room"}}
    assert (await real.client.post("/sessions", json=named)).status_code == 201
    assert_problem(await real.client.post("/sessions", json=named), 409, "room_exists")
    real.connector.add_foreign_room("their-room")
    theirs = MINIMAL | {"room_config": {"name": "their-room"}}
    assert_problem(await real.client.post("/sessions", json=theirs), 409, "room_exists")
    assert "their-room" in real.connector.rooms


async def test_a_provider_that_is_late_is_504_and_the_list_stays_empty(real: Real) -> None:
    real.connector.fail("create_token", ProviderTimeout("daily", "daily did not answer within 10 s"))
    assert_problem(await real.client.post("/sessions", json=MINIMAL), 504, "provider_timeout")
    assert (await real.client.get("/sessions")).json() == {"sessions": [], "total": 0, "next_cursor": None}


async def test_a_dry_run_asks_nobody_and_makes_nothing(real: Real) -> None:
    response = await real.client.post("/sessions?dry_run=true", json=MINIMAL)
    assert response.status_code == 200
    assert response.json().keys() >= {"room", "token"}
    assert real.connector.calls == []
    assert (await real.client.get("/sessions")).json()["total"] == 0


async def test_lists_have_pages_and_a_strange_cursor_is_400(real: Real) -> None:
    ids = [(await real.client.post("/sessions", json=MINIMAL)).json()["session_id"] for _ in range(3)]
    first = (await real.client.get("/sessions?limit=2&status=created")).json()
    second = (await real.client.get(f"/sessions?limit=2&cursor={first['next_cursor']}")).json()
    shown = [session["session_id"] for session in first["sessions"] + second["sessions"]]
    assert shown == ids[::-1]
    assert (first["total"], second["next_cursor"]) == (3, None)
    document = assert_problem(await real.client.get("/sessions?cursor=no-cursor"), 400, "invalid_request")
    assert document["errors"][0]["path"] == "cursor"


async def test_a_journal_that_cannot_be_written_is_503_and_not_ready(real: Real) -> None:
    real.journal.unavailable = "the disk is full"
    assert_problem(await real.client.post("/sessions", json=MINIMAL), 503, "storage_unavailable")
    assert (await real.client.get("/ready")).status_code == 503
    assert (await real.client.get("/health")).status_code == 200
    real.journal.unavailable = None
    assert (await real.client.post("/sessions", json=MINIMAL)).status_code == 201


async def test_a_hang_up_leaves_a_session_that_its_key_finds(real: Real) -> None:
    real.connector.delay("create_room", 0.2)
    with trio.fail_after(TEST_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(real.client.post, "/sessions", json=MINIMAL, headers=KEY))
            while not real.connector.calls:  # noqa: ASYNC110 -- the fake tells nobody
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    again = await real.client.post("/sessions", json=MINIMAL, headers=KEY)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(real.connector.rooms) == 1


async def test_what_is_done_to_people_arrives_at_the_provider_and_is_told(daily_sandbox: SandboxHandle) -> None:
    """All the way: HTTP, the session's owner, the connector, HTTP again, and back as events."""
    opening = open_daily(
        api_key=daily_sandbox.api_key,
        domain=daily_sandbox.domain,
        api_url=daily_sandbox.api_url,
        timeout_s=TEST_S,
        metrics=Metrics.create(CollectorRegistry()),
    )
    with trio.fail_after(TEST_S):
        async with opening as daily, running(daily) as real:
            session = (await real.client.post("/sessions", json=MINIMAL)).json()
            room, path = session["room_name"], f"/sessions/{session['session_id']}"
            assert_problem(await real.client.post(f"{path}/messages", json={"data": {}}), 409, "nobody_in_call")
            ada = await trio.to_thread.run_sync(daily_sandbox.join, room, "Ada", "u1")

            assert (await real.client.post(f"{path}/messages", json={"data": {"say": "hi"}})).status_code == 200
            [message] = await trio.to_thread.run_sync(daily_sandbox.messages, room)
            assert (message["data"], message["receivedBy"]) == ({"say": "hi"}, [ada["id"]])

            permit = {"participant_id": ada["id"], "permissions": {"can_admin": True}}
            assert (await real.client.post(f"{path}/permissions", json=permit)).json() == permit
            [shown] = await trio.to_thread.run_sync(daily_sandbox.participants, room)
            assert shown["permissions"]["canAdmin"] is True

            ejected = await real.client.post(f"{path}/eject", json={"user_ids": ["u1"], "ban": True})
            assert ejected.json() == {"ejected": [ada["id"]]}
            with pytest.raises(JoinRefused, match="banned"):
                await trio.to_thread.run_sync(daily_sandbox.join, room, "Ada", "u1")

            events = (await real.client.get(f"/events?session_id={session['session_id']}")).json()["events"]
            await real.client.delete(path)
            assert_problem(await real.client.post(f"{path}/eject", json={"user_ids": ["u1"]}), 409, "session_ended")
    assert [event["type"] for event in events] == [
        *("session_created", "message_sent", "permissions_changed", "participants_ejected"),
    ]
