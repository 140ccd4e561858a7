"""Meeting tokens as JSON: what is asked for in `POST /sessions/{id}/tokens`, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import Meta

from transport_trio.errors import InvalidRequest
from transport_trio.models import FurtherGrant, SessionId, TokenRequest
from transport_trio.wire.out import encode, timestamp
from transport_trio.wire.requests import (
    TTL_MAX_S,
    Body,
    ParticipantBody,
    Ttl,
    body_of,
    digest_of,
    option_faults,
    participant_config,
    participant_faults,
)

# Daily asks for tokens under 2048 characters, and these go into the token.
OPTIONS_MAX_BYTES = 1024


class TokenOptionsBody(Body, frozen=True):
    token_ttl_s: Ttl | None = None
    not_before_s: Annotated[int, Meta(ge=0, le=TTL_MAX_S)] = 0
    eject_at_expiry: bool = False
    eject_after_s: Ttl | None = None
    daily: dict[str, Any] = msgspec.field(default_factory=dict)


class TokenBody(Body, frozen=True):
    participant_config: ParticipantBody = ParticipantBody()
    options: TokenOptionsBody = TokenOptionsBody()


class RenewOptionsBody(Body, frozen=True):
    token_ttl_s: Ttl | None = None


class RenewBody(Body, frozen=True):
    options: RenewOptionsBody = RenewOptionsBody()


def token_request(data: bytes, provider: str, managed: frozenset[str]) -> TokenRequest:
    """The token that the body asks for; `managed` are the keys of `options.{provider}` that we set ourselves.

    Raises:
        InvalidRequest: with the paths of the faults.
    """
    body = body_of(data, TokenBody)
    faults = (*participant_faults(body.participant_config), *_option_faults(body.options.daily, provider, managed))
    if faults:
        raise InvalidRequest(*faults)
    return TokenRequest(
        participant=participant_config(body.participant_config),
        ttl_s=body.options.token_ttl_s,
        not_before_s=body.options.not_before_s,
        eject_at_expiry=body.options.eject_at_expiry,
        eject_after_s=body.options.eject_after_s,
        provider_options=body.options.daily,
    )


def renewal_ttl_s(data: bytes) -> int | None:
    """The length that a renewal asks for; None: as before.

    Raises:
        InvalidRequest: with the path of the first fault.
    """
    return body_of(data, RenewBody).options.token_ttl_s


def token_fingerprint(session_id: str, request: TokenRequest) -> str:
    """Equal for requests that mean the same, for the same session; never that of a request for a session."""
    return digest_of(["token", session_id, attrs.asdict(request)])


def token_grant(session_id: SessionId, one: FurtherGrant) -> dict[str, Any]:
    """A token as lists show it: everything but the token itself."""
    options = one.options
    return {
        "token_id": one.id,
        "session_id": session_id,
        "status": one.grant.stage,
        "expires_at": timestamp(one.grant.expires_at),
        "created_at": timestamp(one.created_at),
        "participant": {
            "name": one.participant.name,
            "user_id": one.participant.user_id,
            "is_owner": one.participant.is_owner,
            "permissions": msgspec.to_builtins(one.participant.permissions),
        },
        "options": {
            "not_before": timestamp(options.not_before) if options.not_before else None,
            "eject_at_expiry": options.eject_at_expiry,
            "eject_after_s": options.eject_after_s,
            "daily": options.provider_options,
        },
    }


def token_answer(session_id: SessionId, one: FurtherGrant, meeting_token: str | None) -> dict[str, Any]:
    """The answer to a creation or renewal: the only place where this token appears."""
    return token_grant(session_id, one) | {"meeting_token": meeting_token}


def _option_faults(options: dict[str, Any], provider: str, managed: frozenset[str]) -> Iterator[tuple[str, str]]:
    yield from option_faults(options, provider, managed)
    if len(encode(options)) > OPTIONS_MAX_BYTES:
        yield "$.options.daily", f"must not be longer than {OPTIONS_MAX_BYTES} bytes: it goes into the token"
