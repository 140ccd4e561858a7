"""What there is of recordings beside the sessions' owners: pushes are heard, lists looked at, links and deletions done.

A session may have ended long before its recording is ready. What is learnt then is stored, and told to those who asked
for events after the end.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from transport_trio.concurrency import Seldom
from transport_trio.errors import (
    Busy,
    SessionNotFound,
    StorageUnavailable,
    TransportError,
)
from transport_trio.events import Source
from transport_trio.models import (
    Capture,
    CaptureKind,
    CaptureLink,
    CaptureNews,
    CaptureStatus,
    Session,
    SessionId,
    SessionStatus,
)
from transport_trio.ports import SessionQuery, TransportConnector
from transport_trio.sessions import captures
from transport_trio.sessions.afterwards import change_ended
from transport_trio.sessions.capture_causes import CaptureCause, CaptureDeleted, CapturesGivenUp, CapturesHeard
from transport_trio.sessions.capture_counts import count_changes
from transport_trio.sessions.capture_matching import capture_of, find
from transport_trio.sessions.capture_watch import (
    LOOKS_APART_S,
    CaptureLine,
    is_long_over,
    kinds_to_look_for,
    starts_itself,
)
from transport_trio.sessions.capture_words import not_in_state
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.reply import Reply

log = logging.getLogger(__name__)

# Deletions and links under way at once.
ERRANDS_MAX = 16
# Between two pages of ended sessions, after a start.
PAGES_APART_S = 0.2
PAGE = 100
STORAGE_RETRY_S = 5.0


@attrs.define(eq=False)
class CaptureDesk:
    """`ask` has a session's owner, if any, act on a cause; `room_owner` says whose a live session's room is."""

    deps: Deps
    nursery: trio.Nursery
    get: Callable[[str], Awaitable[Session]]
    ask: Callable[[str, CaptureCause], Awaitable[Session]]
    room_owner: Callable[[str, str], SessionId | None]
    _lines: dict[str, CaptureLine] = attrs.field(init=False)
    _errands: int = 0
    _overflows: Seldom = attrs.field(factory=Seldom)

    def __attrs_post_init__(self) -> None:
        self._lines = {provider: CaptureLine() for provider in self.deps.connectors.names}
        self.deps.metrics.captures_awaited.set_function(lambda: len(self))

    def __len__(self) -> int:
        """Of how many sessions more may come to be known."""
        return sum(len(line.book) for line in self._lines.values())

    # --- for callers

    def managed_options(self, provider: str) -> frozenset[str]:
        """What callers may not set in `daily`."""
        return self.deps.connectors.get(provider).managed_capture_options

    async def link(self, session_id: str, kind: CaptureKind, capture_id: str, valid_for_s: int | None) -> CaptureLink:
        """Where to fetch it.

        Raises:
            SessionNotFound, RecordingNotFound (or of transcripts), RecordingNotInState, ConnectorError.
        """
        session, capture = await self._found(session_id, kind, capture_id)
        if capture.status is not CaptureStatus.READY or capture.provider_id is None:
            raise not_in_state(kind, capture_id, capture.status, CaptureStatus.READY)
        link = await self._connector(session).capture_link(capture.kind, capture.provider_id, valid_for_s)
        if link is None:
            # Somebody has deleted it at the provider.
            await self.learn(session.id, CaptureDeleted(capture_id=capture.id))
            raise not_in_state(kind, capture_id, CaptureStatus.DELETED, CaptureStatus.READY)
        return link

    async def delete(self, session_id: str, kind: CaptureKind, capture_id: str) -> Capture:
        """Delete it at the provider; one that is deleted stays so.

        Raises:
            SessionNotFound, RecordingNotFound (or of transcripts), RecordingNotInState, ConnectorError, Busy.
            StorageUnavailable: it is deleted, and we could not note that.

        Cancellation: ends the waiting only; it is deleted and noted all the same.
        """
        session, capture = await self._found(session_id, kind, capture_id)
        if capture.is_open:
            raise not_in_state(kind, capture_id, capture.status, "over")
        if self._errands >= ERRANDS_MAX:
            raise Busy(f"{ERRANDS_MAX} deletions are under way", retry_after_s=1)
        reply: Reply[Capture] = Reply()
        self._errands += 1
        self.nursery.start_soon(self._delete, session, capture, reply, name=f"delete recording of {session.id}")
        return await reply.wait()

    async def _delete(self, session: Session, capture: Capture, reply: Reply[Capture]) -> None:
        outcome = "interrupted"
        try:
            if capture.provider_id is not None and capture.status is not CaptureStatus.DELETED:
                await self._connector(session).delete_capture(capture.kind, capture.provider_id)
            after = await self.learn(session.id, CaptureDeleted(capture_id=capture.id))
            deleted = attrs.evolve(capture, status=CaptureStatus.DELETED)
            reply.set((find(after, capture.id) if after is not None else None) or deleted)
            outcome = "done"
        except TransportError as exc:
            outcome = exc.code
            reply.fail(exc)
        except Exception as exc:
            log.exception("deletion crashed", extra={"session_id": session.id})
            outcome = "crashed"
            reply.fail(exc)
        finally:
            self._errands -= 1
            self.deps.metrics.capture_actions.labels(action="delete", outcome=outcome).inc()
            if not reply.settled:
                reply.fail(Busy("the service is stopping; look whether it was done", retry_after_s=1))

    async def _found(self, session_id: str, kind: CaptureKind, capture_id: str) -> tuple[Session, Capture]:
        session = await self.get(session_id)
        return session, capture_of(session, kind, capture_id)

    def _connector(self, session: Session) -> TransportConnector:
        return self.deps.connectors.get(session.provider)

    # --- what is stored

    def begin(self) -> None:
        """Begin to hear and to look, until the nursery is cancelled."""
        for provider, line in self._lines.items():
            self.nursery.start_soon(self._take_in_all, provider, line, name=f"pushed recordings of {provider}")
            self.nursery.start_soon(self._look_on, line, name=f"looks for recordings of {provider}")
        self.nursery.start_soon(self.load_ended, name="recordings of ended sessions")

    async def learn(self, session_id: SessionId, cause: CaptureCause) -> Session | None:
        """Have a session learn of its captures, by its owner or, where it has ended, by itself. None: it is gone.

        Raises:
            SessionNotFound, StorageUnavailable, VersionConflict.
            Busy: it has no owner just now; nothing was stored.
        """
        session = await self.ask(session_id, cause)
        if not session.has_ended:
            return session
        # Learning twice changes nothing, should the owner have done it just before the end.
        after = await change_ended(self.deps.journal, session_id, lambda one: captures.learnt(one, cause))
        if after is not None:
            self.note(session, after)
        return after

    def note(self, before: Session | None, session: Session) -> None:
        """A session is stored like this now, and was stored like that before."""
        self._note(session)
        count_changes(self.deps.metrics, before, session)

    # --- what is pushed

    def hear(self, provider: str, news: CaptureNews) -> str:
        """Have what was pushed taken in, where it is of a session of ours, as far as that is known. What came of it."""
        line = self._lines[provider]
        whose = self._whose(provider, news)
        if whose is None and not _is_of_unknown_room(news):
            return "foreign"
        try:
            line.pushes.send_nowait(news)
        except trio.WouldBlock:
            if self._overflows.is_due():
                log.warning("pushes of recordings passed over, looks make up for them")
            if whose is not None:
                line.book.look_soon(whose)
            return "passed_over"
        return "taken"

    async def _take_in_all(self, provider: str, line: CaptureLine) -> None:
        """Have sessions learn what is pushed. Until cancelled."""
        async for news in line.heard:
            try:
                await self._take_in(provider, news)
            except TransportError as exc:
                whose = self._whose(provider, news)
                if whose is not None:
                    line.book.look_soon(whose)
                log.warning("push of a recording not stored", extra={"session_id": whose, "error": str(exc)})
            except Exception:
                # A bug in one push must not end the service.
                log.exception("push of a recording crashed", extra={"provider": provider})

    async def _take_in(self, provider: str, news: CaptureNews) -> None:
        whose = self._whose(provider, news)
        if whose is None and news.provider_id is not None and _is_of_unknown_room(news):
            # Somebody in a call has started one: neither the instance nor the room is told.
            known = await self.deps.connectors.get(provider).find_capture(news.kind, news.provider_id)
            news = attrs.evolve(news, room_name=known.room_name if known else None)
            whose = self._whose(provider, news)
        if whose is not None:
            now = self.deps.clock.now()
            await self.learn(whose, CapturesHeard(at=now, source=Source.WEBHOOK, news=(news,)))

    def _whose(self, provider: str, news: CaptureNews) -> SessionId | None:
        whose = self._lines[provider].book.whose(news.instance_id, news.provider_id)
        if whose is None and news.room_name is not None:
            whose = self.room_owner(provider, news.room_name)
        return whose

    # --- what is looked at

    async def _look_on(self, line: CaptureLine) -> None:
        """Look into a provider's lists, one at a time. Until cancelled."""
        while True:
            session_id, expect = await line.book.next()
            try:
                if await self._look(session_id, expect):
                    line.book.forget(session_id)
            except SessionNotFound:
                line.book.forget(session_id)
                self.deps.metrics.capture_looks.labels(outcome="gone").inc()
            except TransportError as exc:
                self.deps.metrics.capture_looks.labels(outcome=exc.code).inc()
                log.debug("look for recordings failed", extra={"session_id": session_id, "error": str(exc)})
                if expect:
                    line.book.expect_again(session_id)
            except Exception:
                # Nor one in a look, which comes again by and by.
                log.exception("look for recordings crashed", extra={"session_id": session_id})
                self.deps.metrics.capture_looks.labels(outcome="crashed").inc()
            await trio.sleep(LOOKS_APART_S)

    async def _look(self, session_id: SessionId, expect: bool) -> bool:
        """Look at one session's; whether nothing more can come, since the end has been looked at as well."""
        session = await self.get(session_id)
        after: Session | None = session
        for kind in kinds_to_look_for(session):
            listed = await self._connector(session).captures(session.room, kind)
            now = self.deps.clock.now()
            late = expect and starts_itself(session, kind)
            heard = CapturesHeard(at=now, source=Source.POLL, news=listed, listed=kind, expect=late)
            after = await self.learn(session_id, heard)
            self.deps.metrics.capture_looks.labels(outcome="ok").inc()
        if after is not None and is_long_over(after, now := self.deps.clock.now()):
            open_ = [one.id for one in after.captures if one.is_open]
            after = await self.learn(session_id, CapturesGivenUp(at=now))
            if open_:
                log.warning("captures given up", extra={"session_id": session_id, "capture_ids": open_})
        return after is None or (after.has_ended and not any(one.is_open for one in after.captures))

    def _note(self, session: Session) -> None:
        # Of a provider that this service was started without nothing can be known.
        if (line := self._lines.get(session.provider)) is not None:
            line.book.note(session, self.deps.clock.now())

    async def load_ended(self) -> None:
        """Take up what was still to come of sessions that ended before this start. Returns when all have been seen."""
        cursor = None
        while True:
            query = SessionQuery(status=SessionStatus.ENDED, limit=PAGE, cursor=cursor)
            try:
                page = await self.deps.journal.sessions(query)
            except StorageUnavailable as exc:
                log.warning("recordings of ended sessions not taken up yet", extra={"error": str(exc)})
                await trio.sleep(STORAGE_RETRY_S)
                continue
            for session in page.sessions:
                self._note(session)
            if page.next_cursor is None:
                return
            cursor = page.next_cursor
            await trio.sleep(PAGES_APART_S)


def _is_of_unknown_room(news: CaptureNews) -> bool:
    return news.room_name is None and news.provider_id is not None
