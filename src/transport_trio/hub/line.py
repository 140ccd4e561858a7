"""What the hub asks of a listener's connection."""

from __future__ import annotations

from typing import Protocol

import trio


class Line(Protocol):
    """The way to one peer. Nothing here but `wait_room` waits."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Hand over as much as there is room for now; how many bytes that was.

        Raises:
            BlockingIOError: there is no room.
            OSError: the peer has gone.
        """

    async def wait_room(self) -> None:
        """Return when `send` may find room again.

        Raises:
            trio.ClosedResourceError: our end is closed.
        """

    @property
    def has_unread(self) -> bool:
        """Whether the peer has sent something that nobody has looked at yet."""

    def close_soon(self) -> None:
        """The last that this listener gets is on its way, or waits for room: whatever the peer does, end it soon."""

    def sent_all(self) -> None:
        """What had waited for room has all been handed over."""

    def cut(self) -> None:
        """Reset the connection: what is under way is worth nothing any more."""


class NoLine:
    """What a listener has when its connection has ended: the two would keep each other in memory."""

    def send(self, data: bytes | memoryview, /) -> int:
        raise BrokenPipeError

    async def wait_room(self) -> None:
        raise trio.ClosedResourceError

    @property
    def has_unread(self) -> bool:
        return False

    def close_soon(self) -> None:
        pass

    def sent_all(self) -> None:
        pass

    def cut(self) -> None:
        pass


NO_LINE = NoLine()
