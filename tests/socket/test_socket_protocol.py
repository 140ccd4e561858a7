"""Frames as peers may send them, right and wrong, byte by byte."""

from __future__ import annotations

import pytest
from socket_rig import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, peer, serving


async def test_a_ping_message_is_answered() -> None:
    async with serving() as rig, peer(rig) as it:
        await it.send(TEXT, b'{"type":"ping"}')
        assert await it.receive_json() == {"type": "pong"}
