"""Paying what we owe the provider: rooms to delete, and rooms that a crash may have left behind.

A debt is retried until the provider says done or 404. An intent that no creation is working on any more is looked
up: a room that came of it becomes a debt, everything else is left alone. A foreign room is never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import attrs
import trio

from transport_trio.concurrency import doubling_s
from transport_trio.errors import ConnectorError, TransportError, UnknownProvider, VersionConflict
from transport_trio.models import ProviderCleanup, RoomDebt, RoomIntent, Session, SessionId
from transport_trio.ports import Change, TransportConnector
from transport_trio.sessions.deps import Deps

log = logging.getLogger(__name__)

# At a time; the connector's rate limit decides how fast they really go.
WORKERS = 4
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
# A create request of ours that got lost can still be carried out by the provider this long after.
DOUBT_S = 60.0
# Between two looks for intents that nobody works on; a failed journal may have left one at any time.
INTENTS_EVERY_S = 60.0


@attrs.define(eq=False)
class _Owed:
    debt: RoomDebt
    due: float
    tries: int = 0


class Reaper:
    """Works off debts and abandoned intents until cancelled."""

    def __init__(self, deps: Deps, in_creation: Callable[[SessionId], bool]) -> None:
        self._deps = deps
        self._in_creation = in_creation
        self._owed: dict[SessionId, _Owed] = {}
        self._busy: set[SessionId] = set()
        self._news = trio.Event()

    def __len__(self) -> int:
        return len(self._owed)

    def holds(self, provider: str, room_name: str) -> bool:
        """Whether a room of this name is still to be deleted, or a deletion of it may still be under way."""
        return any((owed.debt.provider, owed.debt.room_name) == (provider, room_name) for owed in self._owed.values())

    def owe(self, debt: RoomDebt) -> None:
        """Take on a debt that the journal already holds."""
        if debt.session_id not in self._owed:
            self._owed[debt.session_id] = _Owed(debt, due=trio.current_time())
            self._news.set()

    async def run(self) -> None:
        """Pay until cancelled, beginning with what the journal says is owed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_after_intents)
            nursery.start_soon(self._take_on_debts)
            await self._dispatch(nursery)

    async def _take_on_debts(self) -> None:
        while True:
            try:
                debts = await self._deps.journal.debts()
            except TransportError as exc:
                log.warning("debts not read yet", extra={"error": str(exc)})
                await trio.sleep(RETRY_MIN_S)
                continue
            for debt in debts:
                self.owe(debt)
            return

    async def _dispatch(self, nursery: trio.Nursery) -> None:
        limit = trio.CapacityLimiter(WORKERS)
        while True:
            self._news = trio.Event()
            now = trio.current_time()
            waiting = [owed for key, owed in self._owed.items() if key not in self._busy]
            for owed in waiting:
                if owed.due <= now:
                    self._busy.add(owed.debt.session_id)
                    nursery.start_soon(self._pay, owed, limit)
            next_due = min((owed.due for owed in waiting if owed.due > now), default=float("inf"))
            with trio.move_on_at(next_due):
                await self._news.wait()

    async def _pay(self, owed: _Owed, limit: trio.CapacityLimiter) -> None:
        try:
            async with limit:
                settled = await self._try_to_pay(owed)
        finally:
            self._busy.discard(owed.debt.session_id)
            self._news.set()
        if settled:
            del self._owed[owed.debt.session_id]
        else:
            owed.tries += 1
            delay_s = doubling_s(owed.tries, base_s=RETRY_MIN_S, max_s=RETRY_MAX_S)
            owed.due = trio.current_time() + delay_s * self._deps.jitter.uniform(0.8, 1.0)

    async def _try_to_pay(self, owed: _Owed) -> bool:
        debt = owed.debt
        told = {"session_id": debt.session_id, "room_name": debt.room_name}
        try:
            connector = self._deps.connectors.get(debt.provider)
            done = await self._delete(debt, connector)
            if done:
                await self._settle(debt)
                log.info("room cleaned up", extra=told)
        except UnknownProvider:
            self._count(debt.provider, "no_connector")
            return False
        except TransportError as exc:
            self._count(debt.provider, exc.code)
            level = logging.WARNING if owed.tries == 0 else logging.DEBUG
            log.log(level, "room not cleaned up yet", extra={**told, "error": str(exc), "tries": owed.tries + 1})
            return False
        return done

    async def _delete(self, debt: RoomDebt, connector: TransportConnector) -> bool:
        """Whether the debt is paid: our room deleted, gone, or replaced by somebody else's."""
        room = await connector.find_room(debt.room_name)
        if room is None:
            late = self._deps.clock.now() - debt.owed_at > timedelta(seconds=DOUBT_S)
            self._count(debt.provider, "gone" if late or not debt.in_doubt else "not_yet_there")
            return late or not debt.in_doubt
        if not debt.covers(room):
            self._count(debt.provider, "foreign")
            log.warning("foreign room left alone", extra={"room_name": debt.room_name, "session_id": debt.session_id})
            return True
        await connector.delete_room(debt.room_name)
        self._count(debt.provider, "deleted")
        return True

    async def _settle(self, debt: RoomDebt) -> None:
        """Forget the debt, and say so in the session where there is one."""
        while True:
            session = await self._deps.journal.get(debt.session_id)
            cleaned = _cleaned(session)
            change = Change(
                session=cleaned, expected_version=cleaned.version if cleaned else 0, settle_debt=debt.session_id
            )
            try:
                await self._deps.journal.commit(change)
            except VersionConflict:
                continue
            return

    async def _look_after_intents(self) -> None:
        while True:
            try:
                for intent in await self._deps.journal.intents():
                    if not self._in_creation(intent.session_id):
                        await self._reconcile(intent)
            except TransportError as exc:
                log.warning("intents not looked through", extra={"error": str(exc)})
            await trio.sleep(INTENTS_EVERY_S)

    async def _reconcile(self, intent: RoomIntent) -> None:
        told = {"session_id": intent.session_id, "room_name": intent.room_name}
        try:
            room = await self._deps.connectors.get(intent.provider).find_room(intent.room_name)
        except (ConnectorError, UnknownProvider) as exc:
            log.warning("intent not looked up yet", extra={**told, "error": str(exc)})
            return
        now = self._deps.clock.now()
        if room is not None and not intent.made(room):
            log.warning("foreign room left alone", extra=told)
            await self._deps.journal.commit(Change(settle_intent=intent.session_id))
            return
        if room is None and now - intent.intended_at > timedelta(seconds=DOUBT_S):
            await self._deps.journal.commit(Change(settle_intent=intent.session_id))
            return
        # There it is, or it may still appear: either way somebody has to look again until it is certain.
        debt = debt_of(intent, room.provider_id if room else None, now)
        await self._deps.journal.commit(Change(settle_intent=intent.session_id, add_debt=debt))
        log.warning("room of an interrupted creation", extra={**told, "found": room is not None})
        self.owe(debt)

    def _count(self, provider: str, result: str) -> None:
        self._deps.metrics.room_deletions.labels(provider=provider, outcome=result).inc()


def debt_of(intent: RoomIntent, provider_id: str | None, owed_at: datetime) -> RoomDebt:
    """The debt for a room that came, or may have come, of `intent`."""
    return RoomDebt(
        session_id=intent.session_id,
        provider=intent.provider,
        room_name=intent.room_name,
        provider_id=provider_id,
        expires_at=intent.expires_at,
        owed_at=owed_at,
    )


def _cleaned(session: Session | None) -> Session | None:
    if session is None or session.provider_cleanup is not ProviderCleanup.PENDING:
        return None
    return attrs.evolve(session, provider_cleanup=ProviderCleanup.DONE)
