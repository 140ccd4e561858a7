"""Who is calling: API keys, compared in constant time and kept as digests only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from transport_trio.web.problems import Unauthorized

# What stands for a caller when no key is required.
ANYBODY = "anybody"
CALLER_DIGITS = 32  # of a SHA-256 in hex: 128 bits tell keys apart and give none away


class KeyRing:
    """The keys that callers may bring; with none the service is open."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    @property
    def required(self) -> bool:
        return bool(self._digests)

    def caller(self, key: str) -> str | None:
        """A stable name of the key's owner, None when it is not one of ours; takes as long for any key."""
        offered = _digest(key)
        found = None
        for digest in self._digests:
            if hmac.compare_digest(digest, offered):
                found = digest.hex()[:CALLER_DIGITS]
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def bearer(headers: Sequence[str]) -> str | None:
    """The key in the `Authorization` headers of a request; None when there is none, more than one, or no bearer."""
    if len(headers) != 1:
        return None
    scheme, _, key = headers[0].strip().partition(" ")
    key = key.strip()
    return key if key and scheme.lower() == "bearer" else None


def require_caller(keys: KeyRing, headers: Sequence[str]) -> str:
    """A stable name of whoever sends these `Authorization` headers.

    Raises:
        Unauthorized: a key is required, and there is none or a wrong one.
    """
    if not keys.required:
        return ANYBODY
    key = bearer(headers)
    caller = keys.caller(key) if key is not None else None
    if caller is None:
        raise Unauthorized
    return caller
