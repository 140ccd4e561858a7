"""Meeting tokens: JWTs with Daily's short claims, signed with the API key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from transport_trio.sandbox import jws
from transport_trio.sandbox.permissions import lengthen, shorten
from transport_trio.sandbox.properties import TOKEN, is_number
from transport_trio.sandbox.refusals import ApiError

# In the order in which they stand in a token; `d` and `iat` come last.
CLAIMS = {
    "nbf": "nbf",
    "exp": "exp",
    "room_name": "r",
    "is_owner": "o",
    "user_name": "u",
    "user_id": "ud",
    "knocking": "k",
    "enable_screenshare": "ss",
    "enable_recording": "er",
    "start_video_off": "vo",
    "start_audio_off": "ao",
    "eject_at_token_exp": "ejt",
    "eject_after_elapsed": "eje",
    "start_cloud_recording": "sr",
    "start_cloud_recording_opts": "sro",
    "auto_start_transcription": "ast",
    "close_tab_on_exit": "ctoe",
    "redirect_on_meeting_exit": "rome",
    "lang": "uil",
    "enable_recording_ui": "erui",
    "enable_prejoin_ui": "epui",
    "enable_live_captions_ui": "elcui",
    "enable_terse_logging": "etl",
    "permissions": "p",
}
PROPERTIES = {claim: name for name, claim in CLAIMS.items()}
# Claims that Daily writes into tokens and that no property of ours sets.
FURTHER = frozenset({"d", "iat", "ij", "mjh"})


class InvalidToken(Exception):
    """`reason` is what a client of Daily's sees when it joins with it; the message says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@attrs.frozen(kw_only=True)
class Signer:
    """The key and the domain that tokens belong to."""

    api_key: str = attrs.field(repr=False)
    domain_id: str

    def mint(self, properties: Mapping[str, Any], now: float) -> str:
        """A token for checked properties; what is `null` in them is left out."""
        claims: dict[str, Any] = {}
        for name, claim in CLAIMS.items():
            value = properties.get(name)
            if value is not None:
                claims[claim] = shorten(value) if name == "permissions" else value
        claims |= {"d": self.domain_id, "iat": int(now)}
        return jws.sign(claims, self._key())

    def read(self, token: str, now: float, *, ignore_nbf: bool = False) -> dict[str, Any]:
        """The claims of a token that is good now.

        Raises:
            InvalidToken: not ours, not in Daily's form, expired, or not valid yet.
        """
        try:
            claims = jws.claims_of(token, self._key())
        except ValueError as exc:
            raise InvalidToken("invalid-token", "the token is not signed with this domain's key") from exc
        if claims.get("d") != self.domain_id:
            raise InvalidToken("invalid-token", "the token is of another domain")
        if not is_number(claims.get("iat")):
            raise InvalidToken("invalid-token", "the token has no iat")
        unknown = sorted(set(claims) - set(PROPERTIES) - FURTHER)
        if unknown:
            raise InvalidToken("invalid-token", f"the token has an unknown claim: {unknown[0]}")
        _check_values(claims)
        if "exp" in claims and claims["exp"] <= now:
            raise InvalidToken("exp-token", "the token has expired")
        if not ignore_nbf and claims.get("nbf", now) > now:
            raise InvalidToken("nbf-token", "the token is not valid yet")
        return claims

    def _key(self) -> bytes:
        return self.api_key.encode()


def _check_values(claims: Mapping[str, Any]) -> None:
    # Who signs tokens by himself may put anything into them.
    for name, value in properties_of(claims).items():
        try:
            TOKEN[name].check(name, value)
        except ApiError as exc:
            raise InvalidToken("invalid-token", f"the token's {CLAIMS[name]} makes no sense") from exc


def properties_of(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Claims under their long names, without those that only serve verification."""
    named = {PROPERTIES[claim]: value for claim, value in claims.items() if claim in PROPERTIES}
    if isinstance(named.get("permissions"), dict):
        named["permissions"] = lengthen(named["permissions"])
    return named
