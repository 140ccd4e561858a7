"""Rooms: as a caller wants them, as we ask for them, and as the provider describes them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs


class Privacy(StrEnum):
    PUBLIC = "Public"
    PRIVATE = "Private"


@attrs.frozen(kw_only=True)
class RoomConfig:
    name: str | None = None
    privacy: Privacy = Privacy.PRIVATE
    max_participants: int | None = None
    enable_recording: bool = False
    enable_transcription: bool = False
    enable_chat: bool = True
    enable_screen_sharing: bool = True
    auto_start_recording: bool = False
    auto_start_transcription: bool = False


def is_transcribed(config: RoomConfig) -> bool:
    """Whether what is transcribed there is kept."""
    return config.enable_transcription or config.auto_start_transcription


@attrs.frozen(kw_only=True)
class RoomPlan:
    """A room as we shall ask for it. `expires_at` has whole seconds, so that it compares equal when read back."""

    name: str
    config: RoomConfig
    expires_at: datetime
    provider_options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PastEnd:
    """An end that a room had until it got a later one: who came before `until` was let in with it."""

    end: datetime
    until: datetime


@attrs.frozen(kw_only=True)
class Room:
    """A room as the provider describes it. `metadata` is the provider's own object, for callers who want more."""

    name: str
    url: str
    provider_id: str | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
