"""The floor of this service's libraries: an empty handler, and bare sends in slices beside it.

Quart-Trio under Hypercorn answers every GET on the second port with `{}`. Listeners come to the first one; they are
published to through lines on standard input, and between two slices requests have their turn, as in the hub. Nothing is
read from them, and one that lags ends it with a traceback.
"""

from __future__ import annotations

import socket
import sys
from functools import partial

import trio
from bare_server import frame, publish, upgraded
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response
from quart_trio import QuartTrio

SLICE_WRITES = 128  # as in the hub


def empty_app() -> QuartTrio:
    app = QuartTrio(__name__)

    @app.get("/")
    async def empty() -> Response:
        return Response("{}", mimetype="application/json")

    return app


async def accept(server: socket.socket, listeners: list[socket.socket]) -> None:
    while True:
        await trio.lowlevel.wait_readable(server)
        connection, _ = server.accept()
        if upgraded(connection):
            listeners.append(connection)


async def publish_in_slices(listeners: list[socket.socket], data: bytes) -> None:
    for start in range(0, len(listeners), SLICE_WRITES):
        publish(listeners[start : start + SLICE_WRITES], data)
        await trio.lowlevel.checkpoint()


async def main(port: int, text: bytes) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port + 1}"]
    config.errorlog = None
    config.keep_alive_max_requests = 100_000  # as in the service
    listeners: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port), backlog=4096) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve, empty_app(), config))
            nursery.start_soon(accept, server, listeners)
            async for lines in trio.lowlevel.FdStream(sys.stdin.fileno()):
                for count in lines.split():
                    await publish_in_slices(listeners, frame(text) * int(count))
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2].encode())
