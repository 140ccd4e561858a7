"""The lines of `/ready`."""

from __future__ import annotations

from enum import StrEnum

import attrs


class CheckStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    OFF = "off"
    FAILED = "failed"


@attrs.frozen
class Check:
    """One line of `/ready`. Only `FAILED` makes the service not ready."""

    name: str
    status: CheckStatus
    message: str = ""
