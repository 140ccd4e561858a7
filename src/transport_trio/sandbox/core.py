"""The sandbox itself, without HTTP: one domain with its rooms, people, limits, faults and clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from transport_trio.sandbox.call import Happening, Participant
from transport_trio.sandbox.capture_events import capture_event
from transport_trio.sandbox.captures import Capture, Captures, Moment
from transport_trio.sandbox.chance import chance, random_uuid
from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.crowd import NAMES, Crowd
from transport_trio.sandbox.door import Badge, JoinRefused, admit
from transport_trio.sandbox.faults import Faults
from transport_trio.sandbox.happenings import event_of
from transport_trio.sandbox.limits import RateLimits
from transport_trio.sandbox.meetings import Meetings
from transport_trio.sandbox.requestlog import RequestLog
from transport_trio.sandbox.rooms import Room, Rooms
from transport_trio.sandbox.starting import start_with
from transport_trio.sandbox.tokens import Signer
from transport_trio.sandbox.webhooks import Webhook, Webhooks

LATEST = 253_370_764_800.0  # the year 9999
VISITS_KEPT = 10_000  # of meetings, for analytics
SWEEP_S = 1.0  # between two looks for rooms to collect

Post = Callable[[Webhook, bytes, str], Awaitable[int | None]]


async def _nobody_answers(_webhook: Webhook, _body: bytes, _timestamp: str) -> int | None:
    return None


class Sandbox:
    """All state, in memory only. Synchronous but for what a webhook is sent: a request is carried out in one step.

    `post` sends to a webhook and tells the status of the answer, if there is one; `wake` is called when something
    is due to be sent.
    """

    def __init__(
        self,
        config: SandboxConfig,
        wall_clock: Callable[[], float],
        *,
        post: Post = _nobody_answers,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._initial = config
        self._wall_clock = wall_clock
        self._post, self._wake = post, wake
        self.reset({})

    def reset(self, changes: dict[str, Any]) -> None:
        """Begin anew: no rooms, no faults, no log, the clock right, and the first configuration but for `changes`.

        Raises:
            ValueError: a change makes no sense; nothing has happened then.
        """
        config = self._initial.changed(changes)
        self.config = config
        self._ahead_s = 0.0
        self.signer = Signer(api_key=config.api_key, domain_id=config.domain_id)
        self.domain_config: dict[str, Any] = {}
        self.rooms = Rooms(config.seed, config.max_rooms, self._happened)
        self.webhooks = Webhooks(chance(config.seed, "webhooks"), config.webhooks_max, self._wake)
        self.captures = Captures(chance(config.seed, "captures"), lambda: self.config, self._captured)
        self.faults = Faults(config.seed)
        self.limits = RateLimits()
        self.meetings = Meetings(VISITS_KEPT)
        self.log = RequestLog(config.requests_max)
        self.crowd = Crowd(config.seed, self._crowd_join, self._crowd_leave)
        self._random = chance(config.seed, "sessions")
        self._swept_at = self.now()
        self.faults.arm(config.faults, self.now())

    def configure(self, changes: dict[str, Any]) -> None:
        """Change settings while running.

        Raises:
            ValueError: a change makes no sense; none was made then.
        """
        self.config = self.config.changed(changes)

    def now(self) -> float:
        """The sandbox's time of day: the wall clock's, plus what it was moved ahead."""
        return self._wall_clock() + self._ahead_s

    def advance(self, by_s: float) -> float:
        """Move the time of day.

        Raises:
            ValueError: beyond the year 9999, for which there is no date.
        """
        if self.now() + by_s > LATEST:
            raise ValueError("advance_s leads beyond the year 9999; POST /sandbox/reset sets the clock right again")
        self._ahead_s += by_s
        return self.now()

    def settle(self) -> float:
        """Let happen what is due by now; the time up to which it has."""
        now = self.now()
        self.crowd.play(now)
        if not self._swept_at <= now < self._swept_at + SWEEP_S:
            self._swept_at = now
            self.rooms.collect(now, self.config.collect_after_s)
        if self.webhooks.any_active or self.captures.any_open:
            for room in self.rooms.all():
                room.call.present(now)  # who is to be put out is put out when somebody looks
        self.captures.play(now)
        return now

    async def post(self, webhook: Webhook, body: bytes) -> int | None:
        """Send this to a webhook; the status of its answer, None when there is none."""
        now = self.now()
        return await self._post(webhook, body, str(int(now * 1000 if self.config.webhook_ms else now)))

    def room_url(self, room: Room) -> str:
        return self.config.room_url.format(domain=self.config.domain, name=room.name)

    def join(self, room_name: str, token: str | None, user_name: str | None, now: float) -> Participant:
        """Enter a room with what a browser would bring.

        Raises:
            JoinRefused: with Daily's reason.
        """
        room = self.rooms.find(room_name)
        if room is None:
            raise JoinRefused("no-room", "the room does not exist")
        return self._enter(room, admit(room, token, user_name, self.signer, now), now)

    def _enter(self, room: Room, badge: Badge, now: float) -> Participant:
        participant = Participant(
            id=random_uuid(self._random),
            user_id=badge.user_id,
            user_name=badge.user_name,
            is_owner=badge.is_owner,
            hidden=badge.hidden,
            joined_at=now,
            eject_at=badge.eject_at,
            permissions=badge.permissions,
            meeting_id=room.call.meeting_id(now) or random_uuid(self._random),
        )
        room.call.enter(
            participant,
            ghost_s=self.config.ghost_s,
            lag_s=self.config.presence_lag_s,
            unique_user_ids=room.setting("enforce_unique_user_ids"),
        )
        start_with(self, room, participant, badge.token, now)
        return participant

    def _happened(self, room_name: str, happening: Happening) -> None:
        self.captures.heard(happening)
        self.meetings.note(room_name, happening)
        if self.webhooks.any_active:
            self.webhooks.tell(event_of(happening, room_name, self.now()))

    def _captured(self, moment: Moment, capture: Capture, at: float, message: str | None) -> None:
        event = capture_event(moment, capture, at, message, domain_id=self.config.domain_id, now=self.now())
        if event is not None and self.webhooks.any_active:
            self.webhooks.tell(event)

    def _crowd_join(self, room_id: str, room_name: str, person: int, at: float) -> str | None:
        room = self.rooms.find(room_name)
        if room is None or room.id != room_id:
            return None
        name = NAMES[person]
        token = self.signer.mint({"room_name": room_name, "user_name": name, "user_id": f"user-{name.lower()}"}, at)
        try:
            return self.join(room_name, token, None, at).id
        except JoinRefused:
            return None

    def _crowd_leave(self, room_id: str, room_name: str, session_id: str, at: float) -> None:
        room = self.rooms.find(room_name)
        if room is not None and room.id == room_id:
            room.call.leave(session_id, at)
