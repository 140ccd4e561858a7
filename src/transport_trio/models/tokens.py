"""Meeting tokens: as we ask for them, and what is remembered of those handed out."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from transport_trio.models.people import ParticipantConfig
from transport_trio.models.rooms import RoomConfig


@attrs.frozen(kw_only=True)
class TokenOptions:
    """What a meeting token asks for beside who comes and until when; `provider_options` goes to the provider as it is.

    `eject_after_s` counts from the join.
    """

    not_before: datetime | None = None
    eject_at_expiry: bool = False
    eject_after_s: int | None = None
    provider_options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TokenPlan:
    """A meeting token as we shall ask for it; the same plan always gives the same claims."""

    room_name: str
    room_config: RoomConfig
    participant: ParticipantConfig
    expires_at: datetime
    options: TokenOptions = attrs.field(factory=TokenOptions)


@attrs.frozen(kw_only=True)
class TokenRequest:
    """A checked request for a further meeting token. `ttl_s=None`: the usual length, cut to the session's end."""

    participant: ParticipantConfig = attrs.field(factory=ParticipantConfig)
    ttl_s: int | None = None
    not_before_s: int = 0
    eject_at_expiry: bool = False
    eject_after_s: int | None = None
    provider_options: dict[str, Any] = attrs.field(factory=dict)


class TokenStage(StrEnum):
    VALID = "valid"
    EXPIRING = "expiring"  # `token_expiring` has been told
    EXPIRED = "expired"  # `token_expired` has been told


@attrs.frozen(kw_only=True)
class TokenGrant:
    """The meeting token we handed out, without the token itself: that is kept nowhere."""

    expires_at: datetime
    stage: TokenStage = TokenStage.VALID


@attrs.frozen(kw_only=True)
class FurtherGrant:
    """A meeting token beside the session's first one, with all that its renewal needs; again without the token."""

    id: str
    participant: ParticipantConfig
    options: TokenOptions
    grant: TokenGrant
    ttl_s: int | None  # as its caller asked for; None: the usual length
    created_at: datetime
