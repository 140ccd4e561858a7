"""A live session: one owner task that alone changes it, with its poller and its timers beside it in one nursery."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
import trio

from transport_trio.concurrency import supervise
from transport_trio.errors import (
    Busy,
    RestartLimitExceeded,
    StorageUnavailable,
    TransportError,
    UnknownProvider,
    VersionConflict,
)
from transport_trio.models import Capture, EndReason, News, RoomDebt, Session
from transport_trio.ports import Change
from transport_trio.sessions.capture_work import CaptureAction, CaptureWanted, CaptureWork
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.extending import Extending, ExtensionWanted
from transport_trio.sessions.lifecycle import Cause, EndWanted, Outcome, TimeReached, decide, next_due
from transport_trio.sessions.owed import debt_of_end
from transport_trio.sessions.people import Action, E, People, Wanted
from transport_trio.sessions.poller import Poller
from transport_trio.sessions.reply import Reply

log = logging.getLogger(__name__)

# Poller, timers and a few callers at once; more callers wait in their own request.
INBOX_CAPACITY = 8
# How old the stored "last seen" may get while nothing else happens: bounds the error of a leave inferred after a crash.
SAVE_PRESENCE_S = 60.0
# Between two tries to store what time has brought about, while the disk is full.
STORAGE_RETRY_S = 1.0
# Several writers of one session are rare; one that loses this often in a row is a bug.
CONFLICTS_MAX = 5
GIVEN_UP_RETRY_S = 10.0
# After something was done to people in the room. Daily's measured: they are gone two seconds after its answer.
LOOK_SOON_S = 2.0


@attrs.frozen
class _Ask:
    cause: Cause
    reply: Reply[Session]

    def answer_without_owner(self, session: Session) -> None:
        if session.has_ended:
            self.reply.set(session)
        else:
            self.reply.fail(Busy("the session is being restarted; repeat the request", retry_after_s=1))


class LiveSession:
    """The running side of a session that has not ended."""

    def __init__(
        self,
        session: Session,
        deps: Deps,
        on_ended: Callable[[RoomDebt], None],
        *,
        resumed: bool,
        on_stored: Callable[[Session | None, Session], None] = lambda before, after: None,
    ) -> None:
        self.session = session
        self._deps = deps
        self._on_ended = on_ended
        self._on_stored = on_stored
        self._resumed = resumed
        self._stored = session
        self._asks, self._inbox = trio.open_memory_channel[_Ask | Wanted[Any] | ExtensionWanted | CaptureWanted](
            INBOX_CAPACITY
        )
        self._people = People(deps=deps, session=lambda: self.session, ask=self.ask, look_soon=self._look_soon)
        self._extending = Extending(deps=deps, session=lambda: self.session, ask=self.ask)
        self._capture_work = CaptureWork(deps=deps, session=lambda: self.session, ask=self.ask)
        self._started = False
        self._end_told = False
        self._poller: Poller | None = None
        self._nap = trio.CancelScope()  # of the timers

    def hear(self, news: News | None) -> None:
        """The provider has pushed something of the room. What comes while its tasks are restarted is passed over."""
        if self._poller is not None:
            self._poller.hear(news)

    async def ask(self, cause: Cause) -> Session:
        """Have the owner act on `cause`; the session after it. Cancelling ends the waiting only.

        Raises:
            StorageUnavailable: it could not be stored and has not happened.
            Busy: the owner is being restarted; it has not happened.
        """
        reply: Reply[Session] = Reply()
        await self._send(_Ask(cause, reply))
        return await reply.wait()

    async def act(self, action: Action[E]) -> E:
        """Have the provider do something to people in the room; the event that tells of it, which is stored then.

        Raises:
            SessionHasEnded: it was not done, or the session ended meanwhile.
            ConnectorError: the provider did not do it; with `in_doubt` nobody knows.
            StorageUnavailable: it was done, and no event tells of it.
            Busy: too many are under way, or the session's tasks were restarted meanwhile.

        Cancellation: ends the waiting only; it is done and told all the same.
        """
        reply: Reply[E] = Reply()
        await self._send(Wanted(action, reply))
        return await reply.wait()

    async def extend(self, until: datetime) -> Session:
        """Have the session end later; the session with that end. Cancelling ends the waiting only.

        Raises:
            InvalidRequest, SessionHasEnded, Busy, StorageUnavailable: it ends when it did.
            ConnectorError: so it does, unless the provider's answer was lost: then a look at the room tells, later.
        """
        reply: Reply[Session] = Reply()
        await self._send(ExtensionWanted(until, reply))
        return await reply.wait()

    async def capture(self, action: CaptureAction) -> Capture:
        """Have a recording or the like started, changed or stopped; what it is then, stored.

        Raises:
            SessionHasEnded, RecordingNotFound, RecordingNotInState, TooManyRecordings: it was not done.
            ConnectorError: the provider did not do it; with `in_doubt` it is found out later.
            StorageUnavailable, Busy: as for `act`.

        Cancellation: ends the waiting only; it is done and told all the same.
        """
        reply: Reply[Capture] = Reply()
        await self._send(CaptureWanted(action, reply))
        return await reply.wait()

    async def run(self) -> None:
        """Own the session until it has ended. A crash of its tasks is contained here and seen by nobody else."""
        try:
            await supervise(
                "session",
                self._run_once,
                self._deps.restarts,
                restart_on=Exception,
                on_restart=self._deps.metrics.task_restarts.labels(task="session").inc,
            )
        except RestartLimitExceeded as exc:
            self._deps.metrics.session_crashes.inc()
            log.exception("session given up", extra={"session_id": self.session.id, "crashes": exc.crashes})
            self._close()
            await self._end_given_up()
        finally:
            self._close()
            if self.session.has_ended:
                # Its tasks may have been restarted while the end was being stored: nobody has told of it then.
                self._tell_end(debt_of_end(self.session))

    async def _run_once(self) -> None:
        if self._started:
            await self._reload()
        self._started = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_time, name=f"timers {self.session.id}")
            self._poller = poller = self._make_poller()
            if poller is not None:
                nursery.start_soon(self._poll, poller, name=f"poller {self.session.id}")
                nursery.start_soon(poller.listen, name=f"news for {self.session.id}")
            nursery.start_soon(self._extending.settle, name=f"extension {self.session.id}")
            await self._own(nursery)
            nursery.cancel_scope.cancel(reason="the session has ended")

    async def _own(self, nursery: trio.Nursery) -> None:
        while not self.session.has_ended:
            ask = await self._inbox.receive()
            if isinstance(ask, Wanted):
                self._people.begin(ask, nursery)
                continue
            if isinstance(ask, ExtensionWanted):
                self._extending.begin(ask, nursery)
                continue
            if isinstance(ask, CaptureWanted):
                self._capture_work.begin(ask, nursery)
                continue
            try:
                ask.reply.set(await self._apply(ask.cause))
            except TransportError as exc:
                ask.reply.fail(exc)
            finally:
                # A bug or a cancel must not leave the caller waiting for ever.
                ask.answer_without_owner(self.session)

    async def _send(self, ask: _Ask | Wanted[Any] | ExtensionWanted | CaptureWanted) -> None:
        try:
            await self._asks.send(ask)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            ask.answer_without_owner(self.session)

    def _look_soon(self) -> None:
        if self._poller is not None:
            self._poller.look_soon(LOOK_SOON_S)

    async def _apply(self, cause: Cause) -> Session:
        """Decide and commit; what is only known better (when somebody was last seen) is stored now and then."""
        for _ in range(CONFLICTS_MAX):
            outcome = decide(self.session, cause, self._deps.policy)
            if not self._worth_storing(outcome):
                self.session = outcome.session
                return self.session
            try:
                return await self._commit(outcome)
            except VersionConflict:
                await self._reload()
        raise Busy("the session keeps being changed by others; repeat the request", retry_after_s=1)

    def _worth_storing(self, outcome: Outcome) -> bool:
        # Tokens may change without an event: one that has expired is forgotten later.
        tokens, known = outcome.session.further_tokens, self.session.further_tokens
        intended = outcome.session.extending_to != self.session.extending_to
        if outcome.events or outcome.session.token != self.session.token or tokens != known or intended:
            return True
        if outcome.session.captures != self.session.captures:
            return True
        # By what is stored and not by when: a commit for another cause stores the presence as it was known then.
        stored = {one.participant.id: one.last_seen_at for one in self._stored.present}
        return any(
            one.last_seen_at - stored.get(one.participant.id, one.last_seen_at) >= timedelta(seconds=SAVE_PRESENCE_S)
            for one in outcome.session.present
        )

    async def _commit(self, outcome: Outcome) -> Session:
        debt = debt_of_end(outcome.session) if outcome.session.has_ended and not self.session.has_ended else None
        change = Change(
            session=outcome.session,
            expected_version=self.session.version,
            events=outcome.events,
            add_debt=debt,
            remember=outcome.remember,
        )
        stored = await self._deps.journal.commit(change)
        assert stored is not None
        due = next_due(self.session, self._deps.policy)
        before = self.session
        self.session = self._stored = stored
        self._on_stored(before, stored)
        if next_due(stored, self._deps.policy) < due:
            self._nap.cancel(reason="a token ends earlier than anything that was due")
        if debt is not None:
            log.info(
                "session ended",
                extra={
                    "session_id": stored.id,
                    "reason": stored.end_reason,
                    "lasted_s": round((debt.owed_at - stored.created_at).total_seconds(), 3),
                },
            )
            self._tell_end(debt)
        return stored

    def _tell_end(self, debt: RoomDebt) -> None:
        if not self._end_told:
            self._end_told = True
            self._on_ended(debt)

    async def _reload(self) -> None:
        stored = await self._deps.journal.get(self.session.id)
        if stored is not None:
            self.session = self._stored = stored

    async def _watch_time(self) -> None:
        while True:
            with trio.CancelScope() as self._nap:
                await self._deps.clock.sleep_until(next_due(self.session, self._deps.policy))
            if self._nap.cancelled_caught:
                continue
            try:
                await self.ask(TimeReached(at=self._deps.clock.now()))
            except StorageUnavailable as exc:
                log.warning("expiry not stored yet", extra={"session_id": self.session.id, "error": str(exc)})
                await trio.sleep(STORAGE_RETRY_S)

    def _make_poller(self) -> Poller | None:
        try:
            connector = self._deps.connectors.get(self.session.provider)
        except UnknownProvider:
            # The service was started without this provider, and has said so: the session's timers run on, its room is
            # not watched.
            return None
        return Poller(deps=self._deps, connector=connector, session=lambda: self.session, ask=self.ask)

    async def _poll(self, poller: Poller) -> None:
        await poller.run(resumed=self._resumed)

    async def _end_given_up(self) -> None:
        """End a session whose tasks keep failing, however long it takes: a session always has an owner."""
        while not self.session.has_ended:
            try:
                await self._reload()
                await self._apply(EndWanted(at=self._deps.clock.now(), reason=EndReason.ERROR))
            except Exception:
                log.exception("session not ended yet", extra={"session_id": self.session.id})
                await trio.sleep(GIVEN_UP_RETRY_S)

    def _close(self) -> None:
        """Answer whoever still asks; nobody can ask any more."""
        while True:
            try:
                ask = self._inbox.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
            ask.answer_without_owner(self.session)
        self._inbox.close()
        self._asks.close()
