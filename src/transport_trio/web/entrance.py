"""The upgrade of `/ws`: who may in, decided and answered before any task but the connection's own knows of it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import attrs
import h11
from hypercorn.protocol.ws_stream import Handshake
from wsproto.utilities import generate_accept_token

from transport_trio.hub import Listener, Subscription
from transport_trio.web.auth import require_caller
from transport_trio.web.deps import WebDeps
from transport_trio.web.handshake import SUBPROTOCOL, offered_key, origin_allowed, subscription
from transport_trio.web.peer import Peer
from transport_trio.web.problems import Forbidden, Unauthorized, UnknownPath
from transport_trio.web.secure import SecureSocket
from transport_trio.web.target import path_of

PATH = "/ws"


@attrs.frozen
class Upgrade:
    """A request for a WebSocket, names of headers in lower case."""

    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    handshake: Handshake

    @classmethod
    def asked_for(cls, request: h11.Request) -> Upgrade | None:
        """What the request asks for, None when it is not this."""
        if request.method != b"GET":
            return None
        headers = list(request.headers)
        handshake = Handshake(headers, request.http_version.decode())
        tokens = {token.lower() for token in handshake.connection_tokens or ()}
        if "upgrade" not in tokens or (handshake.upgrade or b"").lower() != b"websocket":
            return None
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:
            return None  # a request that could be read in two ways is refused as such, whatever it wants
        return cls(path_of(request.target), request.target.partition(b"?")[2], headers, handshake)

    @property
    def is_valid(self) -> bool:
        """Whether it has all that a WebSocket takes, and no body."""
        has_body = any(
            name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in self.headers
        )
        return self.handshake.is_valid() and not has_body

    def values(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for other, value in self.headers if other == name]

    def accepted(self) -> bytes:
        """The head of the answer. No extension is taken up: compression costs 100 KiB per listener."""
        assert self.handshake.key is not None
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"upgrade: websocket",
            b"connection: Upgrade",
            b"sec-websocket-accept: " + generate_accept_token(self.handshake.key),
        ]
        if SUBPROTOCOL in (self.handshake.subprotocols or ()):
            lines.append(b"sec-websocket-protocol: " + SUBPROTOCOL.encode())
        return b"\r\n".join([*lines, b"", b""])


@attrs.frozen
class Entrance:
    """Lets listeners in."""

    deps: WebDeps

    def let_in(self, upgrade: Upgrade, detach: Callable[[], socket.socket | SecureSocket], client: str | None) -> Peer:
        """The listener's end of the connection, greeted already; its `run` must follow.

        Raises:
            TransportError: refused, and `detach` was not called.
        """

        def connect(listener: Listener) -> Peer:
            return Peer(detach(), listener, self, client)

        peer = self.deps.hub.join(self._admit(upgrade), connect, upgrade.accepted()).line
        assert isinstance(peer, Peer)
        return peer

    def left(self, listener: Listener, *, stayed_s: float, client: str | None) -> None:
        """The connection of a listener has ended."""
        self.deps.hub.leave(listener)
        self.deps.access.tell(method="GET", route=PATH, path=PATH, status="101", duration_s=stayed_s, client=client)

    def _admit(self, upgrade: Upgrade) -> Subscription:
        """What the caller wants to hear, if it may.

        Raises:
            Unauthorized, UnknownPath, Forbidden, InvalidRequest: in this order.
        """
        if upgrade.path != PATH:
            require_caller(self.deps.keys, upgrade.values(b"authorization"))
            raise UnknownPath("there is no WebSocket at this path")
        keys = self.deps.keys
        if keys.required:
            offered = upgrade.handshake.subprotocols or ()
            key = offered_key(upgrade.values(b"authorization"), offered, upgrade.query)
            if key is None or keys.caller(key) is None:
                raise Unauthorized("/ws wants a key: as a Bearer token, as a subprotocol, or as ?token=")
        origins = upgrade.values(b"origin")
        host = next(iter(upgrade.values(b"host")), None)
        allowed = self.deps.settings.allowed_origins
        if not origin_allowed(origins, host, allowed=allowed, keys_required=keys.required):
            raise Forbidden("pages of this origin may not listen; ALLOWED_ORIGINS names those that may")
        return subscription(upgrade.query)
