"""Looking into a session's room, again and again, and at once when the provider says that something has happened."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import attrs
import trio

from transport_trio.concurrency import Seldom, doubling_s
from transport_trio.errors import (
    ConnectorError,
    ProviderRejected,
    RoomNotFound,
    StorageUnavailable,
)
from transport_trio.models import EndReason, News, Session
from transport_trio.ports import Seen, TransportConnector
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.lifecycle import (
    Cause,
    EndWanted,
    Observed,
    ProviderRefused,
    Pushed,
    RoomMissing,
    room_is_gone,
)
from transport_trio.sessions.presence import recheck_at

log = logging.getLogger(__name__)

# A provider that is down is asked at least this often, so that its return is noticed within a minute.
BACKOFF_MAX_S = 60.0
# What could not be stored is looked at again, but not in a spin.
RECHECK_MIN_S = 0.25
# Refusals in a row before a session is marked `Error`: one may be a hiccup of the provider's own.
REFUSALS_TOLD = 3
# What was pushed and not told yet. A room where more happens at once is looked into anyway.
NEWS_MAX = 256
# Pushes come in bursts: they do not make us look more often than this.
LOOKS_APART_S = 1.0


@attrs.define(eq=False)
class Poller:
    """Polls one room; `ask` hands what it saw to the session's owner."""

    deps: Deps
    connector: TransportConnector
    session: Callable[[], Session]
    ask: Callable[[Cause], Awaitable[Session]]
    _failures: int = 0
    _told_failure: bool = False
    _refusals: int = 0
    _news: deque[News] = attrs.field(factory=deque)
    _overflows: Seldom = attrs.field(factory=Seldom)
    _told_of: trio.Event = attrs.field(factory=trio.Event)
    _called: trio.Event = attrs.field(factory=trio.Event)
    _looked_at: float = -math.inf
    _answered_at: float = -math.inf  # the newest answer that was told
    _answer_is_old: bool = False  # the latest look brought nothing newer
    _soon: float = math.inf  # somebody wants a look by then
    _waiting: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def hear(self, news: News | None) -> None:
        """The provider has pushed this, or something of the room that is for us no more than a reason to look."""
        if news is not None and len(self._news) < NEWS_MAX:
            self._news.append(news)
        elif news is not None and self._overflows.is_due():
            log.warning("news passed over, a look makes up for them", extra={"session_id": self.session().id})
        self._told_of.set()

    async def listen(self) -> None:
        """Tell what is pushed, whatever a look under way takes, and have the room looked into. Until cancelled."""
        while True:
            await self._told_of.wait()
            self._told_of = trio.Event()
            while self._news:
                await self._tell(Pushed(at=self.deps.clock.now(), news=self._news.popleft()))
            self._called.set()

    async def run(self, *, resumed: bool) -> None:
        """Poll until cancelled. Sessions taken up at a start begin at random moments, not all at once."""
        interval_s = self.deps.settings.presence_poll_s
        tick = trio.current_time() + (self.deps.jitter.uniform(0, interval_s) if resumed else interval_s)
        while True:
            await self._sleep_until(tick)
            await self._look()
            tick = max(min(tick, self._looked_at) + self._wait_s(interval_s), trio.current_time())
            tick = min(tick, self._recheck_tick(tick))

    def look_soon(self, wait_s: float) -> None:
        """Look after `wait_s` at the latest, whatever the beat; the beat goes on from there."""
        self._soon = min(self._soon, trio.current_time() + wait_s)
        self._waiting.deadline = min(self._waiting.deadline, self._soon)

    async def _sleep_until(self, tick: float) -> None:
        """Return at that time, or when somebody has called."""
        with trio.CancelScope(deadline=min(tick, self._soon)) as self._waiting:
            await self._called.wait()
            await trio.sleep_until(self._looked_at + LOOKS_APART_S)
        if trio.current_time() >= self._soon:
            self._soon = math.inf
            self._called.set()

    def _wait_s(self, interval_s: float) -> float:
        if not self._failures:
            return interval_s
        backed_off_s = doubling_s(self._failures + 1, base_s=interval_s, max_s=max(BACKOFF_MAX_S, interval_s))
        return backed_off_s * self.deps.jitter.uniform(0.8, 1.0)

    def _recheck_tick(self, tick: float) -> float:
        """A leave in doubt is settled as soon as it can be, not one beat later."""
        due = recheck_at(self.session().present, self.deps.settings.presence_confirm_s)
        if due is None or self._failures:
            return tick
        now = trio.current_time()
        settled = now + max((due - self.deps.clock.now()).total_seconds(), RECHECK_MIN_S)
        if not self._answer_is_old:
            return settled
        # Rooms share it, and nobody asks for a newer one before it is an interval old.
        newer = self._answered_at + self.deps.settings.presence_poll_s
        return max(settled, newer) if newer > now else tick

    async def _look(self) -> None:
        fresh = self._called.is_set()  # an answer from before the call would not know why
        self._called = trio.Event()
        self._looked_at = trio.current_time()
        session = self.session()
        try:
            seen = await self.connector.presence(session.room.name, fresh=fresh)
        except RoomNotFound:
            await self._room_missing()
            return
        except ConnectorError as exc:
            await self._failed(exc)
            return
        if self._told_failure:
            log.info("presence is known again", extra={"session_id": session.id, "failures": self._failures})
        self._failures = self._refusals = 0
        self._told_failure = False
        await self._hear_answer(seen)

    async def _hear_answer(self, seen: Seen) -> None:
        """One answer counts once, as of when it was given, however many looks it serves."""
        self._answer_is_old = seen.answered_at <= self._answered_at
        if self._answer_is_old:
            self._count("unchanged")
            return
        self._count("ok")
        if await self._tell(Observed(at=self._time_of(seen), seen=seen.participants)) is not None:
            self._answered_at = seen.answered_at

    def _time_of(self, seen: Seen) -> datetime:
        return self.deps.clock.now() - timedelta(seconds=trio.current_time() - seen.answered_at)

    async def _room_missing(self) -> None:
        self._count("room_missing")
        now = self.deps.clock.now()
        session = await self._tell(RoomMissing(at=now))
        if session is None or not room_is_gone(session, now, self.deps.policy):
            return
        try:
            room = await self.connector.find_room(session.room.name)
        except ConnectorError as exc:
            await self._failed(exc)
            return
        if room is None:
            await self._tell(EndWanted(at=self.deps.clock.now(), reason=EndReason.ROOM_GONE))

    async def _failed(self, exc: ConnectorError) -> None:
        self._count(exc.code)
        self._failures += 1
        if not self._told_failure and not exc.told:
            self._told_failure = True
            log.warning("presence is unknown", extra={"session_id": self.session().id, "error": str(exc)})
        self._refusals = self._refusals + 1 if isinstance(exc, ProviderRejected) else 0
        if self._refusals >= REFUSALS_TOLD:
            await self._tell(ProviderRefused(at=self.deps.clock.now()))

    async def _tell(self, cause: Cause) -> Session | None:
        """Hand `cause` to the owner. What cannot be stored now is seen again by the next look, so nothing is lost."""
        try:
            return await self.ask(cause)
        except StorageUnavailable as exc:
            log.warning("observation not stored", extra={"session_id": self.session().id, "error": str(exc)})
            return None

    def _count(self, result: str) -> None:
        self.deps.metrics.presence_polls.labels(provider=self.connector.name, outcome=result).inc()
