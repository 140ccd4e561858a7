"""The WebSocket route: who may in, and the conversation with those who are in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import trio
from quart import Response, websocket
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from transport_trio.hub import Conversation, Heartbeat, Hub, Listener, Subscription
from transport_trio.metrics import Metrics
from transport_trio.settings import Settings
from transport_trio.web import wsstream
from transport_trio.web.auth import KeyRing
from transport_trio.web.handshake import SUBPROTOCOL, offered_key, origin_allowed, subscription
from transport_trio.web.problems import Forbidden, Unauthorized, UpgradeRequired
from transport_trio.web.wsstream import (
    MESSAGES_WAITING,
    SCOPE_KEY,
    Binary,
    Incoming,
    ListenerStream,
    PeerPing,
    PeerPong,
)
from transport_trio.wire.socket import Close

# How long a closed listener may take to read what is left for it and to answer; an honest one needs a round trip.
CLOSE_S = 3.0
# A single write, of one batch at most, that takes this many heartbeats makes no progress worth the name.
STALL_HEARTBEATS = 3


class SocketDeps(Protocol):
    @property
    def hub(self) -> Hub: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def keys(self) -> KeyRing: ...


def register_socket(app: QuartTrio, deps: SocketDeps) -> None:
    """Add `/ws` to the app, and our stream to Hypercorn. The app answers what is raised before the upgrade."""
    wsstream.install()

    @app.get("/ws")
    async def upgrade_required() -> Response:
        raise UpgradeRequired("this is a WebSocket: send Upgrade: websocket")

    @app.websocket("/ws")
    async def listen() -> None:
        offered = websocket.requested_subprotocols
        wish = _admit(websocket.headers, websocket.query_string, offered, deps)
        stream: ListenerStream = websocket.scope["state"][SCOPE_KEY]
        with deps.hub.listen(wish) as listener, stream.messages:
            await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await converse(stream, listener, deps.settings, deps.metrics)


def _admit(headers: Headers, query: bytes, subprotocols: Sequence[str], deps: SocketDeps) -> Subscription:
    """What the caller wants to hear, if it may.

    Raises:
        Unauthorized, Forbidden, InvalidRequest: in this order.
    """
    if deps.keys.required:
        key = offered_key(headers.getlist("Authorization"), subprotocols, query)
        if key is None or deps.keys.caller(key) is None:
            raise Unauthorized("/ws wants a key: as a Bearer token, as a subprotocol, or as ?token=")
    origins = headers.getlist("Origin")
    allowed = deps.settings.allowed_origins
    if not origin_allowed(origins, headers.get("Host"), allowed=allowed, keys_required=deps.keys.required):
        raise Forbidden("pages of this origin may not listen; ALLOWED_ORIGINS names those that may")
    return subscription(query)


async def converse(stream: ListenerStream, listener: Listener, settings: Settings, metrics: Metrics) -> None:
    """Serve one accepted listener until it is closed, has left, or hangs; then its connection is done with.

    Cancellation: the peer has left (Quart cancels the handler), or the server is going down.
    """
    conversation = Conversation(
        listener,
        messages_max=settings.listener_messages_max,
        faults_max=settings.listener_faults_max,
        heartbeat_s=settings.heartbeat_s,
    )
    goodbye_said = False
    with trio.CancelScope() as patience:

        def hurry() -> None:
            stream.deafen()
            patience.deadline = trio.current_time() + CLOSE_S

        listener.on_close = hurry
        if listener.closed_for is not None:  # the hub was closed while the upgrade was under way
            hurry()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, stream.messages, conversation, listener)
            if await _write(stream, listener, settings, metrics) and listener.closed_for is not None:
                goodbye_said = await stream.say_goodbye(listener.closed_for)
            if goodbye_said:
                # Closing with unread input would be a reset, and could cost the peer our close frame. So we go on
                # reading; the peer's own close frame cancels us.
                await trio.sleep_forever()
            nursery.cancel_scope.cancel(reason="the listener has gone")
    if patience.cancelled_caught and not goodbye_said:
        stream.abort()


async def _read(messages: trio.MemoryReceiveChannel[Incoming], conversation: Conversation, listener: Listener) -> None:
    async for message in messages:
        _hear(message, conversation, listener)
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            for _ in range(MESSAGES_WAITING):  # what waits already does not wait for another turn
                _hear(messages.receive_nowait(), conversation, listener)


def _hear(message: Incoming, conversation: Conversation, listener: Listener) -> None:
    match message:
        case str():
            conversation.hear(message)
        case PeerPing(payload):
            conversation.hear_ping(payload)
        case PeerPong():
            conversation.hear_pong()
        case Binary():
            conversation.hear_binary()
        case Close():
            listener.close(message)


async def _write(stream: ListenerStream, listener: Listener, settings: Settings, metrics: Metrics) -> bool:
    """Send what the listener is to get; True when it is closed and has got it, False when nobody takes it."""
    heartbeat = Heartbeat(listener, settings.heartbeat_s)
    while (batch := await listener.next_batch(heartbeat.due_at(stream.heard_at))) is not None:
        if batch:
            with trio.move_on_after(STALL_HEARTBEATS * settings.heartbeat_s) as stall:
                if not await stream.write(b"".join(batch)):
                    return False
            if stall.cancelled_caught:
                listener.close(Close.TOO_SLOW)
                stream.abort()
                return False
            metrics.frames_sent.inc(len(batch))
        heartbeat.beat(stream.heard_at)
    return True
