"""A request as the sandbox's calls see it, and what they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import attrs
import trio

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.refusals import ApiError


class HungUp(Exception):
    """The client has gone, and what was to be done for it is not."""


@attrs.frozen(kw_only=True)
class Request:
    """`args` are the parts of the path that the route names. A name in the query counts once: the first.

    `hung_up` returns when the client has gone.
    """

    method: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, str]
    authorization: str
    host: str  # as the client calls us
    raw_body: bytes | ApiError
    hung_up: Callable[[], Awaitable[None]]

    def body(self) -> bytes:
        """The body as it came.

        Raises:
            ApiError: it was too large, or did not come in time.
        """
        if isinstance(self.raw_body, ApiError):
            raise self.raw_body
        return self.raw_body

    async def sleep(self, seconds: float) -> None:
        """Let the client wait.

        Raises:
            HungUp: it did not.
        """
        with trio.move_on_after(seconds):
            await self.hung_up()
            raise HungUp


@attrs.frozen
class Answer:
    """`cut` breaks the connection off: before a byte of the `answer` is sent, or in the middle of its `body`."""

    body: bytes
    status: int = 200
    retry_after_s: float | None = None
    content_type: bytes = b"application/json"
    cut: Literal["answer", "body"] | None = None


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(jsonform.write(value), status)


def refusal(error: ApiError) -> Answer:
    return Answer(jsonform.write(error.body), error.status, error.retry_after_s)
