"""One connection to NATS, in Trio's terms. Only here and in `outbox` is asyncio known (nats-py through trio-asyncio).

nats-py is told never to reconnect by itself: what waits in the buffers of a lost connection would be sent later,
unseen. Whoever lost a link makes a new one. Whatever goes wrong over there becomes a `BusError` here.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Future, Task, get_running_loop
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

import attrs
import nats.errors
import trio
import trio_asyncio
from nats.aio.client import Client
from nats.js.api import PubAck, RawStreamMsg, StreamConfig, StreamInfo
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from transport_trio.bus.outbox import Outbox, Outgoing
from transport_trio.errors import BusMisconfigured, BusOutOfSequence, BusRefused, BusUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# The first server whose fence can cover all subjects of a session, and not just the one published to.
MIN_SERVER = (2, 11)
# JetStream's error codes, as the server sends them.
NO_MESSAGE = 10037
TOO_LARGE = 10054
NO_STREAM = 10059
WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
# Far more than is ever in flight: past it nats-py waits for the socket, and swallows the cancellation of that wait.
PENDING_MAX = 256 * 1024 * 1024


class NoStream(BusUnavailable):
    """The stream is not there (any more)."""


class NoMessage(BusUnavailable):
    """The stream holds no such message."""


@attrs.frozen(kw_only=True)
class LinkSettings:
    """How patient a connection is, in seconds."""

    connect_s: float = 5.0
    ack_s: float = 5.0
    ping_s: float = 10.0
    close_s: float = 1.0


class Link:
    """A connection from its first byte to its first fault. `lost` is set then: it is of no more use.

    Every call is bounded by `ack_s` and ends at once when the connection is lost. All raise `BusUnavailable` when
    no answer came: whether the request took effect is then unknown.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._client = Client()
        self._jetstream: JetStreamContext = self._client.jetstream(timeout=settings.ack_s)
        self._outbox = Outbox(self._client)
        self._sending: Task[None] | None = None
        self._calls: set[trio.CancelScope] = set()
        self._fault = ""
        self._connected = False
        self.lost = trio.Event()

    async def connect(self, servers: list[str]) -> None:
        """Connect to the first server that answers.

        Raises:
            BusUnavailable: none does, or none lets us in.
            BusMisconfigured: the server is too old for the fence.
        """
        with trio.move_on_after(self._settings.connect_s * (len(servers) + 1)) as scope, _translated():
            await trio_asyncio.aio_as_trio(self._connect)(servers)
        if scope.cancelled_caught:
            raise BusUnavailable("no answer in time")
        version = self._client.connected_server_version
        if (version.major, version.minor) < MIN_SERVER:
            raise BusMisconfigured(f"nats-server {version.major}.{version.minor} is too old; 2.11 or later is needed")

    @property
    def max_payload(self) -> int:
        """The most bytes, headers included, that the server takes in one message."""
        return self._client.max_payload

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> PubAck:
        """Store a message.

        Raises:
            BusOutOfSequence, BusRefused, BusUnavailable: as the port says.
        """
        with self._exchange():
            return await self._outbox.publish(Outgoing(subject, body, headers))
        return self.refuse()

    async def stream_info(self, name: str) -> StreamInfo:
        """Raises `NoStream` when there is none."""
        return await self._call(self._jetstream.stream_info, name)

    async def add_stream(self, config: StreamConfig) -> StreamInfo:
        return await self._call(self._jetstream.add_stream, config)

    async def last_message(self, stream: str, subjects: str) -> RawStreamMsg:
        """Raises `NoMessage` when there is none."""
        return await self._call(self._jetstream.get_msg, stream, subject=subjects)

    async def next_message(self, stream: str, subjects: str, seq: int) -> RawStreamMsg:
        """The first message at `seq` or later; raises `NoMessage` when there is none."""
        return await self._call(self._jetstream.get_msg, stream, seq=seq, subject=subjects, next=True)

    async def message_at(self, stream: str, seq: int) -> RawStreamMsg:
        """Raises `NoMessage` when it was deleted."""
        return await self._call(self._jetstream.get_msg, stream, seq=seq)

    async def close(self) -> None:
        """Close within `close_s`; a server that reads nothing any more is cut off."""
        if self._sending is not None:
            self._sending.cancel()
        with trio.move_on_after(self._settings.close_s, shield=True):
            try:
                await trio_asyncio.aio_as_trio(self._client.close)()
            except Exception as exc:
                # nats-py asserts here when it never got as far as a socket.
                log.debug("nats connection closed badly", extra={"error": repr(exc)})
        writer = getattr(self._client._transport, "_io_writer", None)
        if writer is not None:
            # nats-py offers no abort. Its close waits for ever for a peer that reads nothing; and when it has begun to
            # close by itself, ours returns at once and leaves that waiting, with socket and buffers, to the kernel.
            writer.transport.abort()

    def refuse(self) -> NoReturn:
        """Raise `BusUnavailable` with the reason why this connection gives no answer."""
        if self.lost.is_set():
            raise BusUnavailable(f"the connection was lost ({self._fault or 'closed by the server'})")
        raise BusUnavailable(f"no answer within {self._settings.ack_s:g} s")

    async def _call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._exchange():
            answer: T = await trio_asyncio.aio_as_trio(function)(*args, **kwargs)
            return answer
        return self.refuse()

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """The block ends, and what follows it is reached, when there is no answer in time or the connection is lost."""
        with trio.move_on_after(self._settings.ack_s) as scope, _translated():
            if self.lost.is_set():
                self.refuse()
            self._calls.add(scope)
            try:
                yield
            finally:
                self._calls.discard(scope)

    # From here on asyncio flavour. What is called back must neither raise nor wait.

    async def _connect(self, servers: list[str]) -> None:
        try:
            await self._client.connect(
                servers,
                name="transport_trio",
                error_cb=self._on_error,
                allow_reconnect=False,
                # Each server is tried twice; with 0 nats-py would try for ever.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=self._settings.connect_s,  # type: ignore[arg-type]
                pending_size=PENDING_MAX,
                ping_interval=self._settings.ping_s,  # type: ignore[arg-type]
            )
        except nats.errors.NoServersError as exc:
            raise OSError(self._fault or "no server answers") from exc
        # nats-py says nothing when its parser gives up reading, and calls us back late when its closing takes long.
        reading = self._client._reading_task
        assert reading is not None
        reading.add_done_callback(self._on_end)
        self._sending = get_running_loop().create_task(self._outbox.run())
        self._sending.add_done_callback(self._on_end)
        self._connected = True

    async def _on_error(self, exc: Exception) -> None:
        self._fault = str(exc) or type(exc).__name__
        if self._connected:
            self._on_end()

    def _on_end(self, _task: Future[None] | None = None) -> None:
        self.lost.set()
        for scope in tuple(self._calls):
            scope.cancel(reason="the connection to NATS was lost")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except APIError as exc:
        if exc.err_code is None:  # nobody serves JetStream's subjects
            raise BusUnavailable("JetStream does not answer; it must be enabled (nats-server -js)") from exc
        text = f"{exc.description} (code {exc.err_code})"
        if exc.err_code in WRONG_LAST_SEQUENCE:
            raise BusOutOfSequence(text) from exc
        if exc.err_code == TOO_LARGE:
            raise BusRefused(text) from exc
        if exc.err_code == NO_MESSAGE:
            raise NoMessage(text) from exc
        if exc.err_code == NO_STREAM:
            raise NoStream(text) from exc
        raise BusUnavailable(text) from exc
    except TimeoutError as exc:
        raise BusUnavailable("no answer in time") from exc
    except Exception as exc:
        # nats-py lets through whatever its sockets and parsers raise; one odd byte must not end the service.
        raise BusUnavailable(str(exc) or type(exc).__name__) from exc


def guard_loop() -> None:
    """Log the errors that nobody awaits on the asyncio side, for as long as the loop lives.

    Left alone, trio-asyncio ends the loop with them, and so the service.
    """
    loop = trio_asyncio.current_loop.get()
    if loop is None:
        raise RuntimeError("open_nats() must be entered inside trio_asyncio.open_loop()")
    loop.set_exception_handler(_log_loop_error)


def _log_loop_error(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("asyncio error", extra={"error": context.get("message")}, exc_info=context.get("exception"))
