"""What we know of the end of each session in the stream: the sequence that its next message must follow."""

from __future__ import annotations

from collections import OrderedDict

# Enough for every live session of a full service; one that falls out costs a question.
FENCES_MAX = 20_000


class Fences:
    """The sequence of the last message of each session, as far as known; bounded, the longest unused go first."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()

    def get(self, session_id: str) -> int | None:
        return self._last.get(session_id)

    def set(self, session_id: str, seq: int) -> None:
        self._last[session_id] = seq
        self._last.move_to_end(session_id)
        if len(self._last) > FENCES_MAX:
            self._last.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """Ask the stream again before this session's next message."""
        self._last.pop(session_id, None)
