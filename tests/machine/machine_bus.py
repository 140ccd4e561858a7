"""What the stream on the bus may hold, and must."""

from __future__ import annotations

from collections import defaultdict

from machine_rig import World

from fakes_connector import at
from transport_trio.events import RecordedEvent

# A few faults in a row, each followed by a back-off of at most five seconds.
DELIVERED_S = 15.0
# Without a fault nothing is on its way for longer.
RECENT_S = 0.5


class BusModel:
    """Each event once, and in the order of its session; all of them once the bus has been well for a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._well_since: float | None = 0.0
        self._wipes = 0
        self._before: set[int] = set()  # stored in a stream that was wiped since

    def check(self, events: list[RecordedEvent]) -> None:
        world = self._world
        if world.wipes != self._wipes:
            self._wipes = world.wipes
            self._before |= world.wiped
        if world.service is not None:
            assert {kept.epoch for kept in world.bus.stream} <= {world.service.journal.epoch}, "another epoch"
        ids = [kept.event_id for kept in world.bus.stream]
        assert len(set(ids)) == len(ids), "an event twice in the stream"
        of_session: defaultdict[str, list[int]] = defaultdict(list)
        for kept in world.bus.stream:
            of_session[kept.session_id].append(kept.event_id)
        assert all(stored == sorted(stored) for stored in of_session.values()), "the stream is out of order"
        assert self._before.intersection(ids) <= set(range(world.bookmark_at_wipe + 1, len(events) + 1)), (
            "an event from before the bookmark came again"
        )
        if world.service is not None:
            known = {(event.id, event.session_id) for event in events}
            assert {(kept.event_id, kept.session_id) for kept in world.bus.stream} <= known, "told, but not stored"
        self._check_complete(events, set(ids))

    def _check_complete(self, events: list[RecordedEvent], stored: set[int]) -> None:
        world = self._world
        if world.service is None or world.fates or not world.bus_up:
            self._well_since = None
            return
        if self._well_since is None:
            self._well_since = world.now
        recent = at(world.now - RECENT_S)
        well_since = max(self._well_since, world.fates.last_at)
        if world.now - well_since < DELIVERED_S and well_since > 0.0:
            return
        if world.now - world.service.began < RECENT_S:
            return
        missing = {event.id for event in events if event.time <= recent} - stored - self._before
        assert not missing, f"events are missing in the stream: {missing}"
        if events and events[-1].time <= recent:
            assert world.service.relay.pending == 0
            assert world.service.metric("pending_messages") == 0
