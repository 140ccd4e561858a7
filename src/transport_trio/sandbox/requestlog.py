"""What was asked of the sandbox, newest kept, so that a test can count and look."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class LoggedRequest:
    """`operation` is None for a path that Daily does not have; `status` None when no answer was sent."""

    number: int
    time: float
    method: str
    path: str
    operation: str | None
    body: Any
    status: int | None
    fault: str | None


class RequestLog:
    def __init__(self, keep: int) -> None:
        self._kept: deque[LoggedRequest] = deque(maxlen=keep)
        self._count = 0

    def add(self, **fields: Any) -> None:
        self._count += 1
        self._kept.append(LoggedRequest(number=self._count, **fields))

    def requests(self, operation: str | None = None) -> list[LoggedRequest]:
        return [one for one in self._kept if operation is None or one.operation == operation]

    def clear(self) -> None:
        self._kept.clear()
