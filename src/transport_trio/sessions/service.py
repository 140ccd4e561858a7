"""The use-cases: create, read, list and end sessions. Each does its work in a task of its own, never in a request."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import attrs
import trio

from transport_trio.errors import (
    Busy,
    IdempotencyMismatch,
    RequestInProgress,
    RoomExists,
    SessionNotFound,
    Stopping,
    TransportError,
)
from transport_trio.models import EndReason, IdempotencyRecord, Session, SessionId, SessionRequest, new_session_id
from transport_trio.ports import SessionPage, SessionQuery
from transport_trio.sessions.creation import Creation, Plan, plan, token_plan_of
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.lifecycle import EndWanted
from transport_trio.sessions.live import LiveSession
from transport_trio.sessions.reaper import Reaper
from transport_trio.sessions.reply import Reply

log = logging.getLogger(__name__)

IDEMPOTENCY_KEEP_S = 24 * 3600
# How long a repeat waits for the first request before it is told to come back.
REPEAT_WAIT_S = 10.0
RETRY_AFTER_S = 1.0


@attrs.frozen(kw_only=True)
class IdempotencyKey:
    """A caller's key, with what tells callers apart (`caller`) and requests apart (`fingerprint`)."""

    caller: str
    key: str
    fingerprint: str

    @property
    def slot(self) -> tuple[str, str]:
        return self.caller, self.key


@attrs.frozen(kw_only=True)
class Created:
    """`meeting_token` is None only in a replay whose token or session has ended."""

    session: Session
    meeting_token: str | None = attrs.field(repr=False)
    replayed: bool = False


@attrs.frozen
class _Running:
    """A creation with a key that has not been answered yet."""

    fingerprint: str
    done: trio.Event = attrs.field(factory=trio.Event)


class SessionService:
    """What callers can do with sessions. Made by `open_sessions`, which owns every task started here."""

    def __init__(self, deps: Deps, nursery: trio.Nursery) -> None:
        self._deps = deps
        self._nursery = nursery
        self._live: dict[str, LiveSession] = {}
        self._creating: set[SessionId] = set()
        self._names: set[tuple[str, str]] = set()
        self._running: dict[tuple[str, str], _Running] = {}
        self._accepting = True
        self._idle = trio.Event()
        self.reaper = Reaper(deps, lambda session_id: session_id in self._creating)
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
            await self._wait_for_first(idempotency)
        self._admit()
        reply: Reply[Created] = Reply()
        made = plan(request, new_session_id(), self._deps.clock.now(), self._deps.settings.room_prefix)
        self._creating.add(made.session_id)
        if idempotency is not None:
            self._running[idempotency.slot] = _Running(idempotency.fingerprint)
        self._nursery.start_soon(self._own, made, idempotency, reply, name=f"session {made.session_id}")
        return await reply.wait()

    def dry_run(self, request: SessionRequest) -> dict[str, Any]:
        """What `create` would send to the provider; nothing is made or reserved."""
        connector = self._deps.connectors.get(request.provider)
        made = plan(request, new_session_id(), self._deps.clock.now(), self._deps.settings.room_prefix)
        return connector.dry_run(made.room, made.token)

    def managed_options(self, provider: str) -> frozenset[str]:
        """The keys of `options.{provider}` that callers may not set."""
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
        """A page of sessions, newest first."""
        page = await self._deps.journal.sessions(query)
        return attrs.evolve(page, sessions=tuple(self._as_known(session) for session in page.sessions))

    async def end(self, session_id: str) -> Session:
        """End the session; its room is deleted as soon as the provider lets us. One that has ended stays as it is.

        Raises:
            SessionNotFound, StorageUnavailable.

        Cancellation: ends the waiting only; the session may end all the same.
        """
        live = self._live.get(session_id)
        if live is not None:
            return await live.ask(EndWanted(at=self._deps.clock.now(), reason=EndReason.REQUESTED))
        return await self.get(session_id)

    async def drain(self, deadline_s: float) -> None:
        """Take no more creations and wait, at most `deadline_s`, for those under way."""
        self._accepting = False
        with trio.move_on_after(deadline_s):
            while self._creating:
                self._idle = trio.Event()
                await self._idle.wait()

    async def resume(self) -> None:
        """Take up the sessions that the journal says are unfinished."""
        snapshot = await self._deps.journal.snapshot()
        for session in snapshot.sessions:
            live = LiveSession(session, self._deps, self.reaper.owe, resumed=True)
            self._live[session.id] = live
            self._names.add((session.provider, session.room.name))
            self._nursery.start_soon(self._run_live, live, name=f"session {session.id}")
        if snapshot.sessions:
            log.info("sessions taken up again", extra={"count": len(snapshot.sessions)})

    def _admit(self) -> None:
        settings = self._deps.settings
        if not self._accepting:
            raise Stopping
        if len(self._creating) >= settings.create_queue_max:
            raise Busy(f"{settings.create_queue_max} creations are under way (CREATE_QUEUE_MAX)", RETRY_AFTER_S)
        if len(self._live) + len(self._creating) >= settings.sessions_max:
            raise Busy(f"{settings.sessions_max} sessions are live (SESSIONS_MAX)", RETRY_AFTER_S)

    def _reserve(self, provider: str, room_name: str) -> None:
        """Keep two sessions off one room name: with equal ends their rooms could not be told apart.

        A name whose room is still to be deleted is taken too: a late deletion would hit the new room.
        """
        if (provider, room_name) in self._names or self.reaper.holds(provider, room_name):
            raise RoomExists(room_name)
        self._names.add((provider, room_name))

    def _release(self, provider: str, room_name: str) -> None:
        self._names.discard((provider, room_name))

    async def _wait_for_first(self, idempotency: IdempotencyKey) -> None:
        """Return when no other request with this key is running."""
        with trio.move_on_after(REPEAT_WAIT_S):
            while (running := self._running.get(idempotency.slot)) is not None:
                if running.fingerprint != idempotency.fingerprint:
                    raise IdempotencyMismatch
                await running.done.wait()
            return
        raise RequestInProgress(RETRY_AFTER_S)

    async def _own(self, made: Plan, idempotency: IdempotencyKey | None, reply: Reply[Created]) -> None:
        """A session's task from its creation to its end."""
        live = None
        try:
            replay = await self._replay(idempotency) if idempotency else None
            if replay is not None:
                reply.set(replay)
                return
            self._reserve(made.provider, made.room.name)
            try:
                created = await self._create(made, idempotency)
            except BaseException:
                self._release(made.provider, made.room.name)
                raise
            live = LiveSession(created.session, self._deps, self.reaper.owe, resumed=False)
            self._live[made.session_id] = live
            reply.set(created)
        except TransportError as exc:
            reply.fail(exc)
        except Exception as exc:
            # A bug in one creation must not end the others; its intent is found by the reaper.
            log.exception("creation crashed", extra={"session_id": made.session_id})
            reply.fail(exc)
        finally:
            self._creation_over(made, idempotency)
            if not reply.settled:
                reply.fail(Stopping())
        if live is not None:
            await self._run_live(live)

    async def _create(self, made: Plan, idempotency: IdempotencyKey | None) -> Created:
        remember = None
        if idempotency is not None:
            remember = IdempotencyRecord(
                caller=idempotency.caller,
                key=idempotency.key,
                fingerprint=idempotency.fingerprint,
                session_id=made.session_id,
                created_at=made.planned_at,
            )
        connector = self._deps.connectors.get(made.provider)
        session, token = await Creation(self._deps, self.reaper, made).run(connector, remember)
        return Created(session=session, meeting_token=token)

    async def _replay(self, idempotency: IdempotencyKey) -> Created | None:
        """What this key created before, or None when it is new or was forgotten."""
        record = await self._deps.journal.recall(idempotency.caller, idempotency.key)
        now = self._deps.clock.now()
        if record is None or now - record.created_at > timedelta(seconds=IDEMPOTENCY_KEEP_S):
            return None
        if record.fingerprint != idempotency.fingerprint:
            raise IdempotencyMismatch
        try:
            session = await self.get(record.session_id)
        except SessionNotFound:
            return None
        token = None
        if not session.has_ended and session.token.expires_at > now:
            token = await self._deps.connectors.get(session.provider).create_token(token_plan_of(session))
        return Created(session=session, meeting_token=token, replayed=True)

    def _creation_over(self, made: Plan, idempotency: IdempotencyKey | None) -> None:
        self._creating.discard(made.session_id)
        if idempotency is not None:
            self._running.pop(idempotency.slot).done.set()
        if not self._creating:
            self._idle.set()

    async def _run_live(self, live: LiveSession) -> None:
        try:
            await live.run()
        finally:
            del self._live[live.session.id]
            self._release(live.session.provider, live.session.room.name)

    def _as_known(self, session: Session) -> Session:
        live = self._live.get(session.id)
        return session if live is None else live.session

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
        try:
            yield service
        finally:
            nursery.cancel_scope.cancel(reason="the service is stopping")
