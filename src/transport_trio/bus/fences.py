"""What we know of the end of each session in the stream: what is there, and what its next message must follow."""

from __future__ import annotations

from collections import OrderedDict

import attrs

# Enough for every live session of a full service; one that falls out costs a question.
FENCES_MAX = 20_000


@attrs.frozen
class Fence:
    """The sequence of the session's last message, and the id up to which its events are in the stream.

    It holds for one connection. Behind the next one the stream may have begun anew: a late copy of a message with an
    old fence could find the very sequence there that it expects, and be stored beside the message itself.
    """

    connection: int
    seq: int
    event_id: int


class Fences:
    """The ends of the sessions, as far as known; bounded: the longest unused go first."""

    def __init__(self) -> None:
        self._ends: OrderedDict[str, Fence] = OrderedDict()

    def get(self, session_id: str, connection: int) -> Fence | None:
        """What was learnt over this connection."""
        fence = self._ends.get(session_id)
        return fence if fence is not None and fence.connection == connection else None

    def set(self, session_id: str, fence: Fence) -> None:
        self._ends[session_id] = fence
        self._ends.move_to_end(session_id)
        if len(self._ends) > FENCES_MAX:
            self._ends.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """Ask the stream again before this session's next message."""
        self._ends.pop(session_id, None)
