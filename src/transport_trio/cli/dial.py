"""A bare connection to the service, TLS included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from transport_trio.cli.target import Target

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@asynccontextmanager
async def open_stream(target: Target, *, within_s: float) -> AsyncIterator[Stream]:
    """A stream to the service, made within this time and closed without ceremony at the end.

    Raises:
        OSError: nobody is there, or the certificate is not trusted.
    """
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or (443 if target.is_secure else 80)
    stream: Stream | None = None
    try:
        with trio.move_on_after(within_s) as patience:
            stream = plain = await trio.open_tcp_stream(host, port)
            if target.is_secure:
                stream = secure = trio.SSLStream(plain, target.tls(), server_hostname=host, https_compatible=True)
                await _shake_hands(secure)
        if stream is None or patience.cancelled_caught:
            raise OSError(f"no connection within {within_s:g} s")
        yield stream
    finally:
        # trio-websocket leaves its stream open where the other side ended first.
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def _shake_hands(stream: trio.SSLStream[trio.SocketStream]) -> None:
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        raise OSError("TLS failed") from exc
