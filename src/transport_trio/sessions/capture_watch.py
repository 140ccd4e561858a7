"""When to look what has become of recordings: one look at a time for the whole service, however many there are.

Pushes tell most of it sooner. They can be lost, so nothing rests on them: what is open is asked for, the longer it
has lasted the more seldom, at a pace that leaves the provider's slow tier to others.
"""

from __future__ import annotations

import heapq
import math
from datetime import datetime, timedelta

import attrs
import trio

from transport_trio.concurrency import doubling_s
from transport_trio.models import Capture, CaptureKind, CaptureNews, Session, SessionId, SessionStatus, is_transcribed

# Daily lists recordings about twice a second for the whole domain; deletions of rooms have a limit of their own.
LOOKS_APART_S = 1.0
# The first look behind a change of state, and how seldom it becomes.
LOOK_FIRST_S = 10.0
LOOK_MAX_S = 600.0
# From the first join on, until what starts by itself has to run.
AUTO_START_S = 45.0
# Pushes that wait to be taken in; a look makes up for more.
PUSHES_MAX = 256
# What is not ready after a day is not waited for any more. Daily takes minutes.
GIVE_UP_AFTER = timedelta(days=1)


@attrs.define(eq=False)
class _Watched:
    """A session of which something more is to be known. `signature` is what we go by: when it changes, look soon."""

    session_id: SessionId
    provider: str
    signature: tuple[object, ...] = ()
    looks: int = 0
    due: float = math.inf
    expect_at: float = math.inf
    expected: bool = False  # its auto start has been waited for

    @property
    def is_busy(self) -> bool:
        """Whether there is a reason to look: else only others could start one, of which pushes and the end tell."""
        return len(self.signature) > 1 or self.signature[0] is True


@attrs.define(eq=False)
class CaptureBook:
    """Which sessions wait for something, whose instance is whose, and who is to be looked for next."""

    _watched: dict[SessionId, _Watched] = attrs.field(factory=dict)
    _instances: dict[str, SessionId] = attrs.field(factory=dict)
    _due: list[tuple[float, int, _Watched]] = attrs.field(factory=list)
    _entries: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __len__(self) -> int:
        return len(self._watched)

    def whose(self, *ids: str | None) -> SessionId | None:
        """The session that waits for one of these instances or recordings."""
        return next((self._instances[id_] for id_ in ids if id_ in self._instances), None)

    def note(self, session: Session, now: datetime) -> None:
        """The session is stored like this now."""
        watched = self._watched.get(session.id)
        if not _is_awaited(session, now, known=watched is not None):
            self.forget(session.id)
            return
        if watched is None:
            watched = self._watched[session.id] = _Watched(session.id, session.provider)
        for capture in session.captures:
            for id_ in _names_of(capture):
                self._instances[id_] = session.id
        signature = (
            session.has_ended,
            *((one.id, one.status) for one in session.captures if one.is_open and one.stored),
        )
        if signature != watched.signature:
            watched.signature, watched.looks = signature, 0
            if watched.is_busy:
                self._plan(watched, LOOK_FIRST_S)
        if _may_start_itself(session) and not watched.expected:
            watched.expected = True
            watched.expect_at = trio.current_time() + AUTO_START_S
            self._plan(watched, AUTO_START_S)

    def look_soon(self, session_id: SessionId) -> None:
        """Something has been lost, perhaps."""
        if (watched := self._watched.get(session_id)) is not None:
            self._plan(watched, 0.0)

    def expect_again(self, session_id: SessionId) -> None:
        """The look that was to show what has started by itself has failed."""
        if (watched := self._watched.get(session_id)) is not None:
            watched.expect_at = trio.current_time() + AUTO_START_S
            self._plan(watched, AUTO_START_S)

    def forget(self, session_id: SessionId) -> None:
        if self._watched.pop(session_id, None) is not None:
            self._instances = {id_: whose for id_, whose in self._instances.items() if whose != session_id}

    async def next(self) -> tuple[SessionId, bool]:
        """Wait until a session is due: which, and whether what starts by itself has to run by now."""
        while True:
            self._news = trio.Event()
            while self._due and not self._counts(*self._due[0]):
                heapq.heappop(self._due)
            with trio.move_on_at(self._due[0][0] if self._due else math.inf):
                await self._news.wait()
                continue
            _, _, watched = heapq.heappop(self._due)
            watched.looks += 1
            expect = watched.expect_at <= trio.current_time()
            if expect:
                watched.expect_at = math.inf
            wait_s = doubling_s(watched.looks + 1, base_s=LOOK_FIRST_S, max_s=LOOK_MAX_S)
            self._plan(watched, wait_s if watched.is_busy else math.inf, later=True)
            return watched.session_id, expect

    def _counts(self, due: float, _entry: int, watched: _Watched) -> bool:
        return watched.due == due and self._watched.get(watched.session_id) is watched

    def _plan(self, watched: _Watched, wait_s: float, *, later: bool = False) -> None:
        due = trio.current_time() + wait_s
        due = min(due, watched.expect_at) if later else min(due, watched.due, watched.expect_at)
        if due == watched.due and not later:
            return
        watched.due = due
        self._entries += 1
        heapq.heappush(self._due, (due, self._entries, watched))
        self._news.set()


def _names_of(capture: Capture) -> tuple[str, ...]:
    """What the provider may call it in news that name no room, and calls no other. Others' live streams share names."""
    if capture.kind is CaptureKind.LIVE_STREAM and not capture.ours:
        return ()
    return (capture.id,) if capture.provider_id is None else (capture.id, capture.provider_id)


class CaptureLine:
    """What concerns one provider: one that is slow must not hold up what others tell."""

    def __init__(self) -> None:
        self.book = CaptureBook()
        self.pushes, self.heard = trio.open_memory_channel[CaptureNews](PUSHES_MAX)


def _is_awaited(session: Session, now: datetime, *, known: bool) -> bool:
    """Whether more may come to be known: something is open, or may be.

    `known`: it was waited for before. Where that was while it lived, its end is a reason to look once more.
    """
    if any(capture.is_open for capture in session.captures):
        return True
    if is_long_over(session, now):
        return False
    return bool(kinds_of_others(session)) and (known or not session.has_ended)


def is_long_over(session: Session, now: datetime) -> bool:
    """Whether what is still open, behind one more look, is to be given up."""
    return session.ended_at is not None and now - session.ended_at > GIVE_UP_AFTER


def kinds_of_others(session: Session) -> tuple[CaptureKind, ...]:
    """What others than we may start: people in the call, or a token that brings it along."""
    config = session.room_config
    kinds = {
        CaptureKind.RECORDING: config.enable_recording or config.auto_start_recording,
        CaptureKind.TRANSCRIPTION: is_transcribed(config),
    }
    return tuple(kind for kind, may in kinds.items() if may)


def kinds_to_look_for(session: Session) -> tuple[CaptureKind, ...]:
    """Of which kinds a list may tell something new."""
    others = kinds_of_others(session)
    awaited = {one.kind for one in session.captures if one.is_open and one.stored}
    return tuple(kind for kind in CaptureKind if kind in others or kind in awaited)


def starts_itself(session: Session, kind: CaptureKind) -> bool:
    config = session.room_config
    wanted = {
        CaptureKind.RECORDING: config.auto_start_recording,
        CaptureKind.TRANSCRIPTION: config.auto_start_transcription,
    }
    return wanted.get(kind, False) and kind not in session.auto_starts_checked


def _may_start_itself(session: Session) -> bool:
    return session.status is SessionStatus.ACTIVE and any(starts_itself(session, kind) for kind in CaptureKind)
