"""Between the application and Hypercorn: the sandbox's `Date`, and connections cut in the middle of an answer."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import trio
from hypercorn.protocol.events import StreamClosed
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

# Tells the edge to cut: `answer` before a byte of it is sent, `body` in its middle. Never goes out.
CUT_HEADER = "X-Sandbox-Cut"
HANG_UP_S = 1.0  # closing a socket waits for nobody
_CUT_HEADER = CUT_HEADER.lower().encode()


class Edge:
    """An ASGI application around another."""

    def __init__(self, app: ASGIFramework, now: Callable[[], float]) -> None:
        self._app, self._now = app, now

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            send = _Answer(send, self._now)
        await self._app(scope, receive, send)


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
            await self._hang_up()
        elif self._cut == b"body" and message["type"] == "http.response.body" and message.get("body"):
            body = message["body"]
            await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            await self._hang_up()
        else:
            await self._send(message)

    def _with_date(self, message: dict[str, Any]) -> dict[str, Any]:
        headers = [(bytes(name).lower(), bytes(value)) for name, value in message["headers"]]
        self._cut = dict(headers).get(_CUT_HEADER)
        date = formatdate(self._now(), usegmt=True).encode()
        return {**message, "headers": [*(one for one in headers if one[0] != _CUT_HEADER), (b"date", date)]}

    async def _hang_up(self) -> None:
        # ASGI has no word for it, so this says to Hypercorn's stream what Hypercorn says itself when an
        # application ends too early: with an answer begun and not done, the socket is closed.
        self._is_cut = True
        stream = self._send.__self__  # type: ignore[attr-defined]
        # The stream tells the application first that its client is gone, which cancels us here.
        with trio.move_on_after(HANG_UP_S, shield=True):
            await stream.send(StreamClosed(stream_id=stream.stream_id))
