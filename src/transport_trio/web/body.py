"""A request's body: bounded in size and in time, and waited for before a connection is closed over it."""

from __future__ import annotations

import trio
from quart import Response, request
from quart.typing import ResponseTypes
from quart.wrappers import Request as QuartRequest
from quart.wrappers.response import DataBody, ResponseBody
from quart_trio.wrappers import TrioRequest
from werkzeug.http import parse_options_header

from transport_trio.web.problems import BodyTooLarge, BodyTooSlow, UnsupportedMediaType

BODY_MAX_BYTES = 64 * 1024
# How long an answer that came before the end of the request's body waits for that end. Closing a connection with
# unread data is a reset, and a reset can cost the client our answer; an honest client is done sending in a moment.
LINGER_S = 1.0


class RequestBody:
    """What Quart fills while a request comes in. Past the limit nothing is kept."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self._limit = max_content_length if max_content_length is not None else BODY_MAX_BYTES
        self._data = bytearray()
        self._ended = trio.Event()
        self._decided = trio.Event()  # ended, or too large
        self._too_large = False
        if expected_content_length is not None and expected_content_length > self._limit:
            self._refuse()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def check_size(self) -> None:
        """Refuse a body that is known to be too large, before any of it is read.

        Raises:
            BodyTooLarge.
        """
        if self._too_large:
            raise BodyTooLarge(f"the body is larger than {self._limit} bytes", {"Connection": "close"})

    async def read(self, timeout_s: float) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: as soon as that is known.
            BodyTooSlow: it has not ended within `timeout_s`.
        """
        with trio.move_on_after(timeout_s) as patience:
            await self._decided.wait()
        if patience.cancelled_caught:
            raise BodyTooSlow(f"the body did not come within {timeout_s:g} s", {"Connection": "close"})
        self.check_size()
        return bytes(self._data)

    async def wait_ended(self) -> None:
        await self._ended.wait()

    def append(self, data: bytes) -> None:
        """Called by Quart for each piece."""
        if self._too_large:
            return
        self._data.extend(data)
        if len(self._data) > self._limit:
            self._refuse()

    def set_complete(self) -> None:
        """Called by Quart after the last piece."""
        self._ended.set()
        self._decided.set()

    def _refuse(self) -> None:
        self._too_large = True
        self._data.clear()
        self._decided.set()


class Request(TrioRequest):
    body_class = RequestBody  # type: ignore[assignment] # it stands in for Quart's, which has no bound in time


class Lingering(ResponseBody):
    """An answer's body that, once sent, waits up to `LINGER_S` for the request's body to end."""

    def __init__(self, answer: DataBody, request_body: RequestBody) -> None:
        self._data = answer.data
        self._request_body = request_body
        self._sent = False

    async def __aenter__(self) -> Lingering:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def __aiter__(self) -> Lingering:
        return self

    async def __anext__(self) -> bytes:
        if not self._sent:
            self._sent = True
            return self._data
        with trio.move_on_after(LINGER_S):
            await self._request_body.wait_ended()
        raise StopAsyncIteration


def body_of(asked: QuartRequest) -> RequestBody:
    body: object = asked.body
    assert isinstance(body, RequestBody)
    return body


def linger(response: ResponseTypes, asked: QuartRequest) -> None:
    """Have an answer wait for the end of a body that is still coming; what is complete stays as it is."""
    body = body_of(asked)
    if not body.has_ended and isinstance(response, Response) and isinstance(response.response, DataBody):
        response.response = Lingering(response.response, body)


async def read_json(timeout_s: float) -> bytes:
    """The current request's body, said to be JSON.

    Raises:
        BodyTooLarge, BodyTooSlow, UnsupportedMediaType: checked in this order.
    """
    data = await body_of(request).read(timeout_s)
    given = request.headers.getlist("Content-Type")
    if len(given) != 1 or not is_json(given[0]):
        raise UnsupportedMediaType("the body must be sent as Content-Type: application/json")
    return data


def is_json(content_type: str) -> bool:
    media_type, parameters = parse_options_header(content_type)
    return media_type.lower() == "application/json" and parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8"}
