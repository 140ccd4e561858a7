"""A real nats-server for tests, and an independent look at what it has stored: plain nats-py in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
import nats
import nats.errors
import nats.js.errors
import trio
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig, StreamInfo
from nats.js.client import JetStreamContext

from ports import free_port
from transport_trio.bus import leash
from transport_trio.bus.home import find_program

T = TypeVar("T")
STREAM = "TRANSPORT_EVENTS"
START_S = 20.0
PLACES = 200


class NatsServer:
    """A server on a port of its own on 127.0.0.1, to be stopped, killed, frozen and started again on its store."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self._folder = folder
        self._config: dict[str, Any] = {"jetstream": {"store_dir": str(folder / "store")}, **config}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return self.url_through(self.port)

    def url_through(self, port: int) -> str:
        return f"nats://127.0.0.1:{port}"

    def wipe(self) -> None:
        """Delete its store, as if its disk were new; it must not run."""
        assert self._process is None
        shutil.rmtree(self._folder / "store")

    def start(self) -> None:
        """Start it, on the same port each time, and return when it listens. It dies with the thread that calls this."""
        assert threading.current_thread() is threading.main_thread(), "a worker thread ends when it is idle"
        self._folder.mkdir(parents=True, exist_ok=True)
        for stale in self._folder.glob("*.ports"):
            stale.unlink()
        listen = {"listen": f"127.0.0.1:{self.port}", "ports_file_dir": str(self._folder)}
        config = self._folder / "test.conf"
        config.write_text(json.dumps(listen | self._config, ensure_ascii=False))
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(self._folder / "pid")]
        command = [*leashed, find_program(), "-c", str(config)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not (found := list(self._folder.glob("*.ports"))) or not found[0].stat().st_size:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=START_S)
            self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal takes its time, and until then the server answers.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@attrs.frozen
class Place:
    """A world of its own on a shared server: a NATS account, of which no other sees a subject or a stream.

    A stream that is deleted and at once made again can come back with its messages; so nobody's is used twice.
    """

    user: str
    port: int

    @property
    def url(self) -> str:
        return self.url_through(self.port)

    def url_through(self, port: int) -> str:
        return f"nats://{self.user}:{self.user}@127.0.0.1:{port}"


class SharedServer(NatsServer):
    """A server for many tests."""

    def __init__(self, folder: Path) -> None:
        self._users = [f"place{number}" for number in range(PLACES)]
        accounts = {user: {"jetstream": "enabled", "users": [{"user": user, "password": user}]} for user in self._users}
        super().__init__(folder, accounts=accounts)

    def places(self) -> Iterator[Place]:
        """Each of them once."""
        return (Place(user, self.port) for user in self._users)


@attrs.frozen
class Stored:
    """A message as it is in the stream."""

    seq: int
    subject: str
    body: bytes
    headers: dict[str, str]

    @property
    def session_id(self) -> str:
        return self.subject.split(".")[2]

    @property
    def epoch(self) -> str:
        return self.headers["Nats-Msg-Id"].partition(":")[0]

    @property
    def event_id(self) -> int:
        return int(self.headers["Nats-Msg-Id"].partition(":")[2])


class Onlooker:
    """Somebody else on the same server: reads, writes, breaks things. Each call is a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def stored(self) -> list[Stored]:
        """Everything that is in the stream, in its order."""

        async def read(jetstream: JetStreamContext) -> list[Stored]:
            try:
                state = (await jetstream.stream_info(STREAM)).state
            except nats.js.errors.NotFoundError:
                return []
            # With acks the server would stop at 1,000 messages that nobody has acknowledged.
            looks = ConsumerConfig(ack_policy=AckPolicy.NONE)
            subscription = await jetstream.pull_subscribe("transport.events.>", stream=STREAM, config=looks)
            found: list[Stored] = []
            while len(found) < state.messages:
                for message in await subscription.fetch(min(500, state.messages - len(found)), timeout=5):
                    seq = message.metadata.sequence.stream
                    found.append(Stored(seq, message.subject, message.data, dict(message.headers or {})))
            await subscription.unsubscribe()
            return found

        return await self.ask(read)

    async def publish(self, subject: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> int:
        return await self.ask(lambda jetstream: _sequence(jetstream, subject, body, headers))

    async def info(self) -> StreamInfo:
        return await self.ask(lambda jetstream: jetstream.stream_info(STREAM))

    async def add_stream(self, **config: Any) -> None:
        await self.ask(lambda jetstream: jetstream.add_stream(StreamConfig(**config)))

    async def update_stream(self, **config: Any) -> None:
        await self.ask(lambda jetstream: jetstream.update_stream(StreamConfig(**config)))

    async def delete_stream(self, name: str = STREAM) -> None:
        await self.ask(lambda jetstream: jetstream.delete_stream(name))

    async def purge(self) -> None:
        await self.ask(lambda jetstream: jetstream.purge_stream(STREAM))

    async def ask(self, question: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        return await trio.to_thread.run_sync(lambda: asyncio.run(self._connected(question)))

    async def _connected(self, question: Callable[[JetStreamContext], Awaitable[T]]) -> T:  # asyncio flavour
        client = await nats.connect(self._url, allow_reconnect=False, connect_timeout=5, error_cb=_quiet)
        try:
            return await question(client.jetstream())
        finally:
            await client.close()


async def _quiet(_exc: Exception) -> None:  # asyncio flavour
    """What goes wrong is raised where it was asked for; the client would print it besides."""


async def _sequence(
    jetstream: JetStreamContext, subject: str, body: bytes, headers: dict[str, str] | None
) -> int:  # asyncio flavour
    return (await jetstream.publish(subject, body, headers=headers)).seq
