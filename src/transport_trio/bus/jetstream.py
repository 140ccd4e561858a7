"""The bus on a JetStream stream. A keeper holds the connection and the stream; the rest asks and publishes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from urllib.parse import urlsplit

import attrs
import trio

from transport_trio.bus.backoff import Backoff
from transport_trio.bus.lookup import newest_before, newest_of_epoch
from transport_trio.bus.message import headers_of, identity_of, size_of, subject_of, subjects_of
from transport_trio.bus.nats import Link, LinkSettings, NoMessage, NoStream, guard_loop
from transport_trio.bus.stream import StreamPlan
from transport_trio.errors import BusDuplicate, BusError, BusMisconfigured, BusRefused, BusUnavailable
from transport_trio.models import Check, CheckStatus
from transport_trio.ports import BusMessage

log = logging.getLogger(__name__)

NAME = "nats"


@attrs.frozen(kw_only=True)
class NatsSettings:
    """How patient the bus is. Only tests change the numbers."""

    stream: StreamPlan = attrs.field(factory=StreamPlan)
    link: LinkSettings = attrs.field(factory=LinkSettings)
    look_s: float = 10.0  # between two looks at the stream; each also proves that the connection lives
    retry_base_s: float = 0.2
    retry_max_s: float = 5.0


class NatsBus:
    """The port `Bus`. Made by `open_nats`, which keeps it connected."""

    def __init__(self, url: str, settings: NatsSettings) -> None:
        self._servers = [part.strip() for part in url.split(",") if part.strip()]
        self._shown = ", ".join(_without_secrets(server) for server in self._servers)
        self._settings = settings
        self._stream = settings.stream.name
        self._link: Link | None = None
        self.connection = 0
        self._ready = trio.Event()
        self._look = trio.Event()
        self._fault = f"not yet connected to {self._shown}"  # "" while ready
        self._told = self._fault
        # The last event that was not acknowledged, and why: looks at the stream say nothing about what it takes.
        self._unacked: tuple[BusMessage, str] | None = None

    async def publish(self, message: BusMessage) -> int:
        headers, body = headers_of(message), message.event.body
        with self._in_use(message) as link:
            size = size_of(headers, body)
            if size > link.max_payload:
                raise BusRefused(f"the message has {size} bytes, the server takes {link.max_payload}")
            ack = await link.publish(subject_of(message), body, headers)
            if ack.stream != self._stream:
                raise BusUnavailable(f"the stream {ack.stream!r} has taken over our subjects")
        self._acknowledged()
        if ack.duplicate:
            raise BusDuplicate(f"the stream has had this epoch and id before (at sequence {ack.seq})")
        return ack.seq

    async def last_of(self, session_id: str) -> tuple[int, str, int] | None:
        subjects = subjects_of(session_id)
        with self._in_use() as link:
            try:
                last = await link.last_message(self._stream, subjects)
            except NoMessage:
                return None
            assert last.seq is not None
            identity = identity_of(last.headers) or await newest_before(link, self._stream, subjects, last.seq)
        self._found(session_id, *(identity or ("", 0)))
        return last.seq, *(identity or ("", 0))

    async def newest_id(self, epoch: str, since: datetime | None) -> int | None:
        with self._in_use() as link:
            return await newest_of_epoch(link, self._stream, epoch, since)

    async def wait_ready(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._ready.is_set():
            await self._ready.wait()

    def health(self) -> Check:
        """Degraded while it cannot be used, and after an unacknowledged event until one is acknowledged or found."""
        fault = self._fault
        if not fault and self._unacked is not None:
            fault = f"{self._shown}: events are not acknowledged: {self._unacked[1]}"
        return Check(NAME, CheckStatus.DEGRADED if fault else CheckStatus.OK, fault)

    async def keep(self) -> None:
        """Connect, watch over the stream, and connect again, until cancelled."""
        backoff = Backoff(self._settings.retry_base_s, self._settings.retry_max_s)
        while True:
            try:
                with _readable():
                    async with self._connected() as link:
                        await self._watch(link, backoff)
            except BusError as exc:
                self._doubt(f"{self._shown}: {exc}")
            await trio.sleep(backoff.next_s())

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Link]:
        link = Link(self._settings.link)
        try:
            await link.connect(self._servers)
            self._link = link
            self.connection += 1
            yield link
        finally:
            self._link = None
            await link.close()

    async def _watch(self, link: Link, backoff: Backoff) -> None:
        """Look at the stream on each beat, and at once when it is in doubt.

        Raises:
            BusUnavailable: the connection is lost, or gives no answer.
        """
        while True:
            self._look = trio.Event()
            try:
                await self._place_stream(link)
            except BusMisconfigured as exc:
                self._doubt(str(exc))
            else:
                self._trust()
                backoff.reset()
            with trio.move_on_after(self._settings.look_s):
                await _first_of(link.lost, self._look)
            if link.lost.is_set():
                link.refuse()

    async def _place_stream(self, link: Link) -> None:
        plan = self._settings.stream
        try:
            info = await link.stream_info(plan.name)
        except NoStream:
            info = await link.add_stream(plan.config())
            log.info("stream created", extra={"stream": plan.name})
        if differences := plan.differences(info.config):
            raise BusMisconfigured(f"stream {plan.name} is not as it must be: {'; '.join(differences)}")

    @contextmanager
    def _in_use(self, message: BusMessage | None = None) -> Iterator[Link]:
        """The link, for one exchange, about a message that is to be stored or about none.

        One that fails puts stream and connection in doubt until they are looked at.
        """
        if self._link is None or not self._ready.is_set():
            raise BusUnavailable(self._fault)
        try:
            with _readable():
                yield self._link
        except BusUnavailable as exc:
            if message is not None:
                self._unacked = message, str(exc)
            self._doubt(f"{self._shown}: {exc}")
            self._look.set()
            raise

    def _found(self, session_id: str, epoch: str, event_id: int) -> None:
        """The session's newest. Where only an ack was lost, no publish may follow for hours: the event is enough."""
        if self._unacked is None:
            return
        message, _ = self._unacked
        if message.event.session_id == session_id and message.epoch == epoch and message.event.id <= event_id:
            self._acknowledged()

    def _acknowledged(self) -> None:
        if self._unacked is not None:
            self._unacked = None
            self._tell_if_well()

    def _trust(self) -> None:
        self._fault = ""
        self._ready.set()
        self._tell_if_well()

    def _doubt(self, fault: str) -> None:
        if self._ready.is_set():
            self._ready = trio.Event()
        self._fault = fault
        if fault != self._told:
            log.warning("nats away", extra={"error": fault})
            self._told = fault

    def _tell_if_well(self) -> None:
        if self._told and self.health().status is CheckStatus.OK:
            log.info("nats ready", extra={"servers": self._shown})
            self._told = ""


@asynccontextmanager
async def open_nats(url: str, *, settings: NatsSettings | None = None) -> AsyncIterator[NatsBus]:
    """A bus that connects in the background and for ever again: NATS being away does not hold up the caller.

    Must be entered inside `trio_asyncio.open_loop()`. Leaving closes the connection within `close_s`.
    """
    guard_loop()
    bus = NatsBus(url, settings or NatsSettings())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.keep, name="nats keeper")
        try:
            yield bus
        finally:
            nursery.cancel_scope.cancel(reason="the bus is closed")


@contextmanager
def _readable() -> Iterator[None]:
    """Where an answer of an odd shape trips the code that reads it, there was no answer; the service goes on."""
    try:
        yield
    except BusError:
        raise
    except Exception as exc:
        log.debug("answer not understood", exc_info=exc)
        raise BusUnavailable(f"an answer was not understood ({exc!r})") from exc


async def _first_of(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel(reason="another event came first")

        for event in events:
            nursery.start_soon(wait, event)


def _without_secrets(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
