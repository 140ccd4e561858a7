"""Making a session: a free name, intent, room, token, commit; and undoing what was made when a later step fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import attrs
import trio

from transport_trio.errors import (
    ConnectorError,
    InvalidRequest,
    JournalError,
    ProviderRejected,
    ProviderTimeout,
    RoomExists,
    StorageUnavailable,
)
from transport_trio.models import (
    IdempotencyRecord,
    Room,
    RoomIntent,
    RoomPlan,
    Session,
    SessionId,
    SessionRequest,
    SessionStatus,
    TokenGrant,
    TokenPlan,
    provider_kind,
)
from transport_trio.ports import Change, TransportConnector
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.lifecycle import created
from transport_trio.sessions.owed import debt_of
from transport_trio.sessions.reaper import Reaper

log = logging.getLogger(__name__)

BAD_REQUEST = 400
# When to come back for a name whose old room the provider does not let us delete.
RETRY_AFTER_S = 5.0


@attrs.frozen(kw_only=True)
class Plan:
    """Everything a creation will ask for, fixed before it begins, so that a dry run shows the same."""

    session_id: SessionId
    provider: str
    request: SessionRequest
    room: RoomPlan
    token: TokenPlan
    session_end: datetime  # the room's may be later, and is never earlier
    planned_at: datetime

    @property
    def intent(self) -> RoomIntent:
        return RoomIntent(
            session_id=self.session_id,
            provider=self.provider,
            room_name=self.room.name,
            expires_at=self.room.expires_at,
            intended_at=self.planned_at,
        )


def room_name_for(request: SessionRequest, session_id: SessionId, room_prefix: str) -> str:
    return request.room_config.name or f"{room_prefix}-{session_id}"


def whole_second(now: datetime) -> datetime:
    """Now, as providers can keep it: never earlier."""
    return now.replace(microsecond=0) + timedelta(seconds=1 if now.microsecond else 0)


def plan(
    request: SessionRequest,
    session_id: SessionId,
    now: datetime,
    room_prefix: str,
    other_ends: Collection[datetime] = (),
) -> Plan:
    """Names and ends: whole seconds, as providers keep them, and never a token that outlives its session.

    The room's end is none of `other_ends`: rooms of one name are told apart by it. It is the session's, or where a
    longest duration was asked for the latest end that the session can ever have (ADR 0085).
    """
    start = whole_second(now)
    session_end = start + timedelta(seconds=request.session_ttl_s)
    room_end = start + timedelta(seconds=request.max_duration_s or request.session_ttl_s)
    while room_end in other_ends:
        room_end += timedelta(seconds=1)
    if request.max_duration_s is None:
        session_end = room_end
    token_end = start + timedelta(seconds=min(request.token_ttl_s, request.session_ttl_s))
    name = room_name_for(request, session_id, room_prefix)
    return Plan(
        session_id=session_id,
        provider=request.provider,
        request=request,
        room=RoomPlan(
            name=name,
            config=request.room_config,
            expires_at=room_end,
            provider_options=request.provider_options,
        ),
        token=token_plan(name, request, token_end),
        session_end=session_end,
        planned_at=now,
    )


def token_plan(room_name: str, request: SessionRequest, expires_at: datetime) -> TokenPlan:
    return TokenPlan(
        room_name=room_name,
        room_config=request.room_config,
        participant=request.participant_config,
        expires_at=expires_at,
    )


async def create(
    deps: Deps,
    reaper: Reaper,
    request: SessionRequest,
    session_id: SessionId,
    remember: Callable[[datetime], IdempotencyRecord | None],
) -> tuple[Session, str]:
    """A new session, committed and announced, and its meeting token. It runs in a task of its own, not in a request.

    Where an older room of ours still has the name, that room is deleted first: of an ended session, or of a creation
    that was broken off. All of it has one budget.

    Raises:
        RoomExists: the name is taken, or did not come free in time; nothing was made.
        InvalidRequest: the provider refused the caller's own `options`.
        ConnectorError: the provider failed; a room that was made, or may have been, is owed to it.
        StorageUnavailable: likewise for the journal.
    """
    connector = deps.connectors.get(request.provider)
    name = room_name_for(request, session_id, deps.settings.room_prefix)
    # Longer than two slow answers, shorter than most callers' patience.
    budget_s = 3 * deps.settings.provider_timeout_s
    deadline = trio.current_time() + budget_s

    async def make_way() -> bool:
        with trio.move_on_at(deadline):
            return await reaper.make_way(request.provider, name)
        raise RoomExists(name, RETRY_AFTER_S)

    await make_way()
    while True:
        now = deps.clock.now()
        made = plan(request, session_id, now, deps.settings.room_prefix, reaper.ends(request.provider, name))
        try:
            return await Creation(deps, reaper, made, budget_s, deadline).run(connector, remember(now))
        except RoomExists:
            # A room of ours that nobody knew of may have appeared a moment ago: a request of a former life, carried out
            # late. What is not ours stays, and the name is taken.
            if not await make_way():
                raise


class Creation:
    """One attempt to make a session."""

    def __init__(self, deps: Deps, reaper: Reaper, plan: Plan, budget_s: float, deadline: float) -> None:
        self._deps = deps
        self._reaper = reaper
        self._plan = plan
        self._budget_s = budget_s
        self._deadline = deadline
        self._settled = False  # the intent

    async def run(self, connector: TransportConnector, remember: IdempotencyRecord | None) -> tuple[Session, str]:
        """As `create` says. However it ends, the intent is settled or the reaper's."""
        await self._deps.journal.commit(Change(add_intent=self._plan.intent))
        try:
            room, token = await self._make(connector)
            session = self._session(room)
            stored = await self._commit(session, room, remember)
        finally:
            if not self._settled:
                # A bug, the journal failed, or the service is stopping: nobody knows how far it came.
                self._reaper.take_over(self._plan.intent)
        log.info("session created", extra={"session_id": stored.id, "room_name": stored.room.name})
        return stored, token

    async def _make(self, connector: TransportConnector) -> tuple[Room, str]:
        room = None
        try:
            with trio.fail_at(self._deadline):
                room = await self._make_room(connector)
                return room, await connector.create_token(self._plan.token)
        except trio.TooSlowError:
            await self._undo(room, in_doubt=True)
            raise ProviderTimeout(
                self._plan.provider, f"{self._plan.provider} did not finish within {self._budget_s:g} s"
            ) from None
        except RoomExists:
            await self._undo(None, in_doubt=False)
            raise
        except ConnectorError as exc:
            await self._undo(room, in_doubt=exc.in_doubt)
            # The caller's options go into the room: what is refused later is not their fault.
            raise (self._in_callers_words(exc) if room is None else exc) from exc

    async def _make_room(self, connector: TransportConnector) -> Room:
        """Make the room; when the answer was lost, look whether it is there all the same."""
        try:
            return await connector.create_room(self._plan.room)
        except ConnectorError as exc:
            # A name that is taken is no doubt: connectors never repeat a request that may have been carried out.
            room = await self._look(connector) if exc.in_doubt else None
            if room is None or not self._plan.intent.made(room):
                raise
            log.info("room found after a lost answer", extra={"session_id": self._plan.session_id})
            return room

    async def _look(self, connector: TransportConnector) -> Room | None:
        """The room of that name. None also where the look fails: the doubt, of which the caller is told, remains."""
        try:
            return await connector.find_room(self._plan.room.name)
        except ConnectorError as exc:
            log.info("doubt remains", extra={"session_id": self._plan.session_id, "error": str(exc)})
            return None

    async def _commit(self, session: Session, room: Room, remember: IdempotencyRecord | None) -> Session:
        change = Change(session=session, events=(created(session),), settle_intent=session.id, remember=remember)
        try:
            stored = await self._deps.journal.commit(change)
        except JournalError:
            await self._undo(room, in_doubt=False)
            raise
        assert stored is not None
        self._settled = True
        return stored

    async def _undo(self, room: Room | None, *, in_doubt: bool) -> None:
        """Replace the intent by a debt for the room that was made or may have been; by nothing when none can be."""
        debt = None
        if room is not None or in_doubt:
            debt = debt_of(self._plan.intent, room.provider_id if room else None, self._deps.clock.now())
        try:
            await self._deps.journal.commit(Change(settle_intent=self._plan.session_id, add_debt=debt))
        except StorageUnavailable as exc:
            # The intent is still there; it becomes a debt as soon as the journal works again.
            log.warning("creation not undone yet", extra={"session_id": self._plan.session_id, "error": str(exc)})
            return
        self._settled = True
        if debt is not None:
            self._reaper.owe(debt)

    def _in_callers_words(self, exc: ConnectorError) -> Exception:
        if isinstance(exc, ProviderRejected) and exc.status == BAD_REQUEST and self._plan.request.provider_options:
            return InvalidRequest((f"$.options.{provider_kind(self._plan.provider)}", exc.detail))
        return exc

    def _session(self, room: Room) -> Session:
        request, now = self._plan.request, self._deps.clock.now()
        return Session(
            id=self._plan.session_id,
            provider=self._plan.provider,
            status=SessionStatus.CREATED,
            room=room,
            room_config=request.room_config,
            participant_config=request.participant_config,
            token=TokenGrant(expires_at=self._plan.token.expires_at),
            created_at=now,
            updated_at=now,
            expires_at=self._plan.session_end,
            emptiness=request.emptiness,
            events_after_end=request.events_after_end,
            max_duration_s=request.max_duration_s,
        )
