"""Paying what we owe the provider: rooms to delete, and rooms that a creation broken off may have left behind.

A debt is tried until the provider says done or 404. An intent whose creation is over without having settled it becomes
a debt too: nobody knows whether its room was made. A foreign room is never touched.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import Enum, auto

import attrs
import trio

from transport_trio.concurrency import doubling_s
from transport_trio.errors import TransportError, VersionConflict
from transport_trio.models import ProviderCleanup, Room, RoomDebt, RoomIntent, Session
from transport_trio.ports import Change, TransportConnector
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.owed import RETRY_MIN_S, Ledger, Owed, debt_of

log = logging.getLogger(__name__)

# At a time for each provider; its rate limit decides how fast they really go. Whom somebody waits for comes on top.
WORKERS = 4
RETRY_MAX_S = 60.0
# A create request of ours that got lost can still be carried out by the provider this long after.
DOUBT_S = 60.0


class _Result(Enum):
    PAID = auto()
    VACANT = auto()  # no room of ours is there, but one may still appear
    FAILED = auto()


class Reaper:
    """Works off what is owed until cancelled."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._ledger = Ledger()
        self._news = trio.Event()

    def __len__(self) -> int:
        return len(self._ledger)

    def owed_by_provider(self) -> Counter[str]:
        return self._ledger.by_provider()

    def ends(self, provider: str, room_name: str) -> Collection[datetime]:
        """The ends of the rooms that are owed under this name. A new one needs another end to be told from them."""
        return self._ledger.ends(provider, room_name)

    def owes(self, provider: str, room_name: str) -> bool:
        """Whether a room of this name is owed: what becomes of it is decided here."""
        return bool(self._ledger.named(provider, room_name))

    async def load(self) -> None:
        """Take on what the journal says is owed. Nothing is created before: every intent is one of a former life."""
        for debt in await self._deps.journal.debts():
            self.owe(debt)
        for intent in await self._deps.journal.intents():
            self.take_over(intent)

    def owe(self, debt: RoomDebt) -> None:
        """Take on a debt that the journal already holds."""
        self._add(Owed(debt, due=trio.current_time()))

    def take_over(self, intent: RoomIntent) -> None:
        """Take on an intent whose creation is over and could not settle it."""
        self._deps.metrics.creations_interrupted.inc()
        debt = debt_of(intent, None, self._deps.clock.now())
        self._add(Owed(debt, due=trio.current_time(), written=False))

    def _add(self, owed: Owed) -> None:
        if owed.debt.provider not in self._deps.connectors.names:
            owed.due = math.inf  # until a start with such a connector
        if owed.debt.session_id not in self._ledger:
            self._ledger.add(owed)
            self._news.set()

    async def make_way(self, provider: str, room_name: str) -> bool:
        """Return when the provider shows no room of ours under this name; whether one was deleted or given up for that.

        Waits as long as that takes: the caller sets the scope. Cancelling ends the waiting only.
        """
        in_the_way = self._ledger.named(provider, room_name)
        for owed in in_the_way:
            await self._wait_vacant(owed)
        return any(owed.settled for owed in in_the_way)

    async def _wait_vacant(self, owed: Owed) -> None:
        since = owed.looks
        owed.waiting += 1
        try:
            while not owed.settled and owed.vacant_look <= since:
                owed.hurry(trio.current_time())
                self._news.set()
                await owed.looked.wait()
        finally:
            owed.waiting -= 1

    async def run(self) -> None:
        """Pay until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._news = trio.Event()
                now = trio.current_time()
                for owed in self._ledger.next(now, WORKERS):
                    owed.busy = True
                    owed.looks += 1
                    nursery.start_soon(self._pay, owed)
                with trio.move_on_at(self._ledger.next_due(now)):
                    await self._news.wait()

    async def _pay(self, owed: Owed) -> None:
        result = await self._try_to_pay(owed)
        owed.busy = False
        owed.tries += 1
        now = trio.current_time()
        delay_s = doubling_s(owed.tries, base_s=RETRY_MIN_S, max_s=RETRY_MAX_S)
        owed.due = now + delay_s * self._deps.jitter.uniform(0.8, 1.0)
        match result:
            case _Result.PAID:
                self._ledger.remove(owed)
            case _Result.VACANT:
                owed.vacant_look = owed.looks
                if owed.missing_since is not None:
                    owed.due = max(owed.due, owed.missing_since + self._confirm_s)
            case _Result.FAILED:
                owed.failed_at = now
        owed.tell()
        self._news.set()

    async def _try_to_pay(self, owed: Owed) -> _Result:
        debt = owed.debt
        told = {"session_id": debt.session_id, "room_name": debt.room_name}
        try:
            connector = self._deps.connectors.get(debt.provider)
            if not owed.written:
                await self._write_down(owed)
            session = await self._deps.journal.get(debt.session_id)
            result = await self._delete(owed, connector, session)
            if result is _Result.PAID:
                await self._settle(debt, session)
        except TransportError as exc:
            self._count(debt.provider, exc.code)
            level = logging.WARNING if owed.tries == 0 else logging.DEBUG
            log.log(level, "room not cleaned up yet", extra={**told, "error": str(exc), "tries": owed.tries + 1})
            return _Result.FAILED
        return result

    async def _write_down(self, owed: Owed) -> None:
        """Put the debt in the intent's place: it also says since when the room is waited for."""
        debt = owed.debt
        await self._deps.journal.commit(Change(settle_intent=debt.session_id, add_debt=debt))
        owed.written = True
        log.warning("creation was broken off", extra={"session_id": debt.session_id, "room_name": debt.room_name})

    async def _delete(self, owed: Owed, connector: TransportConnector, session: Session | None) -> _Result:
        """Delete our room, unless it is gone or replaced by somebody else's."""
        debt = owed.debt
        told = {"session_id": debt.session_id, "room_name": debt.room_name}
        if session is not None and not session.has_ended:
            # Whatever made us believe that we owe it: people may be in there.
            log.error("room of a live session left alone", extra=told)
            return _Result.PAID
        room = await connector.find_room(debt.room_name)
        if room is None or not debt.covers(room):
            return self._without(owed, room)
        owed.missing_since = None
        if not await connector.delete_room(debt.room_name):
            # It was there a moment ago: the next look tells.
            self._count(debt.provider, "not_there")
            return _Result.FAILED
        self._count(debt.provider, "deleted")
        log.info("room deleted", extra=told)
        return _Result.PAID

    def _without(self, owed: Owed, room: Room | None) -> _Result:
        """What it means that there is no room, or another one than ours."""
        debt, now = owed.debt, trio.current_time()
        if room is not None:
            owed.missing_since = None
        elif owed.missing_since is None:
            owed.missing_since = now
        # One 404 is no proof: a room wrongly forgotten is never deleted.
        unproven = owed.missing_since is not None and now - owed.missing_since < self._confirm_s
        if unproven or (debt.in_doubt and self._deps.clock.now() - debt.owed_at <= timedelta(seconds=DOUBT_S)):
            self._count(debt.provider, "not_there")
            return _Result.VACANT
        self._count(debt.provider, "gone" if room is None or debt.in_doubt else "foreign")
        if room is not None and not debt.in_doubt:
            told = {"session_id": debt.session_id, "room_name": debt.room_name}
            log.warning("foreign room left alone", extra=told)
        return _Result.PAID

    @property
    def _confirm_s(self) -> float:
        return self._deps.settings.presence_confirm_s

    async def _settle(self, debt: RoomDebt, session: Session | None) -> None:
        """Forget the debt, and say so in the session where there is one."""
        while True:
            cleaned = _cleaned(session)
            change = Change(
                session=cleaned, expected_version=cleaned.version if cleaned else 0, settle_debt=debt.session_id
            )
            try:
                await self._deps.journal.commit(change)
            except VersionConflict:
                session = await self._deps.journal.get(debt.session_id)
            else:
                return

    def _count(self, provider: str, result: str) -> None:
        self._deps.metrics.room_deletions.labels(provider=provider, outcome=result).inc()


def _cleaned(session: Session | None) -> Session | None:
    if session is None or session.provider_cleanup is not ProviderCleanup.PENDING:
        return None
    return attrs.evolve(session, provider_cleanup=ProviderCleanup.DONE)
