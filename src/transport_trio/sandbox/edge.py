"""Between the application and Hypercorn: the sandbox's `Date`, and connections cut in the middle of an answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.refusals import unknown_endpoint

# Tells the edge to cut: `answer` before a byte of it is sent, `body` in its middle. Never goes out.
CUT_HEADER = "X-Sandbox-Cut"
_CUT_HEADER = CUT_HEADER.lower().encode()


class Edge:
    """An ASGI application around another."""

    def __init__(self, app: ASGIFramework, now: Callable[[], float]) -> None:
        self._app, self._now = app, now

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "websocket":
            await _refuse_upgrade(send)
            return
        if scope["type"] == "http":
            send = _Answer(send, self._now)
        await self._app(scope, receive, send)


async def _refuse_upgrade(send: ASGISendCallable) -> None:
    error = unknown_endpoint()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": jsonform.write(error.body), "more_body": False})


class _Answer:
    def __init__(self, send: ASGISendCallable, now: Callable[[], float]) -> None:
        self._send, self._now = send, now
        self._cut: bytes | None = None
        self._is_cut = False

    async def __call__(self, message: Any) -> None:
        if self._is_cut:
            return
        if message["type"] == "http.response.start":
            message = self._with_date(message)
        if self._cut == b"answer":
            self._hang_up()
        elif self._cut == b"body" and message["type"] == "http.response.body" and message.get("body"):
            body = message["body"]
            await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            self._hang_up()
        else:
            await self._send(message)

    def _with_date(self, message: dict[str, Any]) -> dict[str, Any]:
        headers = [(bytes(name).lower(), bytes(value)) for name, value in message["headers"]]
        self._cut = dict(headers).get(_CUT_HEADER)
        date = formatdate(self._now(), usegmt=True).encode()
        return {**message, "headers": [*(one for one in headers if one[0] != _CUT_HEADER), (b"date", date)]}

    def _hang_up(self) -> None:
        # ASGI has no word for it, so this goes past it: from our `send` to Hypercorn's stream, its protocol, its
        # connection. To Hypercorn it looks as if the peer had gone, and to the peer as if we had. (Asking Hypercorn
        # to close can collide with what another of its tasks is sending, which ends the whole server.)
        self._is_cut = True
        connection = self._send.__self__.send.__self__.send.__self__  # type: ignore[attr-defined]
        with suppress(OSError):  # the client was faster
            connection.stream.socket.shutdown(trio.socket.SHUT_RDWR)
