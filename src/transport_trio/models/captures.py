"""What is made of a call while it goes on: recordings, transcriptions and live streams."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs


class CaptureKind(StrEnum):
    RECORDING = "recording"
    TRANSCRIPTION = "transcription"
    LIVE_STREAM = "live_stream"


class CaptureStatus(StrEnum):
    STARTING = "starting"  # asked for, or about to be; nothing has said yet that it runs
    RUNNING = "running"
    STOPPING = "stopping"  # asked to stop, and nobody knows whether that arrived
    PROCESSING = "processing"  # over, and not ready yet
    READY = "ready"
    ENDED = "ended"  # over, and nothing of it was to be kept
    ERROR = "error"
    DELETED = "deleted"


FINAL = frozenset({CaptureStatus.READY, CaptureStatus.ENDED, CaptureStatus.ERROR, CaptureStatus.DELETED})


class CaptureMoment(StrEnum):
    STARTED = "started"
    UPDATED = "updated"
    STOPPED = "stopped"
    READY = "ready"
    ERROR = "error"


@attrs.frozen(kw_only=True)
class Capture:
    """One of a session's. `id` is ours, and what the provider knows as its instance where we have started it.

    One that somebody else has started goes by the provider's own id. `asked_at`: when we did, or when we first
    heard of it. `missing_since`: since when the provider's list, which should name it, does not. `stored`:
    something is to be left of it. `given_up`: its error is our conclusion and not the provider's word.
    `destinations`: where a live stream goes, without what is secret of it. `updated_at`: its latest change that was
    told, and `update_heard_at` the same where the provider was first to tell.
    """

    id: str
    kind: CaptureKind
    status: CaptureStatus = CaptureStatus.STARTING
    asked_at: datetime
    ours: bool = True
    stored: bool = True
    type: str | None = None
    provider_id: str | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    ready_at: datetime | None = None
    duration_s: float | None = None
    error: str | None = None
    given_up: bool = False
    missing_since: datetime | None = None
    destinations: tuple[str, ...] = ()
    updated_at: datetime | None = None
    update_heard_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether something more is to come of it by itself."""
        return self.status not in FINAL


def new_capture_id() -> str:
    return str(uuid.uuid4())


@attrs.frozen(kw_only=True)
class CaptureOptions:
    """How one is made, in our words, as checked; `provider_options` goes to the provider as it is.

    An address to stream to holds a key: neither is ever printed. `destinations` can be. `additional`: beside one of its
    kind that runs already.
    """

    given: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    provider_options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    destinations: tuple[str, ...] = ()
    additional: bool = False


@attrs.frozen(kw_only=True)
class CaptureNews:
    """What a provider says of one, pushed or in a list. Its lists do not know instances, its pushes not always ids."""

    kind: CaptureKind
    moment: CaptureMoment
    occurred_at: datetime
    instance_id: str | None = None
    provider_id: str | None = None
    room_name: str | None = None
    type: str | None = None
    started_at: datetime | None = None
    duration_s: float | None = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class CaptureLink:
    """Where to fetch one; for whoever has the link, until it expires."""

    url: str = attrs.field(repr=False)
    expires_at: datetime | None = None
