"""Hypercorn, configured: listens, serves, and stops within a bounded time."""

from __future__ import annotations

import logging
from functools import partial

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio

from transport_trio.errors import SettingsError
from transport_trio.settings import Settings
from transport_trio.web.connection import Connection

log = logging.getLogger(__name__)

# Longer than the 60 s after which load balancers commonly drop idle connections: they, not we, should be first.
KEEP_ALIVE_S = 75.0
HEADERS_MAX_BYTES = 16 * 1024
REQUESTS_PER_CONNECTION = 100_000


def hypercorn_config() -> Config:
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADERS_MAX_BYTES
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    return config


@attrs.define(eq=False)
class _Connections:
    """Those that are open now."""

    open: set[Connection] = attrs.field(factory=set)
    none_left: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, connection: Connection) -> None:
        self.open.add(connection)
        try:
            await connection.run()
        finally:
            self.open.discard(connection)
            if not self.open:
                self.none_left.set()
                self.none_left = trio.Event()

    async def wait_none(self) -> None:
        while self.open:
            await self.none_left.wait()


async def serve(
    app: QuartTrio,
    settings: Settings,
    *,
    stop: trio.Event,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set, then finish what is under way, at most `DRAIN_S`, and cut the rest.

    Reports the URL that it listens on. Listeners of the hub count as under way until the hub is closed.

    Raises:
        SettingsError: it cannot listen there.
    """
    config = hypercorn_config()
    context = WorkerContext(None)
    wrapped = ASGIWrapper(app)
    connections = _Connections()
    listeners = await _listen(settings)

    async def handle(stream: trio.SocketStream) -> None:
        await connections.serve(Connection(wrapped, config, context, stream))

    async with trio.open_nursery() as serving:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(partial(trio.serve_listeners, handle, listeners, handler_nursery=serving))
            url = _url(listeners[0])
            log.info("listening", extra={"url": url})
            task_status.started(url)
            await stop.wait()
            accepting.cancel_scope.cancel(reason="the service stops")
        await context.terminated.set()  # idle connections close now, others after their answer
        with trio.move_on_after(settings.drain_s):
            await connections.wait_none()
        if connections.open:
            log.warning("connections cut at the end of the drain", extra={"count": len(connections.open)})
        for connection in tuple(connections.open):
            connection.cut()
        serving.cancel_scope.cancel(reason="the drain is over")


async def _listen(settings: Settings) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as exc:
        where = f"HOST={settings.host} PORT={settings.port}"
        raise SettingsError(f"{where}: cannot listen there ({exc.strerror or exc}); give others") from exc


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
