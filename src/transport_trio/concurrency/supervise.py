"""Restart what may fail, within limits; let bugs end what contains them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import trio

from transport_trio.concurrency.waits import doubling_s
from transport_trio.errors import RestartLimitExceeded, TransportError

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """At most `max_restarts` within `period_s`; waits of `base_delay_s`, doubling up to `max_delay_s`."""

    max_restarts: int = 5
    period_s: float = 60.0
    base_delay_s: float = 1.0
    max_delay_s: float = 30.0

    def delay_s(self, crashes: int) -> float:
        return doubling_s(crashes, base_s=self.base_delay_s, max_s=self.max_delay_s)


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    policy: RestartPolicy,
    *,
    restart_on: type[Exception] | tuple[type[Exception], ...] = TransportError,
    on_restart: Callable[[], None] = lambda: None,
) -> None:
    """Run `run` until it returns; start it again when it raises `restart_on` (alone or in a group).

    Raises:
        RestartLimitExceeded: it failed more often than the policy allows; the last failure is the cause.
        Whatever else `run` raises: a bug is not restarted.
    """
    crashed_at: deque[float] = deque()
    while True:
        try:
            return await run()
        except* restart_on as group:
            failure = group
        now = trio.current_time()
        crashed_at.append(now)
        while now - crashed_at[0] > policy.period_s:
            crashed_at.popleft()
        crashes = len(crashed_at)
        if crashes > policy.max_restarts:
            raise RestartLimitExceeded(name, crashes) from failure
        expected, bugs = failure.split(TransportError)
        told = {"task": name, "crashes": crashes, "error": _messages(expected)}
        # What is raised on purpose says itself what is wrong; a bug deserves its traceback.
        log.warning("task restarted", extra=told, exc_info=bugs)
        on_restart()
        await trio.sleep(policy.delay_s(crashes))


def _messages(group: BaseExceptionGroup[BaseException] | None) -> str:
    if group is None:
        return "a bug"
    return "; ".join(_messages(one) if isinstance(one, BaseExceptionGroup) else str(one) for one in group.exceptions)
