"""What a provider sends us by itself."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import attrs

from transport_trio.models.captures import CaptureNews
from transport_trio.models.people import Participant


class PushKind(StrEnum):
    NEWS = "news"  # somebody came or went
    CAPTURE = "capture"  # something happened to a recording or the like
    OTHER = "other"  # of no concern to sessions
    TEST = "test"  # the provider looks whether we are there
    DUPLICATE = "duplicate"  # the same has come before
    UNREADABLE = "unreadable"  # it is the provider's, and makes no sense to us


@attrs.frozen(kw_only=True)
class News:
    """Somebody came (or went) at `occurred_at`, in the provider's words."""

    participant: Participant
    came: bool
    occurred_at: datetime


@attrs.frozen(kw_only=True)
class Push:
    """What a provider sent us by itself. `type` is of a closed set: a metric label."""

    kind: PushKind
    type: str
    room_name: str | None = None
    news: News | None = None
    capture: CaptureNews | None = None
    sent_at: datetime | None = None
