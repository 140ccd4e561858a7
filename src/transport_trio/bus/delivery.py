"""Getting events into the stream: each once, in order within its session, whatever becomes of the acks.

Each message is fenced by the sequence of its session's last message in the stream. So a repeat of one whose ack was
lost is refused by the server if the first copy is there, however late it lands, and the order within a session holds
without trusting the connection. Within a session one message waits for the ack of the one before; sessions do not
wait for each other.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from transport_trio.bus.backoff import Backoff
from transport_trio.bus.fences import Fence, Fences
from transport_trio.errors import BusDuplicate, BusOutOfSequence, BusRefused, BusUnavailable
from transport_trio.events import EventType, RecordedEvent
from transport_trio.metrics import Metrics
from transport_trio.ports import Bus, BusMessage, Journal

log = logging.getLogger(__name__)

# Side by side, and so the farthest that two messages of ours can have changed places. Each page costs the service a
# dozen turns of its loop, which take long when the loop is busy: with 64 the relay fell behind then.
IN_FLIGHT_MAX = 256


@attrs.define(eq=False)
class _Chain:
    """Events of one session that are still to be stored, in order."""

    session_id: str
    events: deque[RecordedEvent] = attrs.field(factory=deque)
    doubted: tuple[str, int] | None = None  # epoch and connection in which the stream called the first one a duplicate
    renewed: bool = False  # a new epoch has no ids that were used: one is enough


class Delivery:
    """Brings events to the bus and counts them.

    `on_rollback(epoch, id)` hears of an id that the journal has lost: one above its head, or one given to two events.
    """

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        metrics: Metrics,
        *,
        backoff: Callable[[], Backoff],
        on_rollback: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self._journal, self._bus, self._metrics = journal, bus, metrics
        self._backoff = backoff
        self._on_rollback = on_rollback
        self._fences = Fences()
        self._head_at_start = journal.head

    async def deliver(self, events: Sequence[RecordedEvent]) -> None:
        """Return when each of the events is in the stream, or can never be. No event may be given twice."""
        chains: dict[str, _Chain] = {}
        for event in events:
            if event.type is EventType.SESSION_CREATED and event.id > self._head_at_start:
                # It began after us, so nothing of it was ever sent.
                self._fences.set(event.session_id, Fence(self._bus.connection, 0, 0))
            chains.setdefault(event.session_id, _Chain(event.session_id)).events.append(event)
        left = list(chains.values())
        backoff = self._backoff()
        while True:
            await self._bus.wait_ready()
            async with trio.open_nursery() as nursery:
                for chain in left:
                    nursery.start_soon(self._push, chain)
            left = [chain for chain in left if chain.events]
            if not left:
                return
            log.warning("delivery held up", extra={"sessions": len(left)})
            await trio.sleep(backoff.next_s())

    async def _push(self, chain: _Chain) -> None:
        """Store a session's events one after the other; those whose fate stays unknown remain in the chain."""
        refused, backoff = 0, self._backoff()
        try:
            while chain.events:
                fence = self._fences.get(chain.session_id, self._bus.connection)
                if fence is None:
                    await self._ask(chain)
                elif chain.events[0].id <= fence.event_id:
                    self._settle(chain)
                elif not await self._publish(chain, fence):
                    refused += 1
                    if refused > 1:  # once is a late copy or a new stream; more is a stranger who keeps writing
                        await trio.sleep(backoff.next_s())
        except BusUnavailable as exc:
            self._fences.forget(chain.session_id)
            self._metrics.bus_publish_failures.labels("unavailable").inc()
            log.debug("not acknowledged", extra={"session_id": chain.session_id, "error": str(exc)})

    async def _publish(self, chain: _Chain, fence: Fence) -> bool:
        """Publish the chain's first event; False when the fence or the duplicate window kept it out."""
        event, epoch = chain.events[0], self._journal.epoch
        told: dict[str, object] = {"session_id": event.session_id, "event_id": event.id}
        try:
            seq = await self._bus.publish(BusMessage(event=event, epoch=epoch, expected_last=fence.seq))
        except BusOutOfSequence as exc:
            what = "fence refused an event"
            if isinstance(exc, BusDuplicate):
                what, chain.doubted = "stream called an event a duplicate", (epoch, fence.connection)
            self._fences.forget(event.session_id)
            self._metrics.bus_publish_failures.labels("out_of_sequence").inc()
            log.warning(what, extra={**told, "error": str(exc)})
            return False
        except BusRefused as exc:
            told["error"] = str(exc)
        else:
            self._fences.set(event.session_id, Fence(fence.connection, seq, event.id))
            self._settle(chain)
            return True
        self._metrics.bus_messages_refused.inc()
        log.error("event passed over: NATS will never take it", extra=told)
        chain.events.popleft()
        return True

    async def _ask(self, chain: _Chain) -> None:
        """Ask the stream how far this session got."""
        session_id = chain.session_id
        doubted, chain.doubted = (None if chain.renewed else chain.doubted), None
        epoch, connection = self._journal.epoch, self._bus.connection
        last = await self._bus.last_of(session_id)
        seq, their_epoch, their_id = last or (0, epoch, 0)
        if their_epoch == epoch and their_id > self._journal.head:
            await self._on_rollback(epoch, their_id)
        elif doubted == (epoch, connection) and (their_epoch != epoch or their_id < chain.events[0].id):
            # What the stream took it for is another event, which had this id before the journal was rolled back.
            chain.renewed = True
            await self._on_rollback(epoch, chain.events[0].id)
        if last is not None and their_epoch != self._journal.epoch:
            # Another journal's events, an earlier epoch's, or nobody's we know.
            log.warning("others have written to a session", extra={"session_id": session_id, "stream_sequence": seq})
            their_id = 0
        self._fences.set(session_id, Fence(connection, seq, their_id))

    def _settle(self, chain: _Chain) -> None:
        """The chain's first event is in the stream."""
        event = chain.events.popleft()
        self._metrics.delivered_messages.inc()
        if event.type is EventType.SESSION_ENDED:
            self._fences.forget(event.session_id)
