"""How the journal fares: what it may still take in, and what `/ready` says of it."""

from __future__ import annotations

import attrs
import trio

from transport_trio.errors import StorageUnavailable
from transport_trio.models import Check, CheckStatus

MIB = 1024 * 1024
# One commit takes milliseconds; a disk that needs this long is not one to rely on.
STUCK_S = 10.0


@attrs.define(eq=False)
class Condition:
    """Written by the commit loop and by housekeeping; every field is as of now."""

    max_bytes: int
    used_bytes: int
    failure: str | None = None  # the disk takes no commit
    ballast_freed: bool = False  # it does, but only because we gave way
    writing_since: float | None = None  # on Trio's clock
    closed: bool = False

    def admit(self, *, begins_session: bool) -> None:
        """
        Raises:
            StorageUnavailable: no commit, or none that begins a session, can be taken now.
        """
        if self.closed:
            raise StorageUnavailable("the journal is closed")
        if self.failure is not None:
            raise StorageUnavailable(self.failure)
        if begins_session and (shortage := self._shortage()) is not None:
            raise StorageUnavailable(f"{shortage}: sessions go on, but none can begin")

    def check(self) -> Check:
        trouble = self._trouble()
        return Check("journal", CheckStatus.FAILED if trouble else CheckStatus.OK, trouble or "")

    def _trouble(self) -> str | None:
        if self.closed:
            return "closed"
        if self.failure is not None:
            return self.failure
        if self.writing_since is not None and (lasts_s := trio.current_time() - self.writing_since) > STUCK_S:
            return f"the disk has not answered for {lasts_s:.0f} s"
        return self._shortage()

    def _shortage(self) -> str | None:
        if self.ballast_freed:
            return "the journal's disk is full"
        if self.used_bytes > self.max_bytes:
            return f"the journal is larger than {self.max_bytes // MIB} MiB (JOURNAL_MAX_MIB)"
        return None
