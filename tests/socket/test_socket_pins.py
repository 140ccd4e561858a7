"""What web/wsstream.py relies on in Hypercorn and wsproto, and they promise none of it: read a version, then pin it."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import hypercorn.protocol.h11
import pytest
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import Handshake, WSStream
from hypercorn.trio.tcp_server import TCPServer
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection
from wsproto.utilities import LocalProtocolError

from transport_trio.web import wsstream


def test_the_versions_are_those_that_were_read() -> None:
    assert version("hypercorn").startswith("0.18.")
    assert version("wsproto").startswith("1.")


def test_hypercorn_makes_its_streams_by_the_name_that_we_replace() -> None:
    assert "WSStream(" in inspect.getsource(H11Protocol._create_stream)
    wsstream.install()
    assert hypercorn.protocol.h11.WSStream is wsstream.ListenerStream  # type: ignore[comparison-overlap]


def test_the_attributes_are_there() -> None:
    made = inspect.getsource(WSStream.__init__)
    for attribute in ("app_put", "closed", "send", "stream_id"):
        assert f"self.{attribute}" in made, attribute
    for method in ("handle", "app_send", "_handle_events", "_send_wsproto_event", "_send_error_response"):
        assert inspect.iscoroutinefunction(getattr(WSStream, method)), method
    assert "self.connection = self.handshake.accept(" in inspect.getsource(WSStream._accept)
    assert "self.accepted = True" in inspect.getsource(Handshake.accept)
    assert {"headers", "state"} <= set(Request.__dataclass_fields__)
    for attribute in ("send_lock", "stream"):
        assert f"self.{attribute}" in inspect.getsource(TCPServer.__init__), attribute
    # How we find our connection: stream.send is the protocol's, whose send is the connection's.
    assert "self.stream_send" in inspect.getsource(H11Protocol._create_stream)
    assert "self.send = send" in inspect.getsource(H11Protocol.__init__)


def test_wsproto_sends_one_close_frame_and_refuses_a_second() -> None:
    """Quart and Hypercorn close what our handler has left, after its own close frame."""
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
