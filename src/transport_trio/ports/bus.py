"""What the relay asks of a bus."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import attrs

from transport_trio.events import RecordedEvent
from transport_trio.models import Check


@attrs.frozen(kw_only=True)
class BusMessage:
    """An event on its way to the bus. `expected_last` fences it: the last sequence of the session's subjects."""

    event: RecordedEvent
    epoch: str
    expected_last: int | None = None


class Bus(Protocol):
    """A stream that stores each event once. Nothing here retries: the relay does."""

    @property
    def connection(self) -> int:
        """Another number for each connection: what is known of the stream holds for one."""

    async def publish(self, message: BusMessage) -> int:
        """Store the message and return its stream sequence.

        Raises:
            BusOutOfSequence: the session's last message is not the expected one.
            BusDuplicate: a message of this epoch and id was stored before, and this one was not.
            BusRefused: the server will never take it.
            BusUnavailable: no ack; whether it was stored is unknown.
        """

    async def last_of(self, session_id: str) -> tuple[int, str, int] | None:
        """(sequence, epoch, event id) of the session's newest message in the stream, None when it has none.

        Where somebody else wrote the newest, epoch and id are those of the newest before it that a journal wrote;
        "" and 0 when there is none.

        Raises:
            BusUnavailable: no answer.
        """

    async def newest_id(self, epoch: str, since: datetime | None) -> int | None:
        """The highest event id of this epoch among what was stored since then; None when there is none.

        Raises:
            BusUnavailable: no answer.
        """

    async def wait_ready(self) -> None:
        """Return once connected with our stream in place; waits for ever, the caller sets the scope."""

    def health(self) -> Check: ...
