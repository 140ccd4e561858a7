"""Those who use the service: REST callers that repeat with their key, listeners that resume, a JetStream consumer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import attrs
import httpx
import nats
import nats.errors
import trio
from nats.aio.client import Client
from nats.js.api import ConsumerConfig
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.trio.client import connect

from drills.frame.world import http_client
from nats_server import STREAM, Stored

PAUSE_S = 0.05
ANSWER_S = 60.0
# A consumer gets again what it has not acknowledged for so long; by default that is half a minute.
ACK_WAIT_S = 2.0


class Caller:
    """A REST client that gets what it wants: it asks again for what was not answered, creations by their key."""

    def __init__(self, url: str) -> None:
        self._http = http_client(url, ANSWER_S, connections=200)
        self.answers: Counter[int] = Counter()  # by status; 0: none
        self.replayed = 0

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """One request, asked once: its answer, or None when there was none."""
        try:
            answer = await self.send(method, path, body, headers)
        except httpx.HTTPError:
            self.answers[0] += 1
            return None
        self.answers[answer.status_code] += 1
        return answer

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Likewise, for those who want to know why there was no answer.

        Raises:
            httpx.HTTPError.
        """
        return await self._http.request(method, path, json=body, headers=headers)

    async def create(self, body: dict[str, Any] | None = None, key: str | None = None) -> dict[str, Any]:
        """Create a session, asking with one key until the answer is 201."""
        key = key or uuid4().hex
        while True:
            answer = await self.ask(
                "POST", "/sessions", {"provider": "daily", **(body or {})}, {"Idempotency-Key": key}
            )
            if answer is not None and answer.status_code == 201:
                self.replayed += "Idempotency-Replayed" in answer.headers
                created: dict[str, Any] = answer.json()
                return created
            await trio.sleep(PAUSE_S)

    async def end(self, session_id: str) -> None:
        """End a session, asking until the answer is 200."""
        while (answer := await self.ask("DELETE", f"/sessions/{session_id}")) is None or answer.status_code != 200:
            await trio.sleep(PAUSE_S)

    async def get(self, path: str) -> Any:
        """The JSON of a 200, asking until there is one."""
        while (answer := await self.ask("GET", path)) is None or answer.status_code != 200:
            await trio.sleep(PAUSE_S)
        return answer.json()

    async def events(self) -> list[dict[str, Any]]:
        """Everything in the journal, in pages."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = await self.get(f"/events?after={after}&limit=500")
            found += page["events"]
            if page["last_event_id"] == after:
                return found
            after = page["last_event_id"]

    async def sessions(self, query: str = "") -> list[dict[str, Any]]:
        """All sessions that the filter lets through."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.get(f"/sessions?limit=500{query}{cursor}")
            found += page["sessions"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


@attrs.define(eq=False)
class Follower:
    """A listener that comes back with `after` and `epoch` whenever its connection ends, and keeps all that it heard."""

    url: str
    query: dict[str, str] = attrs.field(factory=dict)
    after: int = 0
    epoch: str | None = None
    heard: list[dict[str, Any]] = attrs.field(factory=list)  # events: what has an id
    heard_at: list[float] = attrs.field(factory=list)  # Trio's clock
    gaps: list[dict[str, Any]] = attrs.field(factory=list)
    snapshots: int = 0
    shown: list[dict[str, Any]] = attrs.field(factory=list)  # sessions in snapshots
    resumed: list[tuple[int, int]] = attrs.field(factory=list)  # a snapshot's last id, and how much was heard before
    connections: int = 0
    is_listening: bool = False
    codes: Counter[int] = attrs.field(factory=Counter)  # with which connections have ended
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Task body: listens until cancelled."""
        while True:
            query = {**self.query, "after": str(self.after), **({"epoch": self.epoch} if self.epoch else {})}
            try:
                async with connect(
                    f"{self.url}?{urlencode(query)}", proxy=None, compression=None, ping_interval=None, close_timeout=1
                ) as socket:
                    self.connections += 1
                    self.is_listening = True
                    async for message in socket:
                        self._hear(json.loads(message))
                    self._ended(1001)  # an iteration ends quietly for 1000 and 1001 alone
            except (OSError, InvalidHandshake, TimeoutError):
                self._ended(1006)
            except ConnectionClosed as exc:
                self._ended(exc.rcvd.code if exc.rcvd else 1006)
            await trio.sleep(PAUSE_S)

    def _ended(self, code: int) -> None:
        """Note how a connection ended; one that has never come about has not."""
        if self.is_listening:
            self.is_listening = False
            self.codes[code] += 1

    async def wait_id(self, event_id: int) -> None:
        """Return when it stands at this event or later."""
        while self.after < event_id:
            await self._news.wait()

    def ids(self) -> list[int]:
        return [event["id"] for event in self.heard]

    def _hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "welcome":
                self.epoch = self.epoch or message["epoch"]
            case "gap":
                self.gaps.append(message)
                self.epoch = message.get("epoch", self.epoch)
            case "snapshot":
                self.snapshots += 1
                self.shown += message["sessions"]
                self.resumed.append((message["last_event_id"], len(self.heard)))
                self.after = message["last_event_id"]
            case "ping":
                self.after = message["last_event_id"]
            case _ if "id" in message:
                self.heard.append(message)
                self.heard_at.append(trio.current_time())
                self.after = message["id"]
        self._news.set()
        self._news = trio.Event()


@attrs.define(eq=False)
class Consumer:
    """A durable JetStream consumer as a speech service would have one: plain nats-py on asyncio, in a thread."""

    url: str
    taken: list[Stored] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)

    def first_deliveries(self) -> list[Stored]:
        """JetStream may hand a message out again when its ack was slow; by its place in the stream it is the same."""
        return list({message.seq: message for message in self.taken}.values())

    async def has_taken(self, count: int) -> bool:
        """Whether it has had so many messages of the stream."""
        return len(self.first_deliveries()) >= count

    async def _run(self) -> None:  # asyncio flavour, as all that follows
        while not self._over.is_set():
            try:
                # Left to itself it would try for ever, also when the drill is over.
                client = await nats.connect(self.url, allow_reconnect=False, max_reconnect_attempts=1, error_cb=_quiet)
            except (OSError, nats.errors.Error):
                await asyncio.sleep(0.2)
                continue
            try:
                await self._take(client)
            finally:
                await client.close()

    async def _take(self, client: Client) -> None:
        jetstream, subscription = client.jetstream(), None
        while not self._over.is_set() and not client.is_closed:
            try:
                if subscription is None:
                    subscription = await jetstream.pull_subscribe(
                        "transport.events.>", durable="drill", stream=STREAM, config=ConsumerConfig(ack_wait=ACK_WAIT_S)
                    )
                for message in await subscription.fetch(200, timeout=0.5):
                    seq = message.metadata.sequence.stream
                    self.taken.append(Stored(seq, message.subject, message.data, dict(message.headers or {})))
                    await message.ack()
            except TimeoutError:
                continue
            except (OSError, nats.errors.Error):
                subscription = None  # the stream is not there yet, or its consumer was lost
                await asyncio.sleep(0.2)


@contextmanager
def consuming(url: str) -> Iterator[Consumer]:
    consumer = Consumer(url)
    thread = threading.Thread(target=lambda: asyncio.run(consumer._run()))
    thread.start()
    try:
        yield consumer
    finally:
        consumer._over.set()
        thread.join()


async def _quiet(_exc: Exception) -> None:
    """Outages are the point here."""
