"""How the disk fails, in the words of metrics and messages."""

from __future__ import annotations

from enum import StrEnum

from transport_trio.errors import StorageUnavailable


class DiskFault(StrEnum):
    """Why nothing could be written or read; a closed set, used as a metric label."""

    FULL = "full"
    IO = "io"
    READ_ONLY = "read_only"
    DAMAGED = "damaged"
    OTHER = "other"


class DiskFailed(StorageUnavailable):
    """The disk refused; what was under way has been rolled back."""

    def __init__(self, fault: DiskFault, detail: str) -> None:
        super().__init__(f"the journal's disk failed: {detail}")
        self.fault, self.detail = fault, detail
