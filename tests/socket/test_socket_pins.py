"""What web/entrance.py and web/messages.py rely on in Hypercorn and wsproto, who promise none of it: read, then pin."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import pytest
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import Handshake
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection
from wsproto.utilities import LocalProtocolError, generate_accept_token


def test_the_versions_are_those_that_were_read() -> None:
    assert version("hypercorn").startswith("0.18.")
    assert version("wsproto").startswith("1.")


def test_hypercorn_finds_a_request_in_the_task_that_reads_and_lets_exceptions_through() -> None:
    """So that whoever sees an upgrade has the socket to itself, and can leave with it."""
    handled = inspect.getsource(H11Protocol._handle_events)
    assert "await self._create_stream(event)" in handled
    assert "except h11.RemoteProtocolError" in handled
    assert handled.count("except") == 1
    assert handled.index("Updated(idle=False)") < handled.index("_create_stream")


def test_a_handshake_is_read_from_headers() -> None:
    headers = [
        (b"connection", b"keep-alive, Upgrade"),
        (b"upgrade", b"WebSocket"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"transport.v1, other"),
    ]
    handshake = Handshake(headers, "1.1")
    assert handshake.is_valid()
    assert handshake.connection_tokens == ["keep-alive", "Upgrade"]
    assert handshake.subprotocols == ["transport.v1", "other"]
    assert not Handshake(headers, "1.0").is_valid()
    assert not Handshake(headers[:2] + headers[3:], "1.1").is_valid()
    # The example of RFC 6455, 1.3.
    assert handshake.key is not None
    assert generate_accept_token(handshake.key) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_wsproto_sends_one_close_frame_and_refuses_a_second() -> None:
    connection = Connection(ConnectionType.SERVER)
    assert connection.send(CloseConnection(code=4008, reason="slow"))[:2] == b"\x88\x06"
    assert connection.state is ConnectionState.LOCAL_CLOSING
    with pytest.raises(LocalProtocolError):
        connection.send(CloseConnection(code=1000))


def test_wsproto_tells_a_broken_protocol_by_a_close_in_an_open_connection() -> None:
    connection = Connection(ConnectionType.SERVER)
    connection.receive_data(b"\x81\x01x")  # not masked
    (event,) = connection.events()
    assert isinstance(event, CloseConnection)
    assert event.code == 1002
    assert connection.state is ConnectionState.OPEN
