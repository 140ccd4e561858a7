"""The sandbox as a server: its calls under Hypercorn, on a port that can be closed for a while."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from transport_trio.sandbox.api import api_routes, unknown
from transport_trio.sandbox.capture_control import capture_control_routes
from transport_trio.sandbox.config import SandboxConfig
from transport_trio.sandbox.control import control_routes
from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.deliveries import Deliveries
from transport_trio.sandbox.edge import Edge
from transport_trio.sandbox.files import file_routes
from transport_trio.sandbox.front import Front
from transport_trio.sandbox.outage import Outage

HANG_UP_S = 0.5  # for answers under way when an outage begins
LET_GO_S = 5.0  # closing a listener takes a moment
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
    outage = Outage()
    domains: list[tuple[Sandbox, Deliveries]] = []
    for each in config.each_domain():
        deliveries = Deliveries()
        domains.append((Sandbox(each, clock, post=deliveries.post, wake=deliveries.wake), deliveries))
    app = _front([sandbox for sandbox, _ in domains], outage)
    listener = _bound(config.host, config.port)
    async with trio.open_nursery() as nursery:
        for sandbox, deliveries in domains:
            nursery.start_soon(deliveries.run, sandbox)
        await _listen(app, listener, config.host, outage, task_status)


def _front(domains: list[Sandbox], outage: Outage) -> Front:
    edges = [_edge(one, outage) for one in domains]
    by_name = {one.config.domain: edge for one, edge in zip(domains, edges, strict=True)}
    by_key = {one.config.api_key: edge for one, edge in zip(domains, edges, strict=True)}
    return Front(edges[0], by_name, by_key)


def _edge(sandbox: Sandbox, outage: Outage) -> Edge:
    control = (*control_routes(sandbox, outage), *capture_control_routes(sandbox), *file_routes(sandbox))
    return Edge([*api_routes(sandbox), *control], partial(unknown, sandbox), sandbox.now)


async def _listen(
    app: Front, listener: socket.socket, host: str, outage: Outage, task_status: trio.TaskStatus[str]
) -> None:
    port = listener.getsockname()[1]
    url = _url(host, port)
    while True:
        with ExitStack() as kept:
            async with trio.open_nursery() as nursery:
                run = partial(serve, app, _hypercorn(listener), shutdown_trigger=outage.wait_begun)
                await nursery.start(run)
                log.info("sandbox listening", extra={"url": url})
                task_status.started(url)
                task_status = trio.TASK_STATUS_IGNORED
                await outage.wait_begun()
                kept.enter_context(await _keep_port(host, port))
                log.info("sandbox unreachable", extra={"url": url, "for_s": outage.for_s})
                await trio.sleep(outage.for_s)
        outage.end()
        listener = _bound(host, port)


async def _keep_port(host: str, port: int) -> socket.socket:
    """A socket that does not listen but keeps others off the port, as soon as Hypercorn has let go of it."""
    with trio.fail_after(LET_GO_S):
        while True:
            try:
                return _bound(host, port)
            except OSError:
                await trio.sleep(0.001)


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _hypercorn(listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # Hypercorn closes it
    config.backlog = BACKLOG
    config.graceful_timeout = HANG_UP_S
    config.include_server_header = False
    config.include_date_header = False  # the edge sends the sandbox's own
    config.errorlog = log
    config.loglevel = "WARNING"
    return config


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
