"""How Daily signs what it pushes. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from transport_trio.errors import WebhookRefused

SIGNATURE, TIMESTAMP = "x-webhook-signature", "x-webhook-timestamp"
# How far the time of signing may be from ours. Retries of Daily's come with a new one.
WINDOW_S = 300.0
# Daily does not say the unit of its time. A figure above this is one in milliseconds: in seconds it is the year 5138.
SECONDS_MAX = 1e11


def check_signature(
    secrets: Iterable[bytes], headers: Mapping[str, str], body: bytes, now: datetime, *, window_s: float = WINDOW_S
) -> datetime:
    """When one of these secrets signed this body.

    Raises:
        WebhookRefused: none did, or not within `window_s` of `now`.
    """
    stamp = headers.get(TIMESTAMP, "")
    signed = stamp.encode("utf-8", "replace") + b"." + body
    given = _decoded(headers.get(SIGNATURE, ""))
    known = False
    for secret in secrets:
        known |= hmac.compare_digest(hmac.digest(secret, signed, hashlib.sha256), given)
    if not known:
        raise WebhookRefused("the signature is not the provider's: X-Webhook-Signature, X-Webhook-Timestamp")
    at = _moment(stamp)
    if at is None or abs((now - at).total_seconds()) > window_s:
        raise WebhookRefused(f"it was signed more than {window_s:g} s from now; is a clock wrong?")
    return at


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _moment(stamp: str) -> datetime | None:
    if not re.fullmatch(r"[0-9]{1,16}(\.[0-9]{1,9})?", stamp):
        return None
    value = float(stamp)
    try:
        return datetime.fromtimestamp(value / 1000 if value > SECONDS_MAX else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
