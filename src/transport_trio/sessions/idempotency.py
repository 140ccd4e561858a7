"""Requests that are repeated with a key: one at a time, and remembered for a day."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs
import trio

from transport_trio.errors import IdempotencyMismatch, RequestInProgress
from transport_trio.models import IdempotencyRecord, SessionId

KEEP_S = 24 * 3600
# How long a repeat waits for the first request before it is told to come back.
REPEAT_WAIT_S = 10.0
RETRY_AFTER_S = 1.0


@attrs.frozen(kw_only=True)
class IdempotencyKey:
    """A caller's key, with what tells callers apart (`caller`) and requests apart (`fingerprint`)."""

    caller: str
    key: str
    fingerprint: str

    @property
    def slot(self) -> tuple[str, str]:
        return self.caller, self.key

    def record(self, session_id: SessionId, at: datetime, token_id: str | None = None) -> IdempotencyRecord:
        return IdempotencyRecord(
            caller=self.caller,
            key=self.key,
            fingerprint=self.fingerprint,
            session_id=session_id,
            created_at=at,
            token_id=token_id,
        )

    def check(self, record: IdempotencyRecord, now: datetime) -> bool:
        """Whether `record` still counts as the first request with this key.

        Raises:
            IdempotencyMismatch: the first had another body.
        """
        if now - record.created_at > timedelta(seconds=KEEP_S):
            return False
        if record.fingerprint != self.fingerprint:
            raise IdempotencyMismatch
        return True


@attrs.frozen
class _Running:
    """A creation with a key that has not been answered yet."""

    fingerprint: str
    done: trio.Event = attrs.field(factory=trio.Event)


class RunningKeys:
    """The keys of creations under way."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Running] = {}

    async def wait_for_first(self, key: IdempotencyKey) -> None:
        """Return when no other request with this key is running.

        Raises:
            IdempotencyMismatch: the one that runs has another body.
            RequestInProgress: it runs for long.
        """
        with trio.move_on_after(REPEAT_WAIT_S):
            while (running := self._running.get(key.slot)) is not None:
                if running.fingerprint != key.fingerprint:
                    raise IdempotencyMismatch
                await running.done.wait()
            return
        raise RequestInProgress(RETRY_AFTER_S)

    def begin(self, key: IdempotencyKey) -> None:
        self._running[key.slot] = _Running(key.fingerprint)

    def over(self, key: IdempotencyKey) -> None:
        self._running.pop(key.slot).done.set()
