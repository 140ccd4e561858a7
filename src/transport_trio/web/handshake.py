"""What a WebSocket brings along before the upgrade: its key, its origin, and what it wants to hear."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from transport_trio.errors import InvalidRequest
from transport_trio.hub import Filter, Subscription
from transport_trio.web.auth import bearer
from transport_trio.web.query import Values, event_id, event_types, one, parse_query, short_text, switch
from transport_trio.wire.socket import SESSION_ID_MAX_CHARS

SUBPROTOCOL = "transport.v1"
KEY_SUBPROTOCOL = "transport.key."
QUERY_KEYS = ("session_id", "types", "after", "epoch", "snapshot", "token")
SESSION_IDS_MAX = 1000


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
    query = parse_query(query_string, QUERY_KEYS, repeatable=("session_id",))
    return Subscription(
        filter=Filter(_session_ids(query), one(query, "types", event_types)),
        after=one(query, "after", event_id),
        epoch=one(query, "epoch", short_text),
        snapshot=one(query, "snapshot", switch) or False,
    )


def _session_ids(query: Values) -> frozenset[str] | None:
    if "session_id" not in query:
        return None
    session_ids = frozenset(query["session_id"])
    if len(session_ids) > SESSION_IDS_MAX:
        raise InvalidRequest(("session_id", f"is given for more than {SESSION_IDS_MAX} sessions"))
    if not all(1 <= len(session_id) <= SESSION_ID_MAX_CHARS for session_id in session_ids):
        raise InvalidRequest(("session_id", f"must have 1 to {SESSION_ID_MAX_CHARS} characters"))
    return session_ids
