"""Giving a session a later end: the intent is stored, the provider asked, and what became of it stored (ADR 0085).

Whatever breaks off in between is settled by a look at the room: in this life, or in the next.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import attrs
import trio

from transport_trio.concurrency import doubling_s
from transport_trio.errors import (
    Busy,
    ConnectorError,
    ProviderTimeout,
    ProviderUnreachable,
    SessionHasEnded,
    StorageUnavailable,
    TransportError,
)
from transport_trio.events import Ejection
from transport_trio.models import Session
from transport_trio.sessions.creation import whole_second
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.extension import (
    ExtensionDone,
    ExtensionDropped,
    ExtensionIntended,
    check,
    ejections,
    grant_of,
)
from transport_trio.sessions.reply import Reply
from transport_trio.sessions.tokens import Minted, Tokens

log = logging.getLogger(__name__)

RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0

Extension = ExtensionIntended | ExtensionDone | ExtensionDropped


@attrs.frozen(kw_only=True)
class ExtensionRequest:
    """A checked request: `ttl_s` counts from now, `expires_at` is the end itself; one of them is given."""

    ttl_s: int | None = None
    expires_at: datetime | None = None
    reissue_tokens: bool = False

    @property
    def path(self) -> str:
        return "$.session_ttl_s" if self.expires_at is None else "$.session_expires_at"

    def end(self, now: datetime) -> datetime:
        return self.expires_at or whole_second(now) + timedelta(seconds=self.ttl_s or 0)


@attrs.frozen(kw_only=True)
class Extended:
    """`tokens` are new ones for those who will be put out before the session's end."""

    session: Session
    ejections: tuple[Ejection, ...]
    tokens: tuple[Minted, ...] = ()


@attrs.frozen
class ExtensionWanted:
    """An extension on its way to the session's owner, and where the answer goes."""

    until: datetime
    reply: Reply[Session]

    def answer_without_owner(self, session: Session) -> None:
        if session.has_ended:
            self.reply.fail(SessionHasEnded(session.id))
        else:
            self.reply.fail(Busy("the session is being restarted; repeat the request", retry_after_s=1))


@attrs.define(eq=False, kw_only=True)
class Extending:
    """Carries out the extensions of one session, one at a time; `ask` hands what happened to its owner."""

    deps: Deps
    session: Callable[[], Session]
    ask: Callable[[Extension], Awaitable[Session]]
    _busy: bool = False

    def begin(self, wanted: ExtensionWanted, nursery: trio.Nursery) -> None:
        """Have it carried out by a task of `nursery`, or refuse it at once while another one is under way."""
        if self._busy or self.session().extending_to is not None:
            wanted.reply.fail(Busy("an extension of this session is under way", retry_after_s=1))
            self._count(Busy.code)
            return
        self._busy = True
        nursery.start_soon(self._carry_out, wanted, name=f"extension {self.session().id}")

    async def settle(self) -> None:
        """Find out what became of an extension that broke off. Ends when that is stored.

        Without a connector to ask it is left to a start that has one.
        """
        if self.session().provider not in self.deps.connectors.names:
            return
        failures = 0
        while (until := self.session().extending_to) is not None:
            try:
                await self._look(until)
            except (ConnectorError, StorageUnavailable, Busy) as exc:
                failures += 1
                level = logging.WARNING if failures == 1 else logging.DEBUG
                log.log(level, "extension in doubt", extra={"session_id": self.session().id, "error": str(exc)})
                await trio.sleep(doubling_s(failures, base_s=RETRY_MIN_S, max_s=RETRY_MAX_S))

    async def _carry_out(self, wanted: ExtensionWanted) -> None:
        outcome = "interrupted"
        try:
            wanted.reply.set(await self._extend(wanted.until))
            outcome = "done"
        except TransportError as exc:
            outcome = exc.code
            wanted.reply.fail(exc)
            await self.settle()
        except Exception as exc:
            # A bug in one request must not end the session.
            log.exception("extension crashed", extra={"session_id": self.session().id})
            outcome = "crashed"
            wanted.reply.fail(exc)
        finally:
            self._busy = False
            wanted.answer_without_owner(self.session())
            self._count(outcome)

    async def _extend(self, until: datetime) -> Session:
        session = self.session()
        if until <= session.expires_at:
            return session
        if session.room.expires_at is not None and until <= session.room.expires_at:
            return await self.ask(ExtensionDone(at=self.deps.clock.now(), until=until))
        connector = self.deps.connectors.get(session.provider)
        await self.ask(ExtensionIntended(until=until))
        try:
            room = await connector.extend_room(session.room.name, until)
        except (ProviderUnreachable, ProviderTimeout):
            # It may have been done: the room says so.
            if (session := await self._look(until)).expires_at >= until:
                return session
            raise
        except ConnectorError:
            await self.ask(ExtensionDropped())
            raise
        return await self.ask(ExtensionDone(at=self.deps.clock.now(), until=until, room=room))

    async def _look(self, until: datetime) -> Session:
        session = self.session()
        room = await self.deps.connectors.get(session.provider).find_room(session.room.name)
        if room is None:
            # One 404 is no proof. Where the room has gone, the poller ends the session.
            raise ProviderUnreachable(session.provider, f"{session.provider} does not show the room")
        if room.expires_at == until:
            return await self.ask(ExtensionDone(at=self.deps.clock.now(), until=until, room=room))
        return await self.ask(ExtensionDropped())

    def _count(self, outcome: str) -> None:
        self.deps.metrics.extensions.labels(outcome=outcome).inc()


@attrs.frozen
class Extensions:
    """What callers can do about a session's end; a part of `SessionService`."""

    _deps: Deps
    _extend: Callable[[str, datetime], Awaitable[Session]]
    _get: Callable[[str], Awaitable[Session]]
    _tokens: Tokens

    async def extend(self, session_id: str, request: ExtensionRequest) -> Extended:
        """Have the session end later. An end that it has already changes nothing.

        Raises:
            SessionNotFound, SessionHasEnded, InvalidRequest, Busy, ConnectorError, StorageUnavailable.

        Cancellation: ends the waiting only; the session may be extended all the same.
        """
        session = await self._get(session_id)
        if session.has_ended:
            raise SessionHasEnded(session_id)
        now = self._deps.clock.now()
        until = request.end(now)
        check(session, until, now, self._deps.settings.session_max_s, request.path)
        session = await self._extend(session_id, until)
        if session.has_ended:
            raise SessionHasEnded(session_id)
        early = ejections(session, self._deps.clock.now())
        tokens = await self._reissue(session, early) if request.reissue_tokens else ()
        return Extended(session=session, ejections=early, tokens=tokens)

    async def _reissue(self, session: Session, early: tuple[Ejection, ...]) -> tuple[Minted, ...]:
        """The tokens of those who will be put out once more, until the new end; of nobody whose token is not known."""
        leaving = {one.participant.id for one in early}
        known = [grant_of(session, one) for one in session.present if one.participant.id in leaving]
        minted = []
        for token_id in dict.fromkeys(grant.id for grant in known if grant is not None):
            left_s = int((session.expires_at - whole_second(self._deps.clock.now())).total_seconds())
            try:
                # One second less: the clock goes on between here and there.
                minted.append(await self._tokens.renew(session.id, token_id, ttl_s=max(left_s - 1, 1)))
            except TransportError as exc:
                # The session has its new end: that some tokens are missing must not hide it.
                log.warning("token not renewed", extra={"session_id": session.id, "error": str(exc)})
        return tuple(minted)
