"""What the latest calls say about a provider, for `/ready` and, when it changes, for the log."""

from __future__ import annotations

import logging

from transport_trio.models import Check, CheckStatus

log = logging.getLogger(__name__)


class Health:
    """Plain memory. A fault of the configuration outlives good answers, until a check clears it."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._trouble = ""
        self._misconfigured = ""

    def well(self) -> None:
        """The provider has answered, and accepts our key."""
        self._change(trouble="", misconfigured=self._misconfigured)

    def ill(self, trouble: str) -> None:
        """The latest call failed for a reason that is not its caller's."""
        self._change(trouble=trouble, misconfigured=self._misconfigured)

    def configured(self, fault: str = "") -> None:
        """What a check of the configuration found; empty: all is right."""
        self._change(trouble=self._trouble, misconfigured=fault)

    def check(self) -> Check:
        message = "; ".join(filter(None, (self._misconfigured, self._trouble)))
        status = CheckStatus.DEGRADED if message else CheckStatus.OK
        return Check(f"provider:{self._provider}", status, message)

    def _change(self, *, trouble: str, misconfigured: str) -> None:
        before = self.check()
        self._trouble, self._misconfigured = trouble, misconfigured
        after = self.check()
        if after.status is before.status:
            return
        if after.status is CheckStatus.OK:
            log.info("provider is well", extra={"provider": self._provider})
        else:
            log.warning("provider is degraded", extra={"provider": self._provider, "trouble": after.message})
