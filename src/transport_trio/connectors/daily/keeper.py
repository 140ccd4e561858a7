"""Our webhook at Daily: registered, watched, repaired, and removed at the end. Polling goes on all the while."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from transport_trio.concurrency import doubling_s
from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.door import TYPES, DailyDoor
from transport_trio.connectors.daily.operations import CREATE_WEBHOOK, DELETE_WEBHOOK, LIST_WEBHOOKS, UPDATE_WEBHOOK
from transport_trio.connectors.daily.reading import BrokenAnswer, short
from transport_trio.errors import ConnectorError
from transport_trio.metrics import Metrics
from transport_trio.models import Check, CheckStatus

log = logging.getLogger(__name__)

WATCH_S = 30.0
# After a failure we try again, at first at once: Daily's test may have come before we could answer.
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
REMOVE_S = 3.0
SECRET_BYTES = 32
ACTIVE = "ACTIVE"
OURSELVES = "self"


@attrs.frozen(kw_only=True)
class Hook:
    """A webhook as Daily describes it."""

    uuid: str
    url: str
    state: str
    tells_all: bool  # that we asked for, as far as Daily says


@attrs.define(eq=False, kw_only=True)
class WebhookKeeper:
    """Keeps one webhook with this address. Those of other addresses are left alone.

    Daily repeats what it could not deliver (`exponential`): unlike its breaker that never gives a webhook up.
    """

    client: DailyClient
    door: DailyDoor
    metrics: Metrics
    url: str
    secret: bytes | None = attrs.field(default=None, repr=False)
    watch_s: float = WATCH_S
    _uuid: str | None = None
    _trouble: str = "not registered yet"

    async def run(self, own_url: str) -> None:
        """Task body. Cancelling it removes the webhook, within 3 s. `own_url` is meant by `self`."""
        if self.url == OURSELVES:
            self.url = own_url
        secret = self.secret or secrets.token_bytes(SECRET_BYTES)
        self.door.secrets = (secret,)
        failures = 0
        try:
            while True:
                try:
                    await self._look_after(secret)
                    failures = 0
                except ConnectorError as exc:
                    failures += 1
                    self._tell(str(exc))
                wait_s = doubling_s(failures, base_s=RETRY_MIN_S, max_s=RETRY_MAX_S) if failures else self.watch_s
                await trio.sleep(wait_s)
        finally:
            await self._remove()

    def health(self) -> Check:
        status = CheckStatus.DEGRADED if self._trouble else CheckStatus.OK
        return Check(f"webhook:{self.client.provider}", status, self._trouble)

    async def _look_after(self, secret: bytes) -> None:
        ours = [hook for hook in await self.client.call(LIST_WEBHOOKS, _hooks) if hook.url == self.url]
        hook = next((one for one in ours if one.uuid == self._uuid), None)
        if hook is not None and hook.state == ACTIVE and hook.tells_all:
            self._tell("")
            return
        repaired = self._uuid is not None
        if ours:
            # It is ours when it signs with our secret, and not before.
            uuid = (hook or ours[0]).uuid
            await self.client.call(UPDATE_WEBHOOK, lambda answer: None, item=uuid, body=self._body(secret))
        else:
            uuid = (await self.client.call(CREATE_WEBHOOK, _made, body=self._body(secret))).uuid
        self._uuid = uuid
        if repaired:
            self.metrics.webhook_repairs.labels(provider=self.client.provider).inc()
            log.warning("webhook repaired", extra={**self._told, "state": hook.state if hook else "gone"})
        else:
            log.info("webhook registered", extra=self._told)
        for extra in ours:
            if extra.uuid != self._uuid:
                await self.client.call(DELETE_WEBHOOK, lambda answer: None, item=extra.uuid)
        self._tell("")

    async def _remove(self) -> None:
        if self._uuid is None:
            return
        trouble = f"no answer within {REMOVE_S:g} s"
        with trio.move_on_after(REMOVE_S, shield=True):
            try:
                await self.client.call(DELETE_WEBHOOK, lambda answer: None, item=self._uuid)
            except ConnectorError as exc:
                trouble = str(exc)
            else:
                log.info("webhook removed", extra=self._told)
                return
        log.warning("webhook left behind; the next start takes it over", extra={**self._told, "trouble": trouble})

    @property
    def _told(self) -> dict[str, str]:
        return {"provider": self.client.provider, "url": self.url}

    def _body(self, secret: bytes) -> dict[str, Any]:
        return {
            "url": self.url,
            "eventTypes": sorted(TYPES),
            "hmac": base64.b64encode(secret).decode(),
            "retryType": "exponential",
        }

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("webhook not in force", extra={**self._told, "trouble": trouble})
        self._trouble = trouble
        self.metrics.webhook_active.labels(provider=self.client.provider).set(not trouble)


def _hooks(answer: Answer) -> tuple[Hook, ...]:
    found = answer.json
    if not isinstance(found, list):
        raise BrokenAnswer("it holds no list of webhooks")
    return tuple(hook for one in found if isinstance(one, dict) and (hook := _hook(one)) is not None)


def _made(answer: Answer) -> Hook:
    hook = _hook(answer.json) if isinstance(answer.json, dict) else None
    if hook is None:
        raise BrokenAnswer("it describes no webhook")
    return hook


def _hook(given: Mapping[str, Any]) -> Hook | None:
    uuid, url, state, types = short(given.get("uuid")), given.get("url"), given.get("state"), given.get("eventTypes")
    if uuid is None or not isinstance(url, str):
        return None
    tells_all = not isinstance(types, list) or all(type_ in types for type_ in TYPES)
    return Hook(uuid=uuid, url=url, state=state if isinstance(state, str) else ACTIVE, tells_all=tells_all)
