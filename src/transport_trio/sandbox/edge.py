"""Between Hypercorn and the sandbox's calls: requests with their routes, answers with their `Date`, cut connections.

Plain ASGI instead of Quart: half the processor time that a drill's request cost here went into the framework.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from transport_trio.sandbox.exchange import Answer, HungUp, Request, refusal
from transport_trio.sandbox.refusals import ApiError, too_large, too_slow, unknown_endpoint

MAX_BODY_BYTES = 2 * 1024 * 1024  # a batch of 1000 rooms fits
BODY_S = 60.0

View = Callable[[Request], Awaitable[Answer]]
Route = tuple[str, str, View]  # method, path as Werkzeug writes it, what is behind it

log = logging.getLogger(__name__)


class Edge:
    """An ASGI application of these routes; `unknown` answers what none of them takes."""

    def __init__(self, routes: list[Route], unknown: View, now: Callable[[], float]) -> None:
        # Daily's server takes a path with or without a slash at its end, and redirects nobody.
        rules = [Rule(path, methods=[method], endpoint=view) for method, path, view in routes]
        self._routes = Map(rules, strict_slashes=False, merge_slashes=False).bind("sandbox")
        self._unknown, self._now = unknown, now

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        match scope["type"]:
            case "http":
                body = await _read(receive)
                if body is None:
                    return
                with suppress(HungUp):
                    answer = await self._answer(scope, body, partial(_wait_for_end, receive))
                    await self._send(scope, answer, send)
            case "websocket":
                await _refuse_upgrade(send)
            case "lifespan":
                await _live(receive, send)

    async def _answer(self, scope: HTTPScope, body: bytes | ApiError, hung_up: Callable[[], Awaitable[None]]) -> Answer:
        view, args = self._route(scope["path"], scope["method"])
        request = Request(
            method=scope["method"],
            path=scope["path"],
            args=args,
            query=_query(scope["query_string"]),
            authorization=authorization_of(scope),
            host=_header(scope, b"host"),
            raw_body=body,
            hung_up=hung_up,
        )
        try:
            return await view(request)
        except ApiError as exc:
            return refusal(exc)
        except HungUp:
            raise
        except Exception:
            log.exception("request crashed", extra={"method": request.method, "path": request.path})
            return refusal(ApiError(500, "server-error"))

    def _route(self, path: str, method: str) -> tuple[View, Mapping[str, str]]:
        try:
            return self._routes.match(path, method)
        except HTTPException:
            return self._unknown, {}

    async def _send(self, scope: HTTPScope, answer: Answer, send: ASGISendCallable) -> None:
        body = answer.body
        if answer.cut == "answer":
            _hang_up(send)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": self._headers(answer)})
        if answer.cut == "body" and body and scope["method"] != "HEAD":
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            _hang_up(send)
        else:
            await send({"type": "http.response.body", "body": body, "more_body": False})

    def _headers(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"date", formatdate(self._now(), usegmt=True).encode()),
        ]
        if answer.retry_after_s is not None:
            headers.append((b"retry-after", f"{answer.retry_after_s:g}".encode()))
        return headers


async def _read(receive: ASGIReceiveCallable) -> bytes | ApiError | None:
    """The body, or what is wrong with it, or None when the client has hung up.

    Also what is too large is read to its end: Hypercorn leaves a connection deaf whose answer came first.
    """
    body, size = bytearray(), 0
    with trio.move_on_after(BODY_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            size += len(message["body"])
            if size <= MAX_BODY_BYTES:
                body += message["body"]
            if not message["more_body"]:
                return bytes(body) if size <= MAX_BODY_BYTES else too_large(MAX_BODY_BYTES)
    return too_slow(BODY_S)


async def _wait_for_end(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _query(query_string: bytes) -> dict[str, str]:
    return dict(reversed(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))) if query_string else {}


def authorization_of(scope: HTTPScope) -> str:
    return _header(scope, b"authorization")


def _header(scope: HTTPScope, wanted: bytes) -> str:
    return next((bytes(value).decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


async def _refuse_upgrade(send: ASGISendCallable) -> None:
    answer = refusal(unknown_endpoint())
    headers = [(b"content-type", b"application/json")]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})


async def _live(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _hang_up(send: Any) -> None:
    # ASGI has no word for it, so this goes past it: from our `send` to Hypercorn's stream, its protocol, its
    # connection. To Hypercorn it looks as if the peer had gone, and to the peer as if we had. (Asking Hypercorn
    # to close can collide with what another of its tasks is sending, which ends the whole server.)
    connection = send.__self__.send.__self__.send.__self__
    with suppress(OSError):  # the client was faster
        connection.stream.socket.shutdown(trio.socket.SHUT_RDWR)
