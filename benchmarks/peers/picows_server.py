"""A broadcaster as one writes it with picows on uvloop; published to through lines on standard input."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

TEXT = sys.argv[2].encode()
clients: set[WSTransport] = set()


class Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        clients.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    server = await ws_create_server(lambda request: Client(), "127.0.0.1", int(sys.argv[1]), backlog=4096)
    while line := await reader.readline():
        for _ in range(int(line)):
            for client in clients:
                client.send(WSMsgType.TEXT, TEXT)
    server.close()


uvloop.run(main())
