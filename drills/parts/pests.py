"""Listeners that misbehave, each in its own way, and what the service should close it for."""

from __future__ import annotations

import json
import random
import re
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.wire import BINARY, HOST, PING, TEXT, close_code, frame, upgrade_request, vanish

RECEIVE_BYTES = 4096  # a small window, so that who does not read is noticed soon
WELCOME = re.compile(rb'"listener_id":"(\w+)"')
PONG_MESSAGE = frame(TEXT, b'{"type":"pong"}')
PING_MESSAGE = frame(TEXT, b'{"type":"ping"}')
COME_BACK_S = 2.0
ARRIVE_S = 3.0  # not all at the same instant: what is tried is not a burst of handshakes
PEOPLE = random.Random(14)


@attrs.define(eq=False)
class Pest:
    """One connection of one that misbehaves."""

    kind: Kind
    began: float  # wall clock, as the log's
    listener_id: str = ""
    code: int | None = None  # that it has read
    over: bool = False  # it has read to the end


@attrs.frozen
class Kind:
    """`reasons` are the labels that it may be closed with; `reads`: it gets to see the close frame."""

    name: str
    reasons: frozenset[str]
    behave: Callable[[Any, float], Awaitable[None]]
    reads: bool = False
    query: str = ""


async def _quiet(peer: Any, _heartbeat_s: float) -> None:
    await trio.sleep_forever()


async def _talks(peer: Any, heartbeat_s: float) -> None:
    while True:
        await peer.send(PONG_MESSAGE)
        await trio.sleep(heartbeat_s / 2)


async def _drips(peer: Any, _heartbeat_s: float) -> None:
    while await peer.recv(1):
        await trio.sleep(1)


async def _drips_and_talks(peer: Any, heartbeat_s: float) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_talks, peer, heartbeat_s)
        nursery.start_soon(_drips, peer, heartbeat_s)


async def _vanishes(peer: Any, _heartbeat_s: float) -> None:
    vanish(peer)
    await trio.sleep_forever()


def _repeats(make: Callable[[], bytes], pause_s: float = 0.0) -> Callable[[Any, float], Awaitable[None]]:
    async def behave(peer: Any, _heartbeat_s: float) -> None:
        while True:
            data = make()
            while data:
                data = data[await peer.send(data) :]
            await trio.sleep(pause_s)

    return behave


def _random_bytes() -> bytes:
    # Its first two bits make it no frame; the rest is anything.
    return b"\xf3" + PEOPLE.randbytes(100)


# Who hears little is noticed by its silence; with others, a write that does not finish may be noticed first.
SILENT, EITHER, SLOW = frozenset({"silent"}), frozenset({"silent", "too_slow"}), frozenset({"too_slow"})
LITTLE = "?types=token_expired"
PROTOCOL, BAD, FLOOD = frozenset({"protocol"}), frozenset({"bad_messages"}), frozenset({"flooding"})
NEVER_READ = (
    Kind("never reads", EITHER, _quiet),
    Kind("never reads, but talks", SLOW, _talks),
    Kind("never reads, and hears little", SILENT, _quiet, query=LITTLE),
)
ONE_BYTE = (Kind("reads a byte a second", EITHER, _drips), Kind("a byte a second, but talks", SLOW, _drips_and_talks))
VANISHED = (
    Kind("vanishes without FIN", EITHER, _vanishes),
    Kind("vanishes, and hears little", SILENT, _vanishes, query=LITTLE),
)
GARBAGE = (
    Kind("random bytes", PROTOCOL, _repeats(_random_bytes, 0.05), reads=True),
    Kind("frames that are not masked", PROTOCOL, _repeats(lambda: frame(TEXT, b"{}", mask=False), 0.05), reads=True),
    Kind("bad JSON", BAD, _repeats(lambda: frame(TEXT, b'{"type":'), 0.02), reads=True),
    Kind("binary", BAD, _repeats(lambda: frame(BINARY, b"\0" * 100), 0.02), reads=True),
    Kind("bad UTF-8", frozenset({"not_utf8"}), _repeats(lambda: frame(TEXT, b"\xc3\x28"), 0.05), reads=True),
    Kind("5 KiB", frozenset({"too_big"}), _repeats(lambda: frame(TEXT, b"x" * 5_120), 0.05), reads=True),
)
FLOODING = (
    Kind("floods with messages", FLOOD, _repeats(lambda: PING_MESSAGE * 50), reads=True),
    Kind("floods with pings", FLOOD, _repeats(lambda: frame(PING, b"x" * 100) * 50), reads=True),
)


@attrs.define(eq=False)
class Pests:
    """Those of a drill; tasks run in the drill's nursery until `over`."""

    port: int
    heartbeat_s: float
    met: list[Pest] = attrs.field(factory=list)
    over: bool = False
    arrive_s: float = ARRIVE_S

    def start(self, nursery: trio.Nursery, kinds: tuple[Kind, ...], count: int) -> None:
        for number in range(count):
            nursery.start_soon(self._live, kinds[number % len(kinds)], number / count * self.arrive_s)

    async def _live(self, kind: Kind, after_s: float) -> None:
        """Misbehave; those that are closed and see it come back for more."""
        await trio.sleep(after_s)
        while not self.over:
            with trio.socket.socket() as peer:
                try:
                    await self._connect(peer, kind)
                except* OSError:
                    pass  # reset, cut, or nobody there
            await trio.sleep(COME_BACK_S)

    async def _connect(self, peer: Any, kind: Kind) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        await peer.connect((HOST, self.port))
        await peer.send(upgrade_request(kind.query))
        received = bytearray()
        while (welcome := WELCOME.search(received)) is None:
            data = await peer.recv(4096)
            if not data:
                return
            received += data
        pest = Pest(kind, time.time(), welcome[1].decode())
        self.met.append(pest)
        if not kind.reads:
            await kind.behave(peer, self.heartbeat_s)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._misbehave, peer, kind)
            try:
                while data := await peer.recv(65536):
                    received += data
            finally:
                pest.code, pest.over = close_code(bytes(received)), True
                nursery.cancel_scope.cancel()

    async def _misbehave(self, peer: Any, kind: Kind) -> None:
        with suppress(OSError):  # the reader tells how it ended
            await kind.behave(peer, self.heartbeat_s)


@attrs.frozen
class Closed:
    """What the service says of a listener that it closed."""

    reason: str
    code: int
    at: float


def closed_in(log: Path) -> dict[str, Closed]:
    """By listener id."""
    found = {}
    for line in log.read_text().splitlines():
        if '"event": "listener closed"' in line:
            told = json.loads(line)
            at = _seconds(told["time"])
            found[told["listener_id"]] = Closed(told["reason"], told["code"], at)
    return found


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
