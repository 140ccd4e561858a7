"""HS256 JSON web tokens, byte for byte as Daily writes them.

PyJWT warns of keys shorter than 32 bytes, which the sandbox's default key is; and what is signed here is read by
the project's other code through PyJWT, so each checks the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


def _compact(value: Mapping[str, Any]) -> bytes:
    # Lone surrogates are legal in JSON's escapes and impossible in UTF-8.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


HEADER = _encode(_compact({"alg": "HS256", "typ": "JWT"}))


def sign(claims: Mapping[str, Any], key: bytes) -> str:
    signed = HEADER + b"." + _encode(_compact(claims))
    return (signed + b"." + _encode(_digest(signed, key))).decode("ascii")


def claims_of(token: str, key: bytes) -> dict[str, Any]:
    """The claims of a token signed with the key.

    Raises:
        ValueError: it is not, or is no such token.
    """
    try:
        header, payload, signature = token.encode("ascii").split(b".")
        algorithm = json.loads(_decode(header))
        genuine = hmac.compare_digest(_decode(signature), _digest(header + b"." + payload, key))
        claims: dict[str, Any] = dict(json.loads(_decode(payload)))
    except (ValueError, TypeError, RecursionError) as exc:
        raise ValueError("not a JSON web token") from exc
    if not genuine or not isinstance(algorithm, dict) or algorithm.get("alg") != "HS256":
        raise ValueError("not signed with this key")
    return claims


def _digest(signed: bytes, key: bytes) -> bytes:
    return hmac.new(key, signed, hashlib.sha256).digest()
