"""What can happen to what is made of a session's call, for `captures` to decide on."""

from __future__ import annotations

from datetime import datetime

import attrs

from transport_trio.events import Source
from transport_trio.models import Capture, CaptureKind, CaptureNews


class CaptureCause:
    """Base of them all."""


@attrs.frozen(kw_only=True)
class CaptureIntended(CaptureCause):
    """One will be asked for. Stored first: none may run that we do not know of."""

    capture: Capture
    additional: bool = False  # to one of its kind that runs


@attrs.frozen(kw_only=True)
class CaptureRefused(CaptureCause):
    """It was not started, by the provider's own word."""

    capture_id: str


@attrs.frozen(kw_only=True)
class CaptureChanged(CaptureCause):
    """It goes on with other settings, by the provider's word. `asked_at`: before we asked for it."""

    at: datetime
    asked_at: datetime
    capture_id: str


@attrs.frozen(kw_only=True)
class CaptureStopped(CaptureCause):
    """The provider has taken our request to stop it; with `in_doubt` nobody knows.

    `source`: `inferred` where it refused, since there is nothing to stop.
    """

    at: datetime
    capture_id: str
    in_doubt: bool = False
    source: Source = Source.REQUEST


@attrs.frozen(kw_only=True)
class CaptureDeleted(CaptureCause):
    """It is not there any more."""

    capture_id: str


@attrs.frozen(kw_only=True)
class CapturesGivenUp(CaptureCause):
    """Nothing has come of what was open for so long that nobody waits any more."""

    at: datetime


@attrs.frozen(kw_only=True)
class CapturesHeard(CaptureCause):
    """The provider has told, by `source`. `listed`: of this kind it has named all that there are of the room.

    `expect`: by now those of that kind that start by themselves should have.
    """

    at: datetime
    source: Source
    news: tuple[CaptureNews, ...]
    listed: CaptureKind | None = None
    expect: bool = False
