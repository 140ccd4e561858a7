"""The whole web on a port of 127.0.0.1, over use-cases that a test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx
import trio
from prometheus_client import CollectorRegistry

from fakes import MemoryJournal
from fakes_connector import FakeConnector
from transport_trio.concurrency import SystemClock
from transport_trio.connectors.daily.door import DailyDoor
from transport_trio.errors import SessionNotFound, UnknownProvider
from transport_trio.events import Event, SessionEnded
from transport_trio.hub import Hub, open_hub
from transport_trio.metrics import Metrics
from transport_trio.models import (
    Capture,
    CaptureKind,
    CaptureLink,
    CaptureNews,
    CaptureStatus,
    Check,
    CheckStatus,
    EndReason,
    News,
    ProviderCleanup,
    Room,
    Session,
    SessionId,
    SessionRequest,
    SessionStatus,
    Sweep,
    TokenGrant,
    new_session_id,
)
from transport_trio.ports import Change, SessionPage, SessionQuery
from transport_trio.sessions import Created, IdempotencyKey
from transport_trio.sessions.capture_work import CaptureAction
from transport_trio.sessions.people import Action
from transport_trio.sessions.tokens import Tokens
from transport_trio.settings import Settings
from transport_trio.web import KeyRing, WebDeps, serve
from transport_trio.web.sockets import reset_on_close

NOW = datetime(2026, 1, 1, 11, tzinfo=UTC)
TEST_S = 60  # bounds every test with sockets; none comes near it, also beside others on a busy machine
TOKEN = "a-meeting-token-of-the-tests"
SESSION_ID = "6f1c3f0e-3f0a-4a2b-9f57-6d1f5c3b2a10"
MINIMAL = {"provider": "daily"}
WEBHOOK_SECRET = b"a secret of sixteen bytes or more"

# Requests as they are on the wire.
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b'Content-Length: 20\r\n\r\n{"provider":"daily"}'
)
UPGRADE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
LAST_GET = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class FakeDesk:
    """What there is of recordings: a link to each, and pushes that are kept."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, CaptureNews]] = []
        self.asked: list[tuple[str, str, int | None]] = []

    def managed_options(self, provider: str) -> frozenset[str]:
        return frozenset({"instanceId", "fps"})

    def hear(self, provider: str, news: CaptureNews) -> str:
        self.heard.append((provider, news))
        return "taken"

    async def link(self, session_id: str, kind: CaptureKind, capture_id: str, valid_for_s: int | None) -> CaptureLink:
        self.asked.append((session_id, capture_id, valid_for_s))
        return CaptureLink(url="https://files.example/r1?signature=x", expires_at=NOW)

    async def delete(self, session_id: str, kind: CaptureKind, capture_id: str) -> Capture:
        self.asked.append((session_id, capture_id, None))
        return Capture(id=capture_id, kind=kind, status=CaptureStatus.DELETED, asked_at=NOW)


class FakeOrphans:
    """Sweeps that a test makes up."""

    def __init__(self) -> None:
        self.latest: tuple[Sweep, ...] = ()
        self.is_running = False
        self.completed = 0
        self.asked: list[bool] = []

    def ask(self, *, delete: bool) -> int:
        self.asked.append(delete)
        return self.completed + 1


class FakeService:
    """Use-cases without a provider: sessions in a dict, failures on demand, everything asked is kept."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.asked: list[SessionRequest] = []
        self.keys: list[IdempotencyKey | None] = []
        self.queries: list[SessionQuery] = []
        self.failure: Exception | None = None
        self.acted: list[Action[Any]] = []
        self.refusal: Exception | None = None  # of every action
        self.connector = FakeConnector(now=lambda: NOW)
        self.replayed = False
        self.gate: trio.Event | None = None  # creations wait for it
        self.entered = trio.Event()
        self.hung_up = trio.Event()
        self.heard: list[tuple[str, str, News | None]] = []
        self.tokens: Tokens | None = None
        self.captures = FakeDesk()
        self.captured: list[CaptureAction] = []
        self.orphans = FakeOrphans()

    def hear(self, provider: str, room_name: str, news: News | None) -> bool:
        self.heard.append((provider, room_name, news))
        return any(session.room.name == room_name for session in self.sessions.values())

    async def create(self, request: SessionRequest, *, idempotency: IdempotencyKey | None = None) -> Created:
        self._fail()
        self.asked.append(request)
        self.keys.append(idempotency)
        self.entered.set()
        if self.gate is not None:
            try:
                await self.gate.wait()
            except trio.Cancelled:
                self.hung_up.set()
                raise
        session = self._session(request)
        self.sessions[session.id] = session
        return Created(session=session, meeting_token=TOKEN, replayed=self.replayed)

    def dry_run(self, request: SessionRequest) -> dict[str, Any]:
        self._fail()
        return {"room": {"privacy": request.room_config.privacy.lower()}, "token": {"body": {}, "claims": {"o": False}}}

    def managed_options(self, provider: str) -> frozenset[str]:
        if provider != "daily":
            raise UnknownProvider(provider, ("daily",))
        return frozenset({"exp", "eject_at_room_exp"})

    async def get(self, session_id: str) -> Session:
        self._fail()
        if session_id not in self.sessions:
            raise SessionNotFound(session_id)
        return self.sessions[session_id]

    async def list(self, query: SessionQuery) -> SessionPage:
        self._fail()
        self.queries.append(query)
        sessions = tuple(self.sessions.values())
        return SessionPage(sessions=sessions[: query.limit], total=len(sessions), next_cursor=None)

    async def act(self, session_id: str, action: Action[Any]) -> Any:
        self.acted.append(action)
        if self.refusal is not None:
            raise self.refusal
        return await action.perform(self.connector, await self.get(session_id), lambda: NOW)

    async def capture(self, session_id: str, action: CaptureAction) -> Capture:
        self.captured.append(action)
        if self.refusal is not None:
            raise self.refusal
        return Capture(id="c1", kind=CaptureKind.RECORDING, type="cloud", asked_at=NOW)

    async def end(self, session_id: str) -> Session:
        session = await self.get(session_id)
        ended = attrs.evolve(
            session,
            status=SessionStatus.ENDED,
            ended_at=NOW,
            end_reason=EndReason.REQUESTED,
            provider_cleanup=ProviderCleanup.PENDING,
        )
        self.sessions[session_id] = ended
        return ended

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _session(self, request: SessionRequest) -> Session:
        session_id = new_session_id()
        name = request.room_config.name or f"tt-{session_id}"
        return Session(
            id=session_id,
            provider=request.provider,
            status=SessionStatus.CREATED,
            room=Room(name=name, url=f"https://x.daily.co/{name}", metadata={"id": "r-1"}),
            room_config=request.room_config,
            participant_config=request.participant_config,
            token=TokenGrant(expires_at=NOW + timedelta(seconds=request.token_ttl_s)),
            created_at=NOW,
            updated_at=NOW,
            expires_at=NOW + timedelta(seconds=request.session_ttl_s),
        )


@attrs.define(eq=False, kw_only=True)
class Site:
    """A running service: its parts, to arrange things, and a client, to ask."""

    settings: Settings
    service: FakeService
    journal: MemoryJournal
    hub: Hub
    metrics: Metrics
    checks: list[Check]
    door: DailyDoor = attrs.field(factory=lambda: DailyDoor((WEBHOOK_SECRET,)))
    stop: trio.Event = attrs.field(factory=trio.Event)
    stopped: trio.Event = attrs.field(factory=trio.Event)
    stopping: bool = False
    url: str = ""
    client: httpx.AsyncClient = attrs.field(init=False)

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def happen(self, *types: type[Event], session_id: str = SESSION_ID) -> None:
        """Commit such events of a session, as its owner task would."""
        for type_ in types:
            more: dict[str, Any] = {"status": SessionStatus.ACTIVE, "participants": ()}
            if type_ is SessionEnded:
                more = {"reason": EndReason.REQUESTED}
            event = type_(session_id=SessionId(session_id), time=NOW, **more)
            await self.journal.commit(Change(events=(event,)))

    async def raw(self, sent: bytes, *, end: bool = False) -> bytes:
        """What comes back for these bytes until the server closes the connection."""
        with trio.fail_after(TEST_S):
            async with await trio.open_tcp_stream(*self.address) as stream:
                await stream.send_all(sent)
                if end:
                    await stream.send_eof()
                return b"".join([piece async for piece in stream])


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem document in the contract's form; its content."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:transport-trio:error:{code}"
    assert document["code"] == code
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    for fault in document["errors"]:
        assert set(fault) == {"path", "message"}
    assert "Traceback" not in response.text
    return document


def vanish(stream: trio.SocketStream) -> None:
    """End the connection with a reset, as a client does that is killed."""
    reset_on_close(stream.socket)
    stream.socket.close()


async def created(site: Site) -> str:
    """The id of a new session."""
    response = await site.client.post("/sessions", json=MINIMAL)
    session_id: str = response.json()["session_id"]
    return session_id


@asynccontextmanager
async def site_with(**changes: Any) -> AsyncIterator[Site]:
    """A site that is not running yet; `changes` are settings."""
    settings = Settings(**({"port": 0, "drain_s": 2.0} | changes))
    metrics = Metrics.create(CollectorRegistry())
    journal = MemoryJournal()
    async with open_hub(journal, metrics, settings) as hub:
        yield Site(
            settings=settings,
            service=FakeService(),
            journal=journal,
            hub=hub,
            metrics=metrics,
            checks=[Check("journal", CheckStatus.OK), Check("bus", CheckStatus.OFF)],
        )


def deps_of(site: Site) -> WebDeps:
    return WebDeps(
        settings=site.settings,
        service=site.service,  # type: ignore[arg-type] # it is scripted
        journal=site.journal,
        hub=site.hub,
        metrics=site.metrics,
        keys=KeyRing(site.settings.api_keys),
        clock=SystemClock(),
        checks=lambda: site.checks,
        started_at=trio.current_time(),
        stopping=lambda: site.stopping,
        doors={"daily": site.door},
    )


@asynccontextmanager
async def serving(prepare: Callable[[Site], None] = lambda site: None, **changes: Any) -> AsyncIterator[Site]:
    async with site_with(**changes) as site, trio.open_nursery() as nursery:
        prepare(site)

        async def run(*, task_status: trio.TaskStatus[str]) -> None:
            await serve(deps_of(site), stop=site.stop, task_status=task_status)
            site.stopped.set()

        site.url = await nursery.start(run)
        async with httpx.AsyncClient(base_url=site.url, timeout=TEST_S) as site.client:
            yield site
        site.hub.close()
        site.stop.set()
