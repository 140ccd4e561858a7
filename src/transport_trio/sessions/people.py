"""What callers want of the people in a room: the provider does it, then the session's owner tells of it.

An action is a task of its own beside the owner, who must not wait for a provider. It ends with the session, so that it
never reaches the next room of that name.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import attrs
import trio

from transport_trio.errors import (
    Busy,
    ConnectorError,
    ParticipantNotFound,
    RoomNotFound,
    SessionHasEnded,
    StorageUnavailable,
    TransportError,
)
from transport_trio.events import Event, MessageSent, ParticipantsEjected, PermissionsChanged
from transport_trio.models import EVERYBODY, PermissionsChange, Session
from transport_trio.ports import TransportConnector
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.lifecycle import Acted, Cause
from transport_trio.sessions.reply import Reply

log = logging.getLogger(__name__)

# Of one session at once: a caller with a list of people, not a flood that starves the other sessions' requests.
ACTIONS_MAX = 4

E = TypeVar("E", bound=ParticipantsEjected | PermissionsChanged | MessageSent)
E_co = TypeVar("E_co", bound=Event, covariant=True)


class Action(Protocol[E_co]):
    """Something that a provider does to people in a call. `name` is a metric label."""

    name: ClassVar[str]

    async def perform(self, connector: TransportConnector, session: Session, now: Callable[[], Any]) -> E_co:
        """Have it done; the event that tells of it.

        Raises:
            ConnectorError: it was not done, or with `in_doubt` nobody knows.
            ParticipantNotFound: it was not done.
        """


@attrs.frozen(kw_only=True)
class Eject:
    name: ClassVar[str] = "eject"
    participant_ids: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    ban: bool = False

    async def perform(
        self, connector: TransportConnector, session: Session, now: Callable[[], Any]
    ) -> ParticipantsEjected:
        told = {one.provider_id: one.participant.id for one in session.present}
        ejected = await connector.eject(
            session.room.name,
            participant_ids=[_at_provider(session, id_) for id_ in self.participant_ids],
            user_ids=self.user_ids,
            ban=self.ban,
        )
        ids = tuple(told.get(id_, id_) for id_ in ejected)
        return ParticipantsEjected(session_id=session.id, time=now(), participant_ids=ids, ban=self.ban)


@attrs.frozen(kw_only=True)
class Permit:
    name: ClassVar[str] = "permit"
    participant_id: str
    change: PermissionsChange

    async def perform(
        self, connector: TransportConnector, session: Session, now: Callable[[], Any]
    ) -> PermissionsChanged:
        who = await _found(connector, session, self.participant_id)
        await connector.update_permissions(session.room.name, who, self.change, session.room_config)
        return PermissionsChanged(
            session_id=session.id, time=now(), participant_id=self.participant_id, permissions=self.change
        )


@attrs.frozen(kw_only=True)
class SendMessage:
    """`data_bytes` is its size as JSON: what the event tells instead of the data."""

    name: ClassVar[str] = "message"
    recipient: str
    data: dict[str, Any] = attrs.field(repr=False)
    data_bytes: int

    async def perform(self, connector: TransportConnector, session: Session, now: Callable[[], Any]) -> MessageSent:
        who = await _found(connector, session, self.recipient)
        await connector.send_message(session.room.name, who, self.data)
        return MessageSent(session_id=session.id, time=now(), recipient=self.recipient, data_bytes=self.data_bytes)


@attrs.frozen
class Wanted(Generic[E]):
    """An action on its way to the session's owner, and where the answer goes."""

    action: Action[E]
    reply: Reply[E]

    def answer_without_owner(self, session: Session) -> None:
        """End the caller's waiting; an answer that was given stays."""
        if session.has_ended:
            self.reply.fail(SessionHasEnded(session.id))
        else:
            self.reply.fail(Busy("the session is being restarted; look whether it was done", retry_after_s=1))


class _Unrecorded(StorageUnavailable):
    """Done by the provider, and no event tells of it."""


@attrs.define(eq=False, kw_only=True)
class People:
    """Carries out actions for one session; `ask` hands the event to its owner, `look_soon` wakes its poller."""

    deps: Deps
    session: Callable[[], Session]
    ask: Callable[[Cause], Awaitable[Session]]
    look_soon: Callable[[], None]
    _under_way: int = 0

    def begin(self, wanted: Wanted[Any], nursery: trio.Nursery) -> None:
        """Have it carried out by a task of `nursery`, or refuse it at once when there are enough."""
        if self._under_way >= ACTIONS_MAX:
            wanted.reply.fail(Busy(f"{ACTIONS_MAX} actions on this session's people are under way", retry_after_s=1))
            self._count(wanted, Busy.code)
            return
        self._under_way += 1
        nursery.start_soon(self._carry_out, wanted, name=f"{wanted.action.name} {self.session().id}")

    async def _carry_out(self, wanted: Wanted[Any]) -> None:
        outcome = "interrupted"
        try:
            wanted.reply.set(await self._perform(wanted.action))
            outcome = "done"
        except TransportError as exc:
            outcome = "unrecorded" if isinstance(exc, _Unrecorded) else exc.code
            wanted.reply.fail(exc)
        except Exception as exc:
            # A bug in one request must not end the session.
            log.exception("action crashed", extra={"session_id": self.session().id, "action": wanted.action.name})
            outcome = "crashed"
            wanted.reply.fail(exc)
        finally:
            self._under_way -= 1
            wanted.answer_without_owner(self.session())
            self._count(wanted, outcome)

    async def _perform(self, action: Action[E]) -> E:
        session = self.session()
        connector = self.deps.connectors.get(session.provider)
        try:
            event = await action.perform(connector, session, self.deps.clock.now)
        except ConnectorError as exc:
            if exc.in_doubt or isinstance(exc, RoomNotFound):
                self.look_soon()
            raise
        if not isinstance(event, ParticipantsEjected) or event.participant_ids:
            await self._tell(action, event)
        if isinstance(event, ParticipantsEjected):
            self.look_soon()
        return event

    async def _tell(self, action: Action[E], event: E) -> None:
        try:
            await self.ask(Acted(event=event))
        except (StorageUnavailable, Busy) as exc:
            self.look_soon()
            log.warning(
                "action done and not stored",
                extra={"session_id": event.session_id, "action": action.name, "error": str(exc)},
            )
            raise _Unrecorded(f"the provider has done it, but no event tells of it: {exc}") from exc

    def _count(self, wanted: Wanted[Any], outcome: str) -> None:
        self.deps.metrics.people_actions.labels(action=wanted.action.name, outcome=outcome).inc()


def _at_provider(session: Session, participant_id: str) -> str:
    """The provider's id for somebody whom we told by another: who rejoins has a new one there and keeps ours."""
    for one in session.present:
        if one.participant.id == participant_id:
            return one.provider_id
    return participant_id


async def _found(connector: TransportConnector, session: Session, participant_id: str) -> str:
    """As `_at_provider`, for somebody who is there: the provider takes an id that nobody has for done."""
    at_provider = _at_provider(session, participant_id)
    known = {id_ for one in session.present for id_ in one.ids}
    if at_provider not in known and at_provider != EVERYBODY:
        seen = await connector.presence(session.room.name, fresh=True)
        if at_provider not in {one.id for one in seen.participants}:
            raise ParticipantNotFound(participant_id)
    return at_provider
