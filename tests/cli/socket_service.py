"""A scripted stand-in for the service's WebSocket side: each connection gets the next script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

Script = Callable[["Line"], Awaitable[None]]


def welcome(last_event_id: int = 0, *, epoch: str = "e", heartbeat_s: float = 30) -> dict[str, Any]:
    return {
        "type": "welcome",
        "listener_id": "l",
        "epoch": epoch,
        "last_event_id": last_event_id,
        "heartbeat_s": heartbeat_s,
    }


def ended(number: int) -> dict[str, Any]:
    return {
        "type": "session_ended",
        "id": number,
        "time": "2026-01-01T12:00:00Z",
        "session_id": "s-1",
        "reason": "requested",
    }


@attrs.frozen
class Line:
    """One connection, from the service's end."""

    socket: WebSocketConnection

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.socket.send_message(json.dumps(message))

    async def hear(self) -> Any:
        return json.loads(await self.socket.get_message())

    async def stay(self) -> None:
        """Listen until the follower leaves."""
        while True:
            await self.socket.get_message()


@attrs.define(eq=False)
class SocketService:
    scripts: list[Script | tuple[int, dict[str, Any] | bytes]]
    url: str = ""
    queries: list[list[tuple[str, str]]] = attrs.field(factory=list)
    headers: list[dict[str, str]] = attrs.field(factory=list)

    async def serve(self, request: WebSocketRequest) -> None:
        self.queries.append(parse_qsl(urlsplit(request.path).query))
        self.headers.append({name.decode().lower(): value.decode() for name, value in request.headers})
        script = self.scripts.pop(0)
        if isinstance(script, tuple):
            status, document = script
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            await request.reject(status, body=body)
            return
        socket = await request.accept()
        try:
            await script(Line(socket))
        except ConnectionClosed:
            return
        await socket.aclose()


@asynccontextmanager
async def open_socket_service(*scripts: Script | tuple[int, dict[str, Any] | bytes]) -> AsyncIterator[SocketService]:
    service = SocketService(list(scripts))
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, service.serve, "127.0.0.1", 0, None)
        service.url = f"http://127.0.0.1:{server.port}"
        yield service
        nursery.cancel_scope.cancel()


def says(*messages: dict[str, Any]) -> Script:
    """Say this, and stay."""

    async def script(line: Line) -> None:
        await line.say(*messages)
        await line.stay()

    return script


def closes(code: int, *messages: dict[str, Any]) -> Script:
    """Say this, and close."""

    async def script(line: Line) -> None:
        await line.say(*messages)
        await line.socket.aclose(code, "because")

    return script


def breaks(*messages: dict[str, Any]) -> Script:
    """Say this, and let the connection break without a word."""

    async def script(line: Line) -> None:
        await line.say(*messages)
        await line.socket._stream.aclose()

    return script


def numbers(messages: Sequence[Any]) -> list[int]:
    return [message["id"] for message in messages if "id" in message]
