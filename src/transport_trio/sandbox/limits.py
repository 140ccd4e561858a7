"""Daily's limits: so many requests of one kind in a sliding window, per key and route; and what a plan must pay for."""

from __future__ import annotations

from collections import deque

import attrs


@attrs.frozen
class Tier:
    requests: int
    window_s: float


DEFAULT = Tier(100, 5.0)
SLOW = Tier(50, 30.0)
START = Tier(5, 5.0)
BATCH = Tier(10, 30.0)

TIERS = {
    **dict.fromkeys(("delete_room", "list_recordings"), SLOW),
    **dict.fromkeys(("list_meetings", "get_meeting", "list_meeting_participants"), SLOW),
    **dict.fromkeys(("start_recording", "start_live_stream"), START),
    **dict.fromkeys(("batch_create_rooms", "batch_delete_rooms"), BATCH),
}


# For these an account must have a card at Daily.
PAID = frozenset(
    {
        *("list_webhooks", "create_webhook", "get_webhook", "update_webhook", "delete_webhook"),
        *("start_recording", "update_recording", "stop_recording"),
        *("list_recordings", "get_recording", "delete_recording", "get_recording_link"),
        *("start_transcription", "update_transcription", "stop_transcription"),
        *("list_transcripts", "get_transcript", "delete_transcript", "get_transcript_link"),
        *("start_live_stream", "update_live_stream", "stop_live_stream"),
    }
)


class RateLimits:
    """One key, so one window per operation; refused requests do not count."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}

    def take(self, operation: str, now: float) -> float | None:
        """None when the request may pass, else in how many seconds it could."""
        tier = TIERS.get(operation, DEFAULT)
        seen = self._seen.setdefault(operation, deque())
        # A clock set back must not refuse everybody until it has caught up.
        while seen and not now - tier.window_s < seen[0] <= now:
            seen.popleft()
        if len(seen) >= tier.requests:
            return seen[0] + tier.window_s - now
        seen.append(now)
        return None
