"""What is made of calls while they go on: recordings, transcriptions, live streams. When each begins, ends, is ready.

Nothing here waits: `play` lets happen what was due by then, as of when it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from transport_trio.sandbox.call import Call, Happening
from transport_trio.sandbox.chance import random_uuid
from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.refusals import ApiError, invalid
from transport_trio.sandbox.rooms import Room

Kind = Literal["recording", "transcription", "streaming"]
Moment = Literal["started", "updated", "ended", "ready", "error"]

# The instance that is meant where nobody names one.
INSTANCE = "c3df927c-f738-4471-a2b7-066fa7e95a6b"
KEPT = 10_000
MIN_IDLE_S = 300.0
MAX_DURATION_S = 10_800.0
LIMITED = frozenset({"recording", "streaming"})  # by a duration and by idleness; a transcription is by neither


@attrs.define(eq=False, kw_only=True)
class Capture:
    """One of them. Times are unix seconds; `begun_at` lies ahead while a worker is being found."""

    id: str
    kind: Kind
    instance_id: str
    room_id: str
    room_name: str
    meeting_id: str
    call: Call = attrs.field(repr=False)
    started_by: str
    options: dict[str, Any]
    place: Mapping[str, Any]  # where it is kept: `bucket_name`, `bucket_region`, `key`
    stored: bool
    share_token: str
    tells_meeting: bool  # Daily's recordings often do not say to which meeting they belong
    begun_at: float
    begun: bool = False
    ended_at: float | None = None
    ready_at: float | None = None
    finished: bool = False
    failed: bool = False
    present: set[str] = attrs.field(factory=set)
    max_participants: int = 0

    @property
    def is_running(self) -> bool:
        return self.ended_at is None and not self.failed

    @property
    def is_known(self) -> bool:
        """Whether lists tell of it."""
        return self.stored and self.begun and not self.failed

    @property
    def duration_s(self) -> int:
        return int((self.ended_at or self.begun_at) - self.begun_at)

    @property
    def tracks(self) -> list[dict[str, Any]]:
        """Of a recording of raw tracks, one for each who was there at once."""
        if self.options.get("type") != "raw-tracks":
            return []
        size = 16_000 * self.duration_s
        names = (f"{self.place['key']}-{number}-cam-audio" for number in range(self.max_participants))
        return [{"type": "audio", "size": size, "s3Key": name} for name in names]

    def count(self, happening: Happening) -> None:
        """Note who is there."""
        if happening.type == "participant.joined":
            self.present.add(happening.participant.id)
            self.max_participants = max(self.max_participants, len(self.present))
        elif happening.type == "participant.left":
            self.present.discard(happening.participant.id)

    def ends_by_itself_at(self, idle_stop_s: float) -> float:
        if self.kind not in LIMITED:
            return float("inf")
        latest: float = self.begun_at + self.options.get("maxDuration", MAX_DURATION_S)
        if self.call.idle_since is None:
            return latest
        idle_since = max(self.call.idle_since, self.begun_at)
        patience_s: float = self.options.get("minIdleTimeOut", MIN_IDLE_S)
        return min(latest, idle_since + patience_s + idle_stop_s)


class Captures:
    """All of a domain's. `tell` hears of each moment, and when it was."""

    def __init__(
        self,
        chance: random.Random,
        config: Callable[[], SandboxConfig],
        tell: Callable[[Moment, Capture, float, str | None], None],
    ) -> None:
        self._random = chance
        self._config = config
        self._tell = tell
        self._open: list[Capture] = []
        self._finished: dict[str, Capture] = {}  # and kept; the oldest first

    @property
    def any_open(self) -> bool:
        return bool(self._open)

    def start(
        self,
        room: Room,
        kind: Kind,
        options: Mapping[str, Any],
        now: float,
        *,
        place: Mapping[str, Any],
        stored: bool,
        started_by: str | None = None,
    ) -> Capture:
        """Raises:
        ApiError: one of this kind and instance runs in the room, or no worker is free.
        """
        instance_id = options.get("instanceId", INSTANCE)
        if self.running(room, kind, instance_id) is not None:
            raise invalid(f"room {room.name} has an active stream")
        config, present = self._config(), room.call.present(now)
        if len(self._open) >= config.capture_workers:
            raise ApiError(503, "server-error", "no worker is available, try again later")
        capture = Capture(
            id=random_uuid(self._random),
            kind=kind,
            instance_id=instance_id,
            room_id=room.id,
            room_name=room.name,
            meeting_id=present[0].meeting_id,
            call=room.call,
            started_by=started_by or random_uuid(self._random),
            options=dict(options),
            place=place,
            stored=stored,
            share_token=f"{self._random.getrandbits(72):018x}",
            tells_meeting=self._random.random() >= config.meeting_id_missing,
            begun_at=now + config.capture_start_s,
            present={one.id for one in present},
            max_participants=len(present),
        )
        self._open.append(capture)
        self._play(capture, now)
        return capture

    def running(self, room: Room, kind: Kind, instance_id: str) -> Capture | None:
        for capture in self._open:
            same = (capture.room_id, capture.kind, capture.instance_id) == (room.id, kind, instance_id)
            if same and capture.is_running:
                return capture
        return None

    def all_open(self, room: Room) -> list[Capture]:
        """Those of the room that run, or are on their way to being ready."""
        return [capture for capture in self._open if capture.room_id == room.id]

    def known(self, kind: Kind) -> list[Capture]:
        return [one for one in (*self._finished.values(), *self._open) if one.kind == kind and one.is_known]

    def forget(self, capture: Capture) -> None:
        """It is deleted."""
        del self._finished[capture.id]

    def update(self, capture: Capture, changes: Mapping[str, Any], now: float) -> None:
        capture.options.update(changes)
        if capture.begun:
            self._tell("updated", capture, now, None)

    def stop(self, capture: Capture, now: float) -> None:
        self._end(capture, now)
        self.play(now)

    def stop_all(self, room: Room, kind: Kind, now: float) -> None:
        for capture in self.all_open(room):
            if capture.kind == kind and capture.is_running:
                self.stop(capture, now)

    def fail(self, capture: Capture, message: str, now: float) -> None:
        """It breaks off; nothing of it is kept."""
        capture.failed = True
        self._open.remove(capture)
        self._tell("error", capture, now, message)

    def heard(self, happening: Happening) -> None:
        """Something has happened in a call."""
        for capture in [one for one in self._open if one.meeting_id == happening.participant.meeting_id]:
            self._play(capture, happening.at)
            if capture.is_running and happening.type == "meeting.ended":
                self._end(capture, happening.at)
            elif capture.is_running:
                capture.count(happening)

    def play(self, now: float) -> None:
        """Let happen what is due by now."""
        for capture in tuple(self._open):
            self._play(capture, now)

    def _play(self, capture: Capture, now: float) -> None:
        if not capture.begun and capture.is_running and capture.begun_at <= now:
            capture.begun = True
            self._tell("started", capture, capture.begun_at, None)
        if capture.is_running and (ends_at := capture.ends_by_itself_at(self._config().idle_stop_s)) <= now:
            self._end(capture, ends_at)
        if capture.ready_at is not None and capture.ready_at <= now and capture in self._open:
            self._finish(capture)

    def _end(self, capture: Capture, at: float) -> None:
        capture.ended_at = at
        if not capture.begun:
            self._open.remove(capture)  # it never came about
            return
        self._tell("ended", capture, at, None)
        config = self._config()
        waits_s = {"recording": config.recording_ready_s, "transcription": config.transcript_ready_s}
        capture.ready_at = at + waits_s.get(capture.kind, 0.0)

    def _finish(self, capture: Capture) -> None:
        self._open.remove(capture)
        if not capture.stored:
            return
        capture.finished = True
        self._finished[capture.id] = capture
        if len(self._finished) > KEPT:
            del self._finished[next(iter(self._finished))]
        self._tell("ready", capture, capture.ready_at or 0.0, None)
