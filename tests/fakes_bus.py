"""A stream in memory behind the port `Bus`, and a network in front of it that loses, delays and refuses on command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import Enum, auto

import attrs
import trio

from transport_trio.errors import BusDuplicate, BusOutOfSequence, BusRefused, BusUnavailable
from transport_trio.models import Check, CheckStatus
from transport_trio.ports import BusMessage


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = auto()
    LOST = auto()  # it never arrives
    ACK_LOST = auto()  # it arrives, its answer does not
    LATE = auto()  # it arrives after the asker has given up


@attrs.frozen
class Kept:
    session_id: str
    epoch: str
    event_id: int


@attrs.define(eq=False, slots=False)
class FakeBus:
    """With `remembers` its duplicate window has no end; without it has none, and the fence alone keeps doubles out."""

    fates: Iterator[Fate] = attrs.field(factory=lambda: iter(()))
    too_large: frozenset[int] = frozenset()
    stream: list[Kept] = attrs.field(factory=list)
    published: int = 0
    asked: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    latency_s: float = 0.001
    connection: int = 1
    remembers: bool = False
    _ends: dict[str, int] = attrs.field(factory=dict)
    _newest: dict[str, Kept] = attrs.field(factory=dict)
    _seen: set[tuple[str, int]] = attrs.field(factory=set)
    _late: list[BusMessage] = attrs.field(factory=list)
    _ready: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._ready.set()

    def go_away(self) -> None:
        if self._ready.is_set():
            self._ready = trio.Event()

    def come_back(self) -> None:
        if not self._ready.is_set():
            self.connection += 1
        self._ready.set()

    def meet(self, fates: Iterable[Fate]) -> None:
        self.fates = iter(fates)

    def ids_of(self, session_id: str) -> list[int]:
        """Our events of a session, in the order of the stream."""
        return [kept.event_id for kept in self.stream if kept.session_id == session_id and kept.epoch]

    def stranger_writes(self, session_id: str) -> None:
        self._append(Kept(session_id, "", 0))

    def purge(self) -> None:
        self.stream.clear()
        self._ends.clear()
        self._newest.clear()

    def wipe(self) -> None:
        """The server loses its store, and with it what was on its way."""
        self.purge()
        self._seen.clear()
        self._late.clear()

    def let_late_copies_land(self) -> None:
        """As the server would: the fence decides, and nobody hears of it."""
        while self._late:
            try:
                self._store(self._late.pop(0))
            except BusOutOfSequence:
                continue

    async def publish(self, message: BusMessage) -> int:
        self.published += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._travel()
            fate = next(self.fates, Fate.ANSWERED)
            if message.event.id in self.too_large:
                raise BusRefused("too large")
            if fate is Fate.LATE:
                self._late.append(message)
            if fate in (Fate.LATE, Fate.LOST):
                raise BusUnavailable("lost")
            seq = self._store(message)
            if fate is Fate.ACK_LOST:
                raise BusUnavailable("the ack is lost")
            return seq
        finally:
            self.in_flight -= 1

    async def last_of(self, session_id: str) -> tuple[int, str, int] | None:
        self.asked += 1
        await self._travel()
        seq = self._last(session_id)
        if seq == 0:
            return None
        ours = self._newest.get(session_id)
        return (seq, ours.epoch, ours.event_id) if ours else (seq, "", 0)

    async def newest_id(self, epoch: str, since: datetime | None) -> int | None:
        await self._travel()
        return max((kept.event_id for kept in self.stream if kept.epoch == epoch), default=None)

    async def wait_ready(self) -> None:
        await trio.lowlevel.checkpoint()
        await self._ready.wait()

    def health(self) -> Check:
        return Check("nats", CheckStatus.OK if self._ready.is_set() else CheckStatus.DEGRADED)

    async def _travel(self) -> None:
        await trio.sleep(self.latency_s)
        if not self._ready.is_set():
            raise BusUnavailable("away")

    def _last(self, session_id: str) -> int:
        return self._ends.get(session_id, 0)

    def _store(self, message: BusMessage) -> int:
        session_id, identity = message.event.session_id, (message.epoch, message.event.id)
        if self.remembers and identity in self._seen:  # the server looks here first, whatever the fence says
            raise BusDuplicate(f"{identity} was here before")
        if message.expected_last is not None and self._last(session_id) != message.expected_last:
            raise BusOutOfSequence(f"wrong last sequence: {self._last(session_id)}")
        self._seen.add(identity)
        return self._append(Kept(session_id, message.epoch, message.event.id))

    def _append(self, kept: Kept) -> int:
        self.stream.append(kept)
        self._ends[kept.session_id] = len(self.stream)
        if kept.epoch:
            self._newest[kept.session_id] = kept
        return len(self.stream)
