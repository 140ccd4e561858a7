"""The sandbox as a server: Quart-Trio under Hypercorn, on a port that can be closed for a while."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

from transport_trio.sandbox.api import add_api
from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.control import add_control
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.edge import Edge
from transport_trio.sandbox.outage import Outage

MAX_BODY_BYTES = 2 * 1024 * 1024  # a batch of 1000 rooms fits
HANG_UP_S = 0.5  # for answers under way when an outage begins
BACKLOG = 512

log = logging.getLogger(__name__)


async def serve_sandbox(
    config: SandboxConfig,
    *,
    clock: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `started` gets the base URL, like http://127.0.0.1:8085 (Daily's API is under /v1).

    `clock` tells the unix time by which rooms and tokens expire. State is in memory and ends with the call.

    Raises:
        OSError: the address cannot be listened on.
    """
    sandbox, outage = Sandbox(config, clock), Outage()
    app = Edge(_build_app(sandbox, outage), sandbox.now)
    port = config.port
    while True:
        with _bound(config.host, port) as listener:
            port = listener.getsockname()[1]
            url = _url(config.host, port)
            async with trio.open_nursery() as nursery:
                run = partial(serve, app, _hypercorn(listener), shutdown_trigger=outage.wait_begun)
                await nursery.start(run)
                log.info("sandbox listening", extra={"url": url})
                task_status.started(url)
                task_status = trio.TASK_STATUS_IGNORED
        log.info("sandbox unreachable", extra={"url": url})
        with _bound(config.host, port):  # not listening, but nobody else can take the port
            await outage.sleep()
        outage.end()


def _build_app(sandbox: Sandbox, outage: Outage) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # Daily's server takes a path with or without a slash at its end, and redirects nobody.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    add_api(app, sandbox)
    add_control(app, sandbox, outage)
    return app


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        yield sock


def _hypercorn(listener: socket.socket) -> Config:
    config = Config()
    # Hypercorn closes what it is given, so it gets a duplicate.
    config.bind = [f"fd://{listener.dup().detach()}"]
    config.backlog = BACKLOG
    config.graceful_timeout = HANG_UP_S
    config.include_server_header = False
    config.include_date_header = False  # the edge sends the sandbox's own
    config.errorlog = log
    config.loglevel = "WARNING"
    return config


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
