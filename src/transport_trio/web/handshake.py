"""What a WebSocket brings along before the upgrade: its key, its origin, and what it wants to hear."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from transport_trio.errors import InvalidRequest
from transport_trio.events import EventType
from transport_trio.hub import Filter, Subscription
from transport_trio.web.auth import bearer
from transport_trio.wire.socket import SESSION_ID_MAX_CHARS

SUBPROTOCOL = "transport.v1"
KEY_SUBPROTOCOL = "transport.key."
QUERY_KEYS = ("session_id", "types", "after", "epoch", "snapshot", "token")
SESSION_IDS_MAX = 1000
EPOCH_MAX_CHARS = 128
EVENT_ID_MAX = 2**63 - 1  # what the journal can count to

T = TypeVar("T")


# --- the key


def offered_key(authorization: Sequence[str], subprotocols: Sequence[str], query: bytes) -> str | None:
    """The API key from the first place that has one: the header, a subprotocol, the query. Never log it."""
    key = bearer(authorization)
    if key is not None:
        return key
    for offer in subprotocols:
        if offer.startswith(KEY_SUBPROTOCOL):
            return _decoded(offer.removeprefix(KEY_SUBPROTOCOL))
    # Whether the rest of the query makes sense is nobody's business without a key.
    return dict(parse_qsl(query.decode("latin-1"))).get("token")


def _decoded(text: str) -> str | None:
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None


# --- the origin


def origin_allowed(origins: Sequence[str], host: str | None, *, allowed: Sequence[str], keys_required: bool) -> bool:
    """Whether a page of this `Origin` may open a socket at `host`; clients that are no browsers send none.

    Without API keys our own host is no recommendation: any page can point a name of its own at 127.0.0.1.
    """
    if not origins:
        return True
    if "*" in allowed:
        return True
    if len(origins) > 1:
        return False
    origin = origins[0].lower()
    if origin in allowed:
        return True
    parts = _authority(origin)
    if parts is None:
        return False
    scheme, name, port = parts
    if not keys_required:
        return _is_loopback(name)
    return host is not None and _authority(f"{scheme}://{host.lower()}") == (scheme, name, port)


def _authority(origin: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of an http(s) origin, its default port filled in; None for anything else."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query or parts.username:
        return None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# --- the query


def subscription(query_string: bytes) -> Subscription:
    """How the listener wants to start.

    Raises:
        InvalidRequest: a key is unknown or given twice, or a value makes no sense.
    """
    query = _parse_query(query_string)
    session_ids = query.get("session_id")
    if session_ids is not None:
        if len(session_ids) > SESSION_IDS_MAX:
            raise InvalidRequest(("session_id", f"is given more than {SESSION_IDS_MAX} times"))
        if not all(0 < len(session_id) <= SESSION_ID_MAX_CHARS for session_id in session_ids):
            raise InvalidRequest(("session_id", f"must have 1 to {SESSION_ID_MAX_CHARS} characters"))
    return Subscription(
        filter=Filter(None if session_ids is None else frozenset(session_ids), _one(query, "types", _types)),
        after=_one(query, "after", _event_id),
        epoch=_one(query, "epoch", _epoch),
        snapshot=_one(query, "snapshot", _switch) or False,
    )


def _parse_query(query: bytes) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict")
    except ValueError:
        raise InvalidRequest(("query", "is not valid percent-encoded UTF-8")) from None
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        if key not in QUERY_KEYS:
            raise InvalidRequest((key, f"is not known; known are {', '.join(QUERY_KEYS)}"))
        values.setdefault(key, []).append(value)
    for key, given in values.items():
        if len(given) > 1 and key != "session_id":
            raise InvalidRequest((key, "is given more than once"))
    return values


def _one(query: dict[str, list[str]], key: str, parse: Callable[[str], T]) -> T | None:
    if key not in query:
        return None
    try:
        return parse(query[key][0])
    except ValueError as exc:
        raise InvalidRequest((key, str(exc))) from None


def _types(text: str) -> frozenset[EventType]:
    try:
        return frozenset(EventType(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"must be a comma-separated list of {', '.join(EventType)}") from None


def _event_id(text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > EVENT_ID_MAX:
        raise ValueError("must be the id of an event: a whole number, 0 or more")
    return int(text)


def _epoch(text: str) -> str:
    if not 0 < len(text) <= EPOCH_MAX_CHARS:
        raise ValueError(f"must have 1 to {EPOCH_MAX_CHARS} characters")
    return text


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"
