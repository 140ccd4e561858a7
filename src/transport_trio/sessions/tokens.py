"""Meeting tokens for further participants: mint, list, renew (ADR 0074).

A token leaves nothing behind at the provider, so all of it is done in the caller's own task: who hangs up before the
commit has changed nothing. What is committed is the session's owner's to commit.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import attrs

from transport_trio.errors import InvalidRequest, ProviderRejected, SessionHasEnded
from transport_trio.models import FurtherGrant, Session, TokenGrant, TokenOptions, TokenRequest, provider_kind
from transport_trio.sessions.creation import whole_second
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.grants import TokenExtended, TokenGranted, check_room, find, grants_of, plan_of
from transport_trio.sessions.idempotency import IdempotencyKey, RunningKeys

BAD_REQUEST = 400
TTL_PATH = "$.options.token_ttl_s"
Command = TokenGranted | TokenExtended


@attrs.frozen(kw_only=True)
class Minted:
    """`meeting_token` is None only in a replay whose token or session has ended."""

    session: Session
    granted: FurtherGrant
    meeting_token: str | None = attrs.field(repr=False)
    replayed: bool = False


class Tokens:
    """What callers can do with the meeting tokens of a session; a part of `SessionService`."""

    def __init__(
        self,
        deps: Deps,
        keys: RunningKeys,
        get: Callable[[str], Awaitable[Session]],
        command: Callable[[str, Command], Awaitable[Session]],
    ) -> None:
        self._deps = deps
        self._keys = keys
        self._get = get
        self._command = command

    def managed_options(self, provider: str) -> frozenset[str]:
        """The keys that a token's provider options have and that callers may not set."""
        return self._deps.connectors.get(provider).managed_token_options

    async def list(self, session_id: str) -> tuple[FurtherGrant, ...]:
        """The session's tokens, the first one first.

        Raises:
            SessionNotFound.
        """
        return grants_of(await self._get(session_id))

    async def create(
        self, session_id: str, request: TokenRequest, *, idempotency: IdempotencyKey | None = None
    ) -> Minted:
        """A further token for the session's room.

        Raises:
            SessionNotFound, SessionHasEnded, TooManyTokens, InvalidRequest, IdempotencyMismatch, RequestInProgress,
            Busy, ConnectorError, StorageUnavailable.

        Cancellation: the token may be listed although nobody got it; its key gives it again.
        """
        async with self._alone(idempotency):
            if idempotency is not None and (replay := await self._replay(session_id, idempotency)) is not None:
                return replay
            session = await self._unended(session_id)
            check_room(session)
            now = self._deps.clock.now()
            not_before = _not_before(session, request, now)
            end = self._end(session, not_before or now, request.ttl_s)
            one = _planned(request, now, not_before, end)
            token = await self._mint(session, one)
            remember = idempotency.record(session.id, now, one.id) if idempotency is not None else None
            session = await self._committed(session_id, TokenGranted(at=now, granted=one, remember=remember))
            return Minted(session=session, granted=one, meeting_token=token)

    async def renew(self, session_id: str, token_id: str, *, ttl_s: int | None = None) -> Minted:
        """The token once more, with the same claims and a later end; the session's end is the latest there is.

        Raises:
            SessionNotFound, SessionHasEnded, TokenNotFound, InvalidRequest, Busy, ConnectorError, StorageUnavailable.

        Cancellation: the new end may be listed although nobody got the token; renewing again gives it.
        """
        session = await self._unended(session_id)
        found = find(session, token_id)
        now = self._deps.clock.now()
        start = max(found.options.not_before or now, now)
        end = max(self._end(session, start, ttl_s, found.ttl_s), found.grant.expires_at)
        one = attrs.evolve(found, grant=TokenGrant(expires_at=end))
        token = await self._mint(session, one)
        session = await self._committed(session_id, TokenExtended(at=now, token_id=token_id, expires_at=end))
        return Minted(session=session, granted=one, meeting_token=token)

    @asynccontextmanager
    async def _alone(self, idempotency: IdempotencyKey | None) -> AsyncIterator[None]:
        """One request with this key at a time."""
        if idempotency is None:
            yield
            return
        await self._keys.wait_for_first(idempotency)
        self._keys.begin(idempotency)
        try:
            yield
        finally:
            self._keys.over(idempotency)

    async def _replay(self, session_id: str, idempotency: IdempotencyKey) -> Minted | None:
        """What this key created before, or None when it is new or was forgotten."""
        record = await self._deps.journal.recall(idempotency.caller, idempotency.key)
        now = self._deps.clock.now()
        if record is None or not idempotency.check(record, now):
            return None
        session = await self._get(session_id)
        one = next((one for one in grants_of(session) if one.id == record.token_id), None)
        if one is None:
            return None
        token = None
        if not session.has_ended and one.grant.expires_at > now:
            token = await self._mint(session, one)
        return Minted(session=session, granted=one, meeting_token=token, replayed=True)

    async def _unended(self, session_id: str) -> Session:
        session = await self._get(session_id)
        if session.has_ended:
            raise SessionHasEnded(session_id)
        return session

    def _end(self, session: Session, start: datetime, ttl_s: int | None, usual_s: int | None = None) -> datetime:
        """The end of a token of that length: whole seconds, as providers keep them, and not after the session's."""
        start = whole_second(start)
        end = start + timedelta(seconds=ttl_s or usual_s or self._deps.settings.token_ttl_s)
        if ttl_s is not None and end > session.expires_at:
            left_s = max(int((session.expires_at - start).total_seconds()), 0)
            raise InvalidRequest((TTL_PATH, f"must not be longer than the session then lasts, {left_s} s"))
        return min(end, session.expires_at)

    async def _mint(self, session: Session, one: FurtherGrant) -> str:
        try:
            return await self._deps.connectors.get(session.provider).create_token(plan_of(session, one))
        except ProviderRejected as exc:
            if exc.status == BAD_REQUEST and one.options.provider_options:
                raise InvalidRequest((f"$.options.{provider_kind(session.provider)}", exc.detail)) from exc
            raise

    async def _committed(self, session_id: str, command: Command) -> Session:
        session = await self._command(session_id, command)
        if session.has_ended:
            raise SessionHasEnded(session_id)
        return session


def _not_before(session: Session, request: TokenRequest, now: datetime) -> datetime | None:
    """From when the token lets somebody in, where that is not at once; its length counts from then."""
    if not request.not_before_s:
        return None
    not_before = whole_second(now) + timedelta(seconds=request.not_before_s)
    if not_before >= session.expires_at:
        left_s = max(int((session.expires_at - now).total_seconds()), 0)
        raise InvalidRequest(("$.options.not_before_s", f"must be before the session's end, which is in {left_s} s"))
    return not_before


def _planned(request: TokenRequest, now: datetime, not_before: datetime | None, end: datetime) -> FurtherGrant:
    return FurtherGrant(
        id=str(uuid.uuid4()),
        participant=request.participant,
        options=TokenOptions(
            not_before=not_before,
            eject_at_expiry=request.eject_at_expiry,
            eject_after_s=request.eject_after_s,
            provider_options=request.provider_options,
        ),
        grant=TokenGrant(expires_at=end),
        ttl_s=request.ttl_s,
        created_at=now,
    )
