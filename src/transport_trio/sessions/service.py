"""The use-cases: create, read, list and end sessions. Each does its work in a task of its own, never in a request."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import attrs
import trio

from transport_trio.errors import (
    Busy,
    SessionHasEnded,
    SessionNotFound,
    Stopping,
    TransportError,
)
from transport_trio.models import (
    Capture,
    EndReason,
    IdempotencyRecord,
    News,
    RoomDebt,
    Session,
    SessionId,
    SessionRequest,
)
from transport_trio.models.orphans import marked_id
from transport_trio.ports import SessionPage, SessionQuery
from transport_trio.sessions.capture_desk import CaptureDesk
from transport_trio.sessions.capture_work import CaptureAction
from transport_trio.sessions.creation import create, plan, room_name_for
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.extending import Extensions
from transport_trio.sessions.grants import grants_of, plan_of
from transport_trio.sessions.idempotency import IdempotencyKey, RunningKeys
from transport_trio.sessions.in_use import InUse
from transport_trio.sessions.lifecycle import Cause, EndWanted
from transport_trio.sessions.live import LiveSession
from transport_trio.sessions.orphans import OrphanSweeps
from transport_trio.sessions.people import Action, E
from transport_trio.sessions.providers import watch_providers
from transport_trio.sessions.reaper import Reaper
from transport_trio.sessions.reconciling import Reconcilers
from transport_trio.sessions.reply import Reply
from transport_trio.sessions.tokens import Tokens

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0


@attrs.frozen(kw_only=True)
class Created:
    """`meeting_token` is None only in a replay whose token or session has ended."""

    session: Session
    meeting_token: str | None = attrs.field(repr=False)
    replayed: bool = False


class SessionService:
    """What callers can do with sessions. Made by `open_sessions`, which owns every task started here."""

    def __init__(self, deps: Deps, nursery: trio.Nursery) -> None:
        self._deps = deps
        self._nursery = nursery
        self._live: dict[str, LiveSession] = {}
        self._creating: dict[SessionId, str] = {}  # at which provider
        self._keys = RunningKeys()
        self._accepting = True
        self._idle = trio.Event()
        self.reaper = Reaper(deps)
        self.reconcilers = Reconcilers(deps)
        self._in_use = InUse(deps.journal, self.reaper, lambda id_: id_ in self._live or id_ in self._creating)
        self.orphans = OrphanSweeps(deps, self._in_use)
        self.tokens = Tokens(deps, self._keys, self.get, self._ask)
        self.extensions = Extensions(deps, self._extend, self.get, self.tokens)
        self.captures = CaptureDesk(deps, nursery, self.get, self._ask, self._in_use.session_in)
        deps.metrics.creations.set_function(lambda: len(self._creating))
        deps.metrics.active_sessions.set_function(lambda: len(self._live))
        deps.metrics.rooms_owed.set_function(lambda: len(self.reaper))
        deps.metrics.presence_age.set_function(self._presence_age_s)

    async def create(self, request: SessionRequest, *, idempotency: IdempotencyKey | None = None) -> Created:
        """Make a session and its room.

        Raises:
            UnknownProvider, RoomExists, InvalidRequest, Busy, Stopping, IdempotencyMismatch, RequestInProgress,
            ConnectorError, StorageUnavailable.

        Cancellation: ends the waiting only; the session is made, announced, and found by its key.
        """
        self._deps.connectors.get(request.provider)
        if idempotency is not None:
            await self._keys.wait_for_first(idempotency)
        self._admit(request.provider)
        reply: Reply[Created] = Reply()
        session_id = self._deps.ownership.new_id(self._deps.settings.room_prefix)
        self._creating[session_id] = request.provider
        if idempotency is not None:
            self._keys.begin(idempotency)
        self._nursery.start_soon(self._own, session_id, request, idempotency, reply, name=f"session {session_id}")
        return await reply.wait()

    def dry_run(self, request: SessionRequest) -> dict[str, Any]:
        """What `create` would send to the provider; nothing is made or reserved."""
        connector = self._deps.connectors.get(request.provider)
        now, prefix = self._deps.clock.now(), self._deps.settings.room_prefix
        # Of the form that a real one has, and with a mark of no key: no room of that name would be ours.
        made = plan(request, marked_id(b"", prefix, now, 0), now, prefix)
        return connector.dry_run(made.room, made.token)

    def managed_options(self, provider: str) -> frozenset[str]:
        """The keys of provider options that callers may not set."""
        return self._deps.connectors.get(provider).managed_options

    async def get(self, session_id: str) -> Session:
        """The session as it is now, every answered write included.

        Raises:
            SessionNotFound.
        """
        live = self._live.get(session_id)
        if live is not None:
            return live.session
        session = await self._deps.journal.get(session_id)
        if session is None:
            raise SessionNotFound(session_id)
        return session

    async def list(self, query: SessionQuery) -> SessionPage:
        """A page of sessions, newest first. Those that have come to another status while it was read are left out."""
        page = await self._deps.journal.sessions(query)
        known = (self._as_known(session) for session in page.sessions)
        return attrs.evolve(page, sessions=tuple(one for one in known if query.status in (None, one.status)))

    async def end(self, session_id: str) -> Session:
        """End the session; its room is deleted as soon as the provider lets us. One that has ended stays as it is.

        Raises:
            SessionNotFound, StorageUnavailable.
            Busy: it has no owner just now; it has not ended.

        Cancellation: ends the waiting only; the session may end all the same.
        """
        return await self._ask(session_id, EndWanted(at=self._deps.clock.now(), reason=EndReason.REQUESTED))

    def hear(self, provider: str, room_name: str, news: News | None) -> bool:
        """Have the room's session learn what was pushed, and look into the room. False: no session of ours is in it."""
        live = self._live.get(self._in_use.session_in(provider, room_name) or SessionId(""))
        if live is None:
            return False
        live.hear(news)
        return True

    async def act(self, session_id: str, action: Action[E]) -> E:
        """As `LiveSession.act`; raises `SessionNotFound` besides."""
        return await (await self._owner_of(session_id)).act(action)

    async def _extend(self, session_id: str, until: datetime) -> Session:
        return await (await self._owner_of(session_id)).extend(until)

    async def capture(self, session_id: str, action: CaptureAction) -> Capture:
        """As `LiveSession.capture`; raises `SessionNotFound` besides."""
        return await (await self._owner_of(session_id)).capture(action)

    async def drain(self, deadline_s: float) -> None:
        """Take no more creations and wait, at most `deadline_s`, for those under way."""
        self._accepting = False
        with trio.move_on_after(deadline_s):
            while self._creating:
                self._idle = trio.Event()
                await self._idle.wait()

    async def resume(self) -> None:
        """Take up the sessions that the journal says are unfinished, and what it says is owed."""
        await self.reaper.load()
        snapshot = await self._deps.journal.snapshot()
        for session in snapshot.sessions:
            live = self._live_session(session, resumed=True)
            self.captures.note(session, session)
            self._live[session.id] = live
            self._in_use.reserve(session.provider, session.room.name, session.id)
            self._nursery.start_soon(self._run_live, live, name=f"session {session.id}")
        watch_providers(
            self._deps, lambda: [live.session for live in self._live.values()], self.reaper.owed_by_provider
        )
        if snapshot.sessions:
            log.info("sessions taken up again", extra={"count": len(snapshot.sessions)})

    async def _ask(self, session_id: str, cause: Cause) -> Session:
        """Have the session's owner act on `cause`; one that has ended is given as it is."""
        try:
            live = await self._owner_of(session_id)
        except SessionHasEnded:
            return await self.get(session_id)
        return await live.ask(cause)

    async def _owner_of(self, session_id: str) -> LiveSession:
        if session_id not in self._live and (await self.get(session_id)).has_ended:
            raise SessionHasEnded(session_id)
        # It may have been stored a moment ago, and taken up by its task only while we read.
        live = self._live.get(session_id)
        if live is None:
            raise Busy("the session is being taken up; repeat the request", RETRY_AFTER_S)
        return live

    def _live_session(self, session: Session, *, resumed: bool) -> LiveSession:
        return LiveSession(session, self._deps, self._on_ended, resumed=resumed, on_stored=self.captures.note)

    def _admit(self, provider: str) -> None:
        settings = self._deps.settings
        if not self._accepting:
            raise Stopping
        # Each provider has a queue of its own: one that answers nobody fills its own.
        if sum(at == provider for at in self._creating.values()) >= settings.create_queue_max:
            raise Busy(f"{settings.create_queue_max} creations are under way (CREATE_QUEUE_MAX)", RETRY_AFTER_S)
        if len(self._live) + len(self._creating) >= settings.sessions_max:
            raise Busy(f"{settings.sessions_max} sessions are live (SESSIONS_MAX)", RETRY_AFTER_S)

    def _on_ended(self, debt: RoomDebt) -> None:
        """The name belongs to whoever wants it next, once the reaper has made way."""
        self.reaper.owe(debt)
        self.reconcilers.add(debt.provider, debt.session_id, debt.owed_at)
        self._in_use.release(debt.provider, debt.room_name, debt.session_id)

    async def _own(
        self, session_id: SessionId, request: SessionRequest, idempotency: IdempotencyKey | None, reply: Reply[Created]
    ) -> None:
        """A session's task from its creation to its end."""
        live = None
        try:
            replay = await self._replay(idempotency) if idempotency else None
            if replay is not None:
                reply.set(replay)
                return
            created = await self._create(session_id, request, idempotency)
            live = self._live_session(created.session, resumed=False)
            self._live[session_id] = live
            self.captures.note(None, created.session)
            reply.set(created)
        except TransportError as exc:
            reply.fail(exc)
        except Exception as exc:
            # A bug in one creation must not end the others; its room is the reaper's.
            log.exception("creation crashed", extra={"session_id": session_id})
            reply.fail(exc)
        finally:
            self._creation_over(session_id, idempotency)
            if not reply.settled:
                reply.fail(Stopping())
        if live is not None:
            await self._run_live(live)

    async def _create(
        self, session_id: SessionId, request: SessionRequest, idempotency: IdempotencyKey | None
    ) -> Created:
        def remember(at: datetime) -> IdempotencyRecord | None:
            return idempotency.record(session_id, at) if idempotency is not None else None

        name = room_name_for(request, session_id, self._deps.settings.room_prefix)
        self._in_use.reserve(request.provider, name, session_id)
        try:
            session, token = await create(self._deps, self.reaper, request, session_id, remember)
        except BaseException:
            self._in_use.release(request.provider, name, session_id)
            raise
        return Created(session=session, meeting_token=token)

    async def _replay(self, idempotency: IdempotencyKey) -> Created | None:
        """What this key created before, or None when it is new or was forgotten."""
        record = await self._deps.journal.recall(idempotency.caller, idempotency.key)
        now = self._deps.clock.now()
        if record is None or not idempotency.check(record, now):
            return None
        try:
            session = await self.get(record.session_id)
        except SessionNotFound:
            return None
        token = None
        if not session.has_ended and session.token.expires_at > now:
            first = plan_of(session, grants_of(session)[0])
            token = await self._deps.connectors.get(session.provider).create_token(first)
        return Created(session=session, meeting_token=token, replayed=True)

    def _creation_over(self, session_id: SessionId, idempotency: IdempotencyKey | None) -> None:
        self._creating.pop(session_id, None)
        if idempotency is not None:
            self._keys.over(idempotency)
        if not self._creating:
            self._idle.set()

    async def _run_live(self, live: LiveSession) -> None:
        try:
            await live.run()
        finally:
            del self._live[live.session.id]
            self._in_use.release(live.session.provider, live.session.room.name, live.session.id)

    def _as_known(self, session: Session) -> Session:
        """The later of what the journal has and what its owner knows, who hears of a commit a moment after."""
        live = self._live.get(session.id)
        return session if live is None or live.session.version < session.version else live.session

    def _presence_age_s(self) -> float:
        now = self._deps.clock.now()
        known = (live.session.presence_checked_at or live.session.created_at for live in self._live.values())
        return max(((now - at).total_seconds() for at in known), default=0.0)


@asynccontextmanager
async def open_sessions(deps: Deps) -> AsyncIterator[SessionService]:
    """The service with its unfinished sessions taken up again. Leaving stops the tasks; live sessions are not ended."""
    async with trio.open_nursery() as nursery:
        service = SessionService(deps, nursery)
        await service.resume()
        nursery.start_soon(partial(service.reaper.run), name="reaper")
        service.captures.begin()
        nursery.start_soon(service.reconcilers.run, name="summaries")
        nursery.start_soon(service.orphans.run, name="orphan sweeps")
        try:
            yield service
        finally:
            nursery.cancel_scope.cancel(reason="the service is stopping")
