"""A broadcaster as one writes it with Starlette on uvicorn; published to through lines on standard input."""

from __future__ import annotations

import asyncio
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

TEXT = sys.argv[2]
clients: set[WebSocket] = set()


async def listen(websocket: WebSocket) -> None:
    await websocket.accept()
    clients.add(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        clients.discard(websocket)


async def publish(reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        for _ in range(int(line)):
            for client in clients:
                await client.send_text(TEXT)


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    task = asyncio.create_task(publish(reader))
    app = Starlette(routes=[WebSocketRoute("/", listen)])
    config = uvicorn.Config(
        app,
        port=int(sys.argv[1]),
        log_level="error",
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        backlog=4096,
    )
    await uvicorn.Server(config).serve()
    task.cancel()


uvloop.run(main())
