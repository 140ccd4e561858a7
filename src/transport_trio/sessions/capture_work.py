"""What callers want of what is made of a call: started, changed, stopped. By a task beside the session's owner.

A start is stored before the provider is asked: whatever may run is known of, and looked after, also after a crash in
between. Everything ends with the session, so that nothing reaches the next room of that name.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import ClassVar, Protocol

import attrs
import trio

from transport_trio.errors import (
    Busy,
    ConnectorError,
    NobodyInCall,
    ProviderRejected,
    RecordingNotEnabled,
    SessionHasEnded,
    StorageUnavailable,
    TransportError,
)
from transport_trio.events import Source
from transport_trio.models import (
    Capture,
    CaptureKind,
    CaptureMoment,
    CaptureNews,
    CaptureOptions,
    CaptureStatus,
    Session,
    is_transcribed,
    new_capture_id,
)
from transport_trio.ports import TransportConnector
from transport_trio.sessions.capture_causes import (
    CaptureChanged,
    CaptureIntended,
    CaptureRefused,
    CapturesHeard,
    CaptureStopped,
)
from transport_trio.sessions.capture_matching import capture_of, find
from transport_trio.sessions.capture_words import in_callers_words, is_not_enabled, not_in_state
from transport_trio.sessions.deps import Deps
from transport_trio.sessions.lifecycle import Cause
from transport_trio.sessions.reply import Reply

log = logging.getLogger(__name__)

# Of one session at once; Daily lets the whole domain start one a second.
WORK_MAX = 4


class CaptureAction(Protocol):
    """Something done to a capture. `name` is a metric label."""

    name: ClassVar[str]

    async def perform(self, work: CaptureWork) -> Capture:
        """Have it done; the capture afterwards.

        Raises:
            TransportError: it was not done, or nobody knows.
        """


@attrs.frozen(kw_only=True)
class StartCapture:
    name: ClassVar[str] = "start"
    kind: CaptureKind
    options: CaptureOptions = attrs.field(factory=CaptureOptions)

    async def perform(self, work: CaptureWork) -> Capture:
        type_ = self.options.given.get("type", "cloud") if self.kind is CaptureKind.RECORDING else None
        capture = Capture(
            id=new_capture_id(),
            kind=self.kind,
            asked_at=work.deps.clock.now(),
            type=type_,
            stored=_leaves_something(self.kind, work.session()),
            destinations=self.options.destinations,
        )
        room_name = (await work.tell(CaptureIntended(capture=capture, additional=self.options.additional))).room.name
        try:
            await work.connector.start_capture(room_name, self.kind, capture.id, work.at_provider(self.options))
        except ConnectorError as exc:
            if not exc.in_doubt:
                await self._take_back(work, capture)
            if is_not_enabled(exc, self.kind, work.session().room_config):
                raise RecordingNotEnabled(exc.detail) from exc
            if (fault := in_callers_words(exc, self.options)) is not None:
                raise fault from exc
            raise
        if not capture.stored:
            # No list will ever name it: the provider's word is all that there is.
            at = work.deps.clock.now()
            begun = CaptureNews(kind=self.kind, moment=CaptureMoment.STARTED, occurred_at=at, instance_id=capture.id)
            await work.tell(CapturesHeard(at=at, source=Source.REQUEST, news=(begun,)))
        return find(work.session(), capture.id) or capture

    async def _take_back(self, work: CaptureWork, capture: Capture) -> None:
        try:
            await work.ask(CaptureRefused(capture_id=capture.id))
        except (StorageUnavailable, Busy) as exc:
            # It stays as one that is starting; that it never does is found out.
            told = {"session_id": work.session().id, "error": str(exc)}
            log.warning("refused start not stored", extra=told)


@attrs.frozen(kw_only=True)
class UpdateCapture:
    name: ClassVar[str] = "update"
    kind: CaptureKind = CaptureKind.RECORDING
    capture_id: str
    options: CaptureOptions

    async def perform(self, work: CaptureWork) -> Capture:
        capture = work.running(self.kind, self.capture_id)
        instance, asked_at = instance_of(capture), work.deps.clock.now()
        room_name, options = work.session().room.name, work.at_provider(self.options)
        try:
            await work.connector.update_capture(room_name, capture.kind, instance, options)
        except ConnectorError as exc:
            if (fault := in_callers_words(exc, self.options)) is not None:
                raise fault from exc
            raise
        await work.tell(CaptureChanged(at=work.deps.clock.now(), asked_at=asked_at, capture_id=capture.id))
        return find(work.session(), capture.id) or capture


@attrs.frozen(kw_only=True)
class StopCapture:
    name: ClassVar[str] = "stop"
    kind: CaptureKind = CaptureKind.RECORDING
    capture_id: str

    async def perform(self, work: CaptureWork) -> Capture:
        capture = work.running(self.kind, self.capture_id)
        source = Source.REQUEST
        try:
            await work.connector.stop_capture(work.session().room.name, capture.kind, instance_of(capture))
        except ConnectorError as exc:
            if exc.in_doubt:
                await work.tell(self._stopped(work, in_doubt=True))
            if exc.in_doubt or not _is_over(self.kind, exc):
                raise
            source = Source.INFERRED
        await work.tell(self._stopped(work, source=source))
        return find(work.session(), capture.id) or capture

    def _stopped(self, work: CaptureWork, *, in_doubt: bool = False, source: Source = Source.REQUEST) -> CaptureStopped:
        at = work.deps.clock.now()
        return CaptureStopped(at=at, capture_id=self.capture_id, in_doubt=in_doubt, source=source)


def _is_over(kind: CaptureKind, exc: ConnectorError) -> bool:
    """Whether a refused stop says that nothing runs. Of live streams there is no list that would tell it later."""
    if kind is not CaptureKind.LIVE_STREAM:
        return False
    return isinstance(exc, NobodyInCall) or (isinstance(exc, ProviderRejected) and exc.status == HTTPStatus.BAD_REQUEST)


def _leaves_something(kind: CaptureKind, session: Session) -> bool:
    if kind is CaptureKind.TRANSCRIPTION:
        return is_transcribed(session.room_config)
    return kind is CaptureKind.RECORDING


def instance_of(capture: Capture) -> str | None:
    """By what the provider knows it; None: by what it takes where nothing is named."""
    if capture.ours:
        return capture.id
    return capture.provider_id if capture.kind is CaptureKind.LIVE_STREAM else None


@attrs.frozen
class CaptureWanted:
    """An action on its way to the session's owner, and where the answer goes."""

    action: CaptureAction
    reply: Reply[Capture]

    def answer_without_owner(self, session: Session) -> None:
        """End the caller's waiting; an answer that was given stays."""
        if session.has_ended:
            self.reply.fail(SessionHasEnded(session.id))
        else:
            self.reply.fail(Busy("the session is being restarted; look whether it was done", retry_after_s=1))


@attrs.define(eq=False, kw_only=True)
class CaptureWork:
    """Carries out such actions for one session; `ask` hands what comes of them to its owner."""

    deps: Deps
    session: Callable[[], Session]
    ask: Callable[[Cause], Awaitable[Session]]
    _under_way: int = 0

    @property
    def connector(self) -> TransportConnector:
        return self.deps.connectors.get(self.session().provider)

    async def tell(self, cause: Cause) -> Session:
        """Have the owner store it.

        Raises:
            SessionHasEnded: it has not, since the session ended meanwhile.
            StorageUnavailable, AlreadyRunning, TooManyRecordings (or of transcripts).
        """
        session = await self.ask(cause)
        if session.has_ended:
            raise SessionHasEnded(session.id)
        return session

    def running(self, kind: CaptureKind, capture_id: str) -> Capture:
        """The capture, which may still be starting.

        Raises:
            RecordingNotFound, RecordingNotInState, or those of another kind.
        """
        capture = capture_of(self.session(), kind, capture_id)
        if capture.status not in {CaptureStatus.STARTING, CaptureStatus.RUNNING, CaptureStatus.STOPPING}:
            raise not_in_state(kind, capture_id, capture.status, "running")
        return capture

    def at_provider(self, options: CaptureOptions) -> CaptureOptions:
        """The same with the provider's ids of participants: who rejoined has a new one there and keeps ours."""
        if "participant_ids" not in options.given:
            return options
        known = {one.participant.id: one.provider_id for one in self.session().present}
        ids = [known.get(id_, id_) for id_ in options.given["participant_ids"]]
        return attrs.evolve(options, given={**options.given, "participant_ids": ids})

    def begin(self, wanted: CaptureWanted, nursery: trio.Nursery) -> None:
        """Have it carried out by a task of `nursery`, or refuse it at once when there are enough."""
        if self._under_way >= WORK_MAX:
            wanted.reply.fail(
                Busy(f"{WORK_MAX} starts, changes and stops of this session are under way", retry_after_s=1)
            )
            self._count(wanted, Busy.code)
            return
        self._under_way += 1
        nursery.start_soon(self._carry_out, wanted, name=f"capture {wanted.action.name} {self.session().id}")

    async def _carry_out(self, wanted: CaptureWanted) -> None:
        outcome = "interrupted"
        try:
            wanted.reply.set(await wanted.action.perform(self))
            outcome = "done"
        except TransportError as exc:
            outcome = exc.code
            wanted.reply.fail(exc)
        except Exception as exc:
            # A bug in one request must not end the session.
            log.exception(
                "capture action crashed", extra={"session_id": self.session().id, "action": wanted.action.name}
            )
            outcome = "crashed"
            wanted.reply.fail(exc)
        finally:
            self._under_way -= 1
            wanted.answer_without_owner(self.session())
            self._count(wanted, outcome)

    def _count(self, wanted: CaptureWanted, outcome: str) -> None:
        self.deps.metrics.capture_actions.labels(action=wanted.action.name, outcome=outcome).inc()
