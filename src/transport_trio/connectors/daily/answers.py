"""What an answer of Daily's means: a success, or which of our errors, and whether asking again makes sense. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar

import attrs

from transport_trio.connectors.daily.operations import Operation
from transport_trio.connectors.daily.reading import BrokenAnswer, error_of, parse_json
from transport_trio.connectors.retry import parse_http_date, parse_retry_after_s
from transport_trio.errors import (
    ConnectorError,
    ItemNotFound,
    ProviderBusy,
    ProviderRejected,
    ProviderThrottled,
    ProviderUnreachable,
    RoomNotFound,
)
from transport_trio.setting_connectors import variable

T = TypeVar("T")

# What callers are told to wait where Daily has no worker free; it says nothing about when.
WORKER_WAIT_S = 5.0
KEY_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# Daily answers a malformed header with 400; to our callers it is the same fault as a wrong key.
HEADER_ERROR = "authorization-header-error"
NOT_FOUND = "not-found"
# The one place where Daily's free text is looked at: a wrong base URL must not look like a deleted room.
NO_ENDPOINT = "api endpoint does not exist"


@attrs.frozen(kw_only=True)
class Answer:
    """An answer as it came. `at` is the provider's clock; ours where it tells none (`date` is then None)."""

    status: int
    content: bytes = attrs.field(default=b"", repr=False)
    date: datetime | None = None
    at: datetime
    retry_after_s: float | None = None

    @classmethod
    def of(cls, status: int, content: bytes, date: str | None, retry_after: str | None, now: datetime) -> Answer:
        theirs = parse_http_date(date)
        at = theirs or now
        wait_s = parse_retry_after_s(retry_after, at)
        return cls(status=status, content=content, date=theirs, at=at, retry_after_s=wait_s)

    @property
    def json(self) -> Any:
        """The body's value.

        Raises:
            BrokenAnswer: it is not JSON.
        """
        return parse_json(self.content)


class Failed(Exception):
    """An attempt that did not succeed. `again`: another one may, and can do no harm.

    `trouble` is what operators should know of, empty where only the caller is concerned.
    """

    def __init__(
        self,
        outcome: str,
        error: ConnectorError,
        *,
        again: bool = False,
        retry_after_s: float | None = None,
        trouble: str | None = None,
    ) -> None:
        super().__init__(str(error))
        self.outcome, self.error, self.again, self.retry_after_s = outcome, error, again, retry_after_s
        self.trouble = str(error) if trouble is None else trouble


def understand(
    op: Operation, answer: Answer, read: Callable[[Answer], T], *, room: str, secret: str, provider: str
) -> T:
    """What `read` makes of a success.

    Raises:
        Failed: the answer is no success, or `read` found it broken.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        try:
            return read(answer)
        except BrokenAnswer as exc:
            raise broken(op, str(exc), provider) from exc
    raise _refusal(op, answer, room, secret, provider)


def broken(op: Operation, why: str, provider: str) -> Failed:
    """An answer arrived, but it says nothing: the request may well have taken effect."""
    message = f"{provider}'s answer to {op.name} makes no sense: {why}"
    return Failed("broken", ProviderUnreachable(provider, message, in_doubt=not op.repeatable), again=op.repeatable)


def _refusal(op: Operation, answer: Answer, room: str, secret: str, provider: str) -> Failed:
    try:
        body = answer.json
    except BrokenAnswer:
        body = None
    kind, detail = error_of(body, secret)
    detail = detail or _phrase(answer.status)
    status = answer.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait_s = answer.retry_after_s
        return Failed("throttled", ProviderThrottled(provider, wait_s or 0.0), again=True, retry_after_s=wait_s)
    if status in KEY_REFUSALS or kind == HEADER_ERROR:
        trouble = f"{provider} refuses our key ({status} {kind or detail}); check {variable(provider, 'api_key')}"
        refused = status if status in KEY_REFUSALS else HTTPStatus.UNAUTHORIZED
        return Failed("rejected", ProviderRejected(provider, refused, detail), trouble=trouble)
    if status == HTTPStatus.NOT_FOUND:
        return _not_found(op, body, kind, detail, room, provider)
    if op.tier == "start" and status == HTTPStatus.SERVICE_UNAVAILABLE and kind:
        # The API's own word, and no proxy's: there is no worker, so nothing was begun.
        busy = ProviderBusy(provider, detail, answer.retry_after_s or WORKER_WAIT_S)
        return Failed("busy", busy, trouble="")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.REQUEST_TIMEOUT:
        return Failed("rejected", ProviderRejected(provider, status, detail), trouble="")
    error = ProviderUnreachable(provider, f"{provider} answered {status}: {detail}", in_doubt=not op.repeatable)
    return Failed("server_error", error, again=op.repeatable, retry_after_s=answer.retry_after_s)


def _not_found(op: Operation, body: Any, kind: str, detail: str, room: str, provider: str) -> Failed:
    if detail == NO_ENDPOINT:
        trouble = f"{provider} has no endpoint for {op.name}; check {variable(provider, 'api_url')}"
        return Failed("rejected", ProviderRejected(provider, HTTPStatus.NOT_FOUND, detail), trouble=trouble)
    if kind != NOT_FOUND and not (isinstance(body, dict) and body.get("deleted") is True):
        # A proxy's 404, say. Believing it would end sessions and forget rooms.
        return broken(op, "it is a 404, but not of the API", provider)
    if op.of_room:
        return Failed("not_found", RoomNotFound(provider, room), trouble="")
    if op.of_item:
        return Failed("not_found", ItemNotFound(provider, HTTPStatus.NOT_FOUND, detail), trouble="")
    return Failed("rejected", ProviderRejected(provider, HTTPStatus.NOT_FOUND, detail), trouble="")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
