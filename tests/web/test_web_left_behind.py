"""Connections that have gone leave nothing in memory that only a collection of garbage would find.

Such collections are rare in a busy service, and pass over what is old (concurrency/garbage.py): a crowd that comes and
goes again and again must not need more memory each time.
"""

from __future__ import annotations

import gc
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio
from web_rig import GET, TEST_S, UPGRADE, Site, serving

from identity import Identity, trusting

MANY = 20
LOOKS = 200
UPGRADED = b"GET /ws HTTP/1.1\r\n" + UPGRADE


@pytest.fixture
def nothing_collected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ours() -> Counter[str]:
    """How many objects of connections there are, by class."""
    names = Counter(type(one).__qualname__ for one in gc.get_objects())
    wanted = ("Connection", "Http11", "HTTPStream", "TaskGroup", "Peer", "Listener", "SecureSocket", "TlsSession")
    return Counter({name: names[name] for name in wanted})


def come_and_go(site: Site, say: bytes, context: ssl.SSLContext | None) -> None:
    """Many at once, each with an answer where one is due. In a thread: nothing of it must stay in Trio's."""
    with ExitStack() as open_:
        dialed = []
        for _ in range(MANY):
            one: socket.socket = open_.enter_context(socket.create_connection(site.address, TEST_S))
            if context is not None:
                one = open_.enter_context(context.wrap_socket(one, server_hostname="127.0.0.1"))
            one.sendall(say)
            dialed.append(one)
        if say.endswith(b"\r\n\r\n"):
            for one in dialed:
                one.recv(4096)


async def assert_left_behind_nothing(site: Site, visit: Callable[[], None]) -> None:
    before, left = ours(), Counter({"not looked yet": 1})
    await trio.to_thread.run_sync(visit)
    for _ in range(LOOKS):  # their tasks end a few turns later
        await trio.sleep(0.01)
        left = ours() - before
        if not left:
            break
    assert not left
    assert not site.count("transport_connections")


@pytest.mark.parametrize(
    "say", [b"", b"GET /health HTT", GET, UPGRADED], ids=["silent", "half a head", "request", "listener"]
)
async def test_connections_leave_nothing_behind(nothing_collected: None, say: bytes) -> None:
    async with serving() as site:
        await assert_left_behind_nothing(site, partial(come_and_go, site, say, None))


@pytest.mark.parametrize("say", [b"", GET, UPGRADED], ids=["silent", "request", "listener"])
async def test_nor_do_connections_within_tls(nothing_collected: None, tmp_path: Path, say: bytes) -> None:
    async with serving(**Identity.new(tmp_path).settings) as site:
        await assert_left_behind_nothing(site, partial(come_and_go, site, say, trusting()))
