"""One request and its answer over HTTP, within one timeout. The only module that knows httpx."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import httpx
import trio

from transport_trio import __version__
from transport_trio.connectors.daily.answers import Answer, Failed, broken
from transport_trio.connectors.daily.operations import Operation
from transport_trio.errors import ProviderTimeout, ProviderUnreachable

# Shorter than the keep-alive of common servers (5 s), so that we rarely write into a connection that is closing.
KEEPALIVE_S = 4.0
SENDING = "send_request_headers.started"


@attrs.frozen
class Exchange:
    """Speaks to httpx's transport. Its client would add cookies, redirects and authentication, none of which this API
    has, for two fifths of the processor time of a request."""

    provider: str
    api_url: str
    headers: httpx.Headers = attrs.field(repr=False)
    pools: Mapping[str, httpx.AsyncHTTPTransport]  # by purpose
    timeout_s: float
    _timeouts: dict[str, float | None] = attrs.field(init=False)

    @_timeouts.default
    def _one_for_each_step(self) -> dict[str, float | None]:
        # Half for the connection and half for TLS: when the limit around all of it strikes in the middle of a
        # handshake, httpcore leaves the socket to the garbage collector.
        return httpx.Timeout(self.timeout_s, connect=self.timeout_s / 2).as_dict()

    async def ask(self, op: Operation, path: str, body: dict[str, Any] | None, params: dict[str, str] | None) -> Answer:
        """The answer, whatever its status.

        Raises:
            Failed: there is none, or not the whole of it.

        Cancellation: closes the connection; the request may have taken effect.
        """
        sent = False

        async def on_event(name: str, _info: dict[str, Any]) -> None:
            nonlocal sent
            sent = sent or name.endswith(SENDING)

        request = httpx.Request(
            op.method,
            f"{self.api_url}{path}",
            params=params,
            headers=self.headers,
            json=body,
            extensions={"timeout": self._timeouts, "trace": on_event},
        )
        request.stream = WholeBody(request.content)
        try:
            with trio.fail_after(self.timeout_s):
                async with aclosing(await self.pools[op.purpose].handle_async_request(request)) as response:
                    return await self._receive(op, response)
        except (trio.TooSlowError, httpx.TimeoutException) as exc:
            raise self._late(op, sent=sent) from exc
        except httpx.RequestError as exc:
            raise self._lost(op, sent=sent) from exc

    def _late(self, op: Operation, *, sent: bool) -> Failed:
        message = f"no connection to {self.provider} could be made in time"
        if sent:
            message = f"{self.provider} did not answer {op.name} within {self.timeout_s:g} s"
        in_doubt = sent and not op.repeatable
        return Failed("timeout", ProviderTimeout(self.provider, message, in_doubt=in_doubt), again=not in_doubt)

    def _lost(self, op: Operation, *, sent: bool) -> Failed:
        """No connection, or one that broke. What was never sent can be sent again, whatever it is."""
        in_doubt = sent and not op.repeatable
        what = f"the connection broke during {op.name}" if sent else "no connection could be made"
        error = ProviderUnreachable(self.provider, f"{self.provider} cannot be reached: {what}", in_doubt=in_doubt)
        return Failed("unreachable", error, again=not in_doubt)

    async def _receive(self, op: Operation, response: httpx.Response) -> Answer:
        content = bytearray()
        try:
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > op.answer_max_bytes:
                    # Not `break`: that would leave httpx's generators to the garbage collector. The next read fails.
                    await response.aclose()
        except httpx.RequestError as exc:
            if len(content) > op.answer_max_bytes:
                raise broken(op, "it does not end", self.provider) from exc
            raise
        headers = response.headers
        return Answer.of(
            response.status_code, bytes(content), headers.get("date"), headers.get("retry-after"), datetime.now(UTC)
        )


class WholeBody(httpx.AsyncByteStream):
    """A request's body, sent once. httpx's own is a generator that a cancelled or broken request leaves unfinished."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


@asynccontextmanager
async def open_exchange(
    *, provider: str, api_key: str, api_url: str, timeout_s: float, operations: Sequence[Operation], slots: int
) -> AsyncIterator[Exchange]:
    """Connections for up to `slots` requests of each operation at once; they close with the block.

    Each purpose has a pool of its own: httpcore looks at every pair of idle connections in a pool with each request.
    """
    purposes = Counter(op.purpose for op in operations)
    headers = httpx.Headers(
        {
            "Authorization": f"Bearer {api_key}",
            "Accept": "application/json",
            # Answers are small; uncompressed, their size is known while they come.
            "Accept-Encoding": "identity",
            "User-Agent": f"transport-trio/{__version__}",
        }
    )
    # The environment is not asked: proxies that somebody set for another program would see our key.
    tls = httpx.create_ssl_context(trust_env=False)
    async with AsyncExitStack() as stack:
        pools = {
            purpose: await stack.enter_async_context(_pool(tls, count * slots)) for purpose, count in purposes.items()
        }
        yield Exchange(provider, api_url, headers, pools, timeout_s)


def _pool(tls: ssl.SSLContext, connections_max: int) -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(
        verify=tls,
        trust_env=False,
        limits=httpx.Limits(
            max_connections=connections_max,
            max_keepalive_connections=connections_max,
            keepalive_expiry=KEEPALIVE_S,
        ),
    )
