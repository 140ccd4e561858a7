"""Why a connection ended because of its client: what the HTTP layer refuses, and the application never sees."""

from __future__ import annotations

from enum import StrEnum

# Where the application finds, in its scope's state, why an upgrade is refused: it has the words for it.
REFUSAL = "transport_trio.refusal"


class Refused(StrEnum):
    """The labels of `transport_http_refused_total`; docs/api.md explains them."""

    NOT_HTTP = "not_http"
    TLS = "tls"
    NOT_TLS = "not_tls"
    HANDSHAKE = "handshake"
    UPGRADE = "upgrade"
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TOO_SLOW = "head_too_slow"
    NOT_SUPPORTED = "not_supported"
    UNREAD = "unread"
    CROWDED = "crowded"
    FULL = "full"
    NO_FILES = "no_files"


# The bare statuses that h11 and we answer with; any other is 400.
OF_STATUS = {
    408: Refused.HEAD_TOO_SLOW,
    431: Refused.HEAD_TOO_LARGE,
    501: Refused.NOT_SUPPORTED,
    505: Refused.NOT_SUPPORTED,
}
