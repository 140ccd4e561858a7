"""Hypercorn, configured: listens, serves, and stops within a bounded time."""

from __future__ import annotations

import logging

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from transport_trio.errors import CannotListen
from transport_trio.metrics import Metrics
from transport_trio.settings import Settings
from transport_trio.web.app import create_app
from transport_trio.web.certificate import Certificate
from transport_trio.web.connection import Connection, Guard, Patience
from transport_trio.web.crowd import Crowd
from transport_trio.web.deps import WebDeps
from transport_trio.web.entrance import Entrance
from transport_trio.web.secure import TlsSession

log = logging.getLogger(__name__)

HEADERS_MAX_BYTES = 16 * 1024
REQUESTS_PER_CONNECTION = 100_000


def hypercorn_config(settings: Settings) -> Config:
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = HEADERS_MAX_BYTES
    config.keep_alive_timeout = settings.keep_alive_s
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    return config


async def serve(
    deps: WebDeps, *, stop: trio.Event, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until `stop` is set, then finish what is under way, at most `DRAIN_S`, and cut the rest.

    While it finishes, newcomers are served too: they learn from `/ready` and from refusals that the service stops.
    Reports the URL that it listens on. Listeners of the hub count as under way until the hub is closed.

    Raises:
        SettingsError: its certificate cannot be used.
        CannotListen: where the settings say.
    """
    settings = deps.settings
    config = hypercorn_config(settings)
    context = WorkerContext(None)
    app = ASGIWrapper(create_app(deps))
    entrance = Entrance(deps)
    patience = Patience(head_s=settings.head_timeout_s)

    certificate = _certificate(settings, deps.metrics)

    def connect(stream: trio.SocketStream, guard: Guard, tls: TlsSession | None) -> Connection:
        return Connection(app, config, context, stream, guard, entrance, patience, tls)

    crowd = Crowd(connect, settings.connections_max, deps.metrics, certificate.context if certificate else None)
    listeners = await _listen(settings)
    async with trio.open_nursery() as serving:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(crowd.accept, listener, serving)
            if certificate is not None:
                accepting.start_soon(certificate.watch)
            url = _url(listeners[0], "https" if certificate else "http")
            log.info("listening", extra={"url": url})
            task_status.started(url)
            await stop.wait()
            await context.terminated.set()  # from now on connections close after their answer
            crowd.dismiss_idle()
            with trio.move_on_after(settings.drain_s) as drain:
                await crowd.wait_gone(crowd.open)
            accepting.cancel_scope.cancel(reason="the drain is over, but for newcomers")
        crowd.dismiss_idle()
        with trio.CancelScope(deadline=drain.deadline):
            await crowd.wait_gone(crowd.open)
        left = crowd.open
        if left:
            log.warning("connections cut at the end of the drain", extra={"count": len(left)})
        for connection in left:
            connection.cut()
        serving.cancel_scope.cancel(reason="the drain is over")


async def _listen(settings: Settings) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as exc:
        where = f"HOST={settings.host} PORT={settings.port}"
        raise CannotListen(f"{where}: cannot listen there ({exc.strerror or exc}); give others") from exc


def _certificate(settings: Settings, metrics: Metrics) -> Certificate | None:
    """None where clients speak no TLS."""
    if settings.tls_certificate_file is None:
        return None
    return Certificate(settings.tls_certificate_file, settings.tls_key_file, metrics)


def _url(listener: trio.SocketListener, scheme: str) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
