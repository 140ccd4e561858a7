"""The domain's webhooks: what may be registered, what they are sent, and when Daily gives one up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.chance import random_uuid
from transport_trio.sandbox.happenings import EVENT_TYPES
from transport_trio.sandbox.refusals import ApiError, invalid, js_text
from transport_trio.sandbox.timeform import iso

TEST = b'{"test":"test"}'
KEYS = ("url", "eventTypes", "hmac", "basicAuth", "retryType")
RETRY_TYPES = ("circuit-breaker", "exponential")
FAILURES_MAX = 3  # in a row, until the breaker trips
TRIES_MAX = 5  # of one event, where they are repeated
SECRET_BYTES = 32
QUEUE_MAX = 10_000
LOG_MAX = 1_000


@attrs.frozen(kw_only=True)
class Webhook:
    uuid: str
    url: str
    hmac: str
    basic_auth: str | None
    retry_type: str
    event_types: tuple[str, ...]
    created_at: float
    updated_at: float
    state: Literal["ACTIVE", "FAILED"] = "ACTIVE"
    failed_count: int = 0
    pushed_at: float | None = None

    def headers(self, body: bytes, timestamp: str) -> dict[str, str]:
        """What Daily puts beside the body."""
        secret = base64.b64decode(self.hmac)
        signature = hmac.digest(secret, timestamp.encode() + b"." + body, hashlib.sha256)
        headers = {
            "Content-Type": "application/json",
            "X-Webhook-Timestamp": timestamp,
            "X-Webhook-Signature": base64.b64encode(signature).decode(),
        }
        return headers if self.basic_auth is None else {**headers, "Authorization": f"Basic {self.basic_auth}"}


@attrs.define(eq=False)
class Delivery:
    """One event on its way to one webhook."""

    webhook_uuid: str
    type: str
    id: str
    body: bytes
    time: float
    tries: int = 0
    status: int | None = None  # the latest answer's
    outcome: str = "waiting"  # then delivered, failed, dropped


class Webhooks:
    def __init__(self, chance: random.Random, webhooks_max: int, wake: Callable[[], None]) -> None:
        self._random = chance
        self._max = webhooks_max
        self._wake = wake
        self._by_uuid: dict[str, Webhook] = {}
        self._due: deque[Delivery] = deque(maxlen=QUEUE_MAX)
        self.log: deque[Delivery] = deque(maxlen=LOG_MAX)

    @property
    def any_active(self) -> bool:
        return any(webhook.state == "ACTIVE" for webhook in self._by_uuid.values())

    def all(self) -> list[Webhook]:
        return list(self._by_uuid.values())

    def get(self, uuid: str) -> Webhook:
        """Raises:
        ApiError: there is none.
        """
        if (webhook := self._by_uuid.get(uuid)) is None:
            raise ApiError(404, "not-found", f"webhook {uuid} not found")
        return webhook

    def find(self, uuid: str) -> Webhook | None:
        return self._by_uuid.get(uuid)

    def drafted(self, body: Mapping[str, Any], now: float) -> Webhook:
        """A webhook as asked for, not yet in force.

        Raises:
            ApiError: it makes no sense, or there are as many as there may be.
        """
        if len(self._by_uuid) >= self._max:
            raise invalid(f"this domain can have at most {self._max} webhooks")
        given = _checked(body)
        if "url" not in given:
            raise invalid("missing required field")
        secret = base64.b64encode(self._random.randbytes(SECRET_BYTES)).decode()
        blank = Webhook(
            uuid=random_uuid(self._random),
            url=given["url"],
            hmac=secret,
            basic_auth=None,
            retry_type="circuit-breaker",
            event_types=tuple(sorted(EVENT_TYPES)),
            created_at=now,
            updated_at=now,
        )
        return attrs.evolve(blank, **given)

    def changed(self, webhook: Webhook, body: Mapping[str, Any], now: float) -> Webhook:
        """Likewise for one that exists; it is active again.

        Raises:
            ApiError: the change makes no sense.
        """
        return attrs.evolve(webhook, **_checked(body), updated_at=now, state="ACTIVE", failed_count=0)

    def put(self, webhook: Webhook) -> None:
        self._by_uuid[webhook.uuid] = webhook
        self._wake()  # while nobody was registered, nobody looked whom the clock puts out

    def remove(self, uuid: str) -> None:
        """Raises:
        ApiError: there is none.
        """
        self.get(uuid)
        del self._by_uuid[uuid]

    def tell(self, event: Mapping[str, Any]) -> None:
        """Have everybody told who wants to be."""
        for webhook in self._by_uuid.values():
            if webhook.state == "ACTIVE" and event["type"] in webhook.event_types:
                body = jsonform.write(event)
                delivery = Delivery(webhook.uuid, event["type"], event["id"], body, event["event_ts"])
                self._due.append(delivery)
                self.log.append(delivery)
                self._wake()

    def take_due(self) -> list[Delivery]:
        due, self._due = list(self._due), deque(maxlen=QUEUE_MAX)
        return due

    def answered(self, delivery: Delivery, status: int | None, now: float) -> bool:
        """Note how a try went; whether to try again."""
        delivery.tries += 1
        delivery.status = status
        delivery.outcome = "delivered" if status == 200 else "failed"
        webhook = self._by_uuid.get(delivery.webhook_uuid)
        if webhook is None:
            return False
        if status == 200:
            self._by_uuid[webhook.uuid] = attrs.evolve(webhook, failed_count=0, pushed_at=now)
            return False
        failed = webhook.failed_count + 1
        breaks = webhook.retry_type == "circuit-breaker" and failed >= FAILURES_MAX
        state = "FAILED" if breaks else webhook.state
        self._by_uuid[webhook.uuid] = attrs.evolve(webhook, failed_count=failed, state=state)
        return webhook.retry_type == "exponential" and delivery.tries < TRIES_MAX


def shown(webhook: Webhook, domain_id: str) -> dict[str, Any]:
    pushed = {} if webhook.pushed_at is None else {"lastMomentPushed": iso(webhook.pushed_at)}
    return {
        "uuid": webhook.uuid,
        "url": webhook.url,
        "hmac": webhook.hmac,
        "basicAuth": webhook.basic_auth,
        "retryType": webhook.retry_type,
        "eventTypes": list(webhook.event_types),
        "state": webhook.state,
        "failedCount": webhook.failed_count,
        **pushed,
        "domainId": domain_id,
        "createdAt": iso(webhook.created_at),
        "updatedAt": iso(webhook.updated_at),
    }


def _checked(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body by our names."""
    for name in body:
        if name not in KEYS:
            raise invalid(f'"{name}" is not allowed')
    given: dict[str, Any] = {}
    if "url" in body:
        given["url"] = _url(body["url"])
    if body.get("hmac") is not None:
        given["hmac"] = _secret(body["hmac"])
    if body.get("basicAuth") is not None:
        given["basic_auth"] = _text("basicAuth", body["basicAuth"])
    if "retryType" in body:
        given["retry_type"] = _retry_type(body["retryType"])
    if "eventTypes" in body:
        given["event_types"] = _event_types(body["eventTypes"])
    return given


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f'"{name}" must be a string')
    return value


def _url(value: Any) -> str:
    parts = urlsplit(_text("url", value))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise invalid('"url" must be a valid uri')
    return str(value)


def _secret(value: Any) -> str:
    try:
        base64.b64decode(_text("hmac", value), validate=True)
    except binascii.Error as exc:
        raise invalid('"hmac" must be a valid base64 string') from exc
    return str(value)


def _retry_type(value: Any) -> str:
    if value not in RETRY_TYPES:
        raise invalid(f'"retryType" must be one of [{", ".join(RETRY_TYPES)}]')
    return str(value)


def _event_types(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise invalid('"eventTypes" must be an array')
    for item in value:
        if item not in EVENT_TYPES:
            raise invalid(f"\"eventTypes\" has no '{js_text(item)}'")
    return tuple(value) or tuple(sorted(EVENT_TYPES))
