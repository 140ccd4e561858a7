"""Asking the provider, some time after a session's end, who was there by its own account (ADR 0086).

One worker for each provider asks one question at a time, so that a thousand ends at once cost no more than its limit.
"""

from __future__ import annotations

import heapq
import logging
from datetime import datetime
from itertools import count

import attrs
import trio

from transport_trio.errors import ConnectorError, ProviderRejected, StorageUnavailable, VersionConflict
from transport_trio.events import Event, SessionSummary
from transport_trio.models import Reconciled, Session, SessionId, SessionStatus, Visit
from transport_trio.ports import SessionQuery
from transport_trio.sessions.afterwards import change_ended
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.visits import GIVE_UP_S, account_stored, summary_of

log = logging.getLogger(__name__)

# A meeting ends up to 20 s after the last leave, and the room is deleted a moment after the session's end.
FIRST_ASK_S = 60.0
RETRY_S = 120.0
# Daily's analytics take two requests in a second; others may need them, too.
PACE_S = 1.0
# Of each provider: what an hour can work off. Those beyond stay without the provider's account.
WAITING_MAX = int(GIVE_UP_S / PACE_S)
# At a start: how many of the newest sessions are looked through for those that ended a while ago.
PAGES_MAX = 20
PAGE = 500


@attrs.frozen(order=True)
class _Due:
    at: float  # Trio's clock
    order: int
    session_id: SessionId = attrs.field(order=False)


class Reconciler:
    """Works off the ended sessions of one provider until cancelled."""

    def __init__(self, deps: Deps, provider: str) -> None:
        self._deps = deps
        self._provider = provider
        self._waiting: list[_Due] = []
        self._order = count()
        self._news = trio.Event()

    def add(self, session_id: SessionId, ended_at: datetime) -> None:
        """Have the provider asked about it when it can know."""
        if len(self._waiting) >= WAITING_MAX:
            self._count("overflow")
            log.warning(
                "summary without the provider's account", extra={"session_id": session_id, "reason": "overflow"}
            )
            return
        since_s = (self._deps.clock.now() - ended_at).total_seconds()
        self._push(session_id, max(FIRST_ASK_S - since_s, 0.0))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news = trio.Event()
            if not self._waiting or self._waiting[0].at > trio.current_time():
                with trio.move_on_at(self._waiting[0].at if self._waiting else float("inf")):
                    await self._news.wait()
                continue
            session_id = heapq.heappop(self._waiting).session_id
            await self._reconcile(session_id)
            await trio.sleep(PACE_S)

    async def _reconcile(self, session_id: SessionId) -> None:
        try:
            session = await self._deps.journal.get(session_id)
            if session is None or session.ended_at is None or session.reconciled is not Reconciled.PENDING:
                return
            theirs, outcome = await self._ask(session, session.ended_at)
            if theirs is not None:
                outcome = "done"
            elif (
                self._deps.clock.now() - session.ended_at
            ).total_seconds() + RETRY_S <= GIVE_UP_S and outcome != "refused":
                self._push(session_id, RETRY_S)
                self._count(outcome)
                return
            await self._store(session_id, theirs)
            self._count("done" if theirs is not None else "unavailable")
        except (StorageUnavailable, VersionConflict) as exc:
            log.warning("summary not stored yet", extra={"session_id": session_id, "error": str(exc)})
            self._count(exc.code)
            self._push(session_id, RETRY_S)
        except Exception:
            # A bug in one summary must not end the service; the next start tries again.
            log.exception("summary crashed", extra={"session_id": session_id})
            self._count("crashed")

    async def _ask(self, session: Session, ended_at: datetime) -> tuple[tuple[Visit, ...] | None, str]:
        """The provider's account, or why there is none yet."""
        try:
            connector = self._deps.connectors.get(session.provider)
            return await connector.visits(session.room.name, session.created_at, ended_at), "under_way"
        except ProviderRejected as exc:
            log.warning("summary without the provider's account", extra={"session_id": session.id, "error": str(exc)})
            return None, "refused"
        except ConnectorError as exc:
            return None, exc.code

    async def _store(self, session_id: SessionId, theirs: tuple[Visit, ...] | None) -> None:
        now = self._deps.clock.now()

        def learn(session: Session) -> tuple[Session, tuple[Event, ...]]:
            if theirs is None:
                session = attrs.evolve(session, reconciled=Reconciled.UNAVAILABLE)
            else:
                session = account_stored(session, theirs)
            return session, (SessionSummary(session_id=session.id, time=now, summary=summary_of(session, now)),)

        await change_ended(self._deps.journal, session_id, learn)

    def _push(self, session_id: SessionId, wait_s: float) -> None:
        heapq.heappush(self._waiting, _Due(trio.current_time() + wait_s, next(self._order), session_id))
        self._news.set()

    def _count(self, outcome: str) -> None:
        self._deps.metrics.summaries.labels(provider=self._provider, outcome=outcome).inc()


class Reconcilers:
    """A worker for each provider, and what a former life has left to them."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._workers = {name: Reconciler(deps, name) for name in deps.connectors.names}

    def add(self, provider: str, session_id: SessionId, ended_at: datetime) -> None:
        if (worker := self._workers.get(provider)) is not None:
            worker.add(session_id, ended_at)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for name, worker in self._workers.items():
                nursery.start_soon(worker.run, name=f"summaries of {name}")
            await self._take_up()

    async def _take_up(self) -> None:
        """Find the sessions that ended a while ago and were not asked about."""
        query = SessionQuery(status=SessionStatus.ENDED, limit=PAGE)
        began = self._deps.clock.now()
        for _ in range(PAGES_MAX):
            try:
                page = await self._deps.journal.sessions(query)
            except StorageUnavailable as exc:
                log.warning("summaries of earlier sessions are left", extra={"error": str(exc)})
                return
            for session in page.sessions:
                ended_at = session.ended_at
                # Those that ended since are told of by their owners.
                if session.reconciled is Reconciled.PENDING and ended_at is not None and ended_at <= began:
                    self.add(session.provider, session.id, ended_at)
            if page.next_cursor is None:
                return
            query = attrs.evolve(query, cursor=page.next_cursor)
