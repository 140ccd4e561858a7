"""Takes what webhooks are to be told to where they are: in tasks of their own, each event with its tries."""

from __future__ import annotations

import logging

import httpx
import trio

from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.webhooks import Delivery, Webhook

log = logging.getLogger(__name__)

PATIENCE_S = 8.0
AT_ONCE_MAX = 256
# Between two tries of an event: four times as long each time.
PAUSE_S, PAUSE_MAX_S = 1.0, 900.0
# People are put out by the clock, and come and go by a timetable: somebody has to look.
LOOK_S = 0.25


class Deliveries:
    """`run` delivers until cancelled; `wake` says that something is due."""

    def __init__(self) -> None:
        self._due = trio.Event()
        self._client: httpx.AsyncClient | None = None  # made for the first webhook: its TLS takes a while to set up

    def wake(self) -> None:
        self._due.set()

    async def post(self, webhook: Webhook, body: bytes, timestamp: str) -> int | None:
        """The status of the answer; None when there is none in time."""
        headers = webhook.headers(body, timestamp)
        try:
            with trio.fail_after(PATIENCE_S):
                return (await self._http().post(webhook.url, content=body, headers=headers)).status_code
        except (trio.TooSlowError, httpx.HTTPError, httpx.InvalidURL) as exc:
            log.info("webhook not reached", extra={"url": webhook.url, "error": str(exc) or type(exc).__name__})
            return None

    def _http(self) -> httpx.AsyncClient:
        """No connection is kept, so there is nothing to close: who is sent webhooks may close it at any time."""
        if self._client is None:
            none_kept = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S, limits=none_kept)
        return self._client

    async def run(self, sandbox: Sandbox) -> None:
        """Task body."""
        limit = trio.Semaphore(AT_ONCE_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(LOOK_S if sandbox.webhooks.any_active else float("inf")):
                    await self._due.wait()
                self._due = trio.Event()
                sandbox.settle()
                for delivery in sandbox.webhooks.take_due():
                    await limit.acquire()
                    nursery.start_soon(self._deliver, sandbox, delivery, limit)

    async def _deliver(self, sandbox: Sandbox, delivery: Delivery, limit: trio.Semaphore) -> None:
        try:
            faults = sandbox.faults.draw("webhook_delivery", sandbox.now())
            for fault in faults:
                if fault.kind == "delay":
                    await trio.sleep(fault.delay_s)
            kinds = {fault.kind for fault in faults}
            if "drop" in kinds:
                delivery.outcome = "dropped"
                return
            for _ in range(2 if "duplicate" in kinds else 1):
                await self._insist(sandbox, delivery)
        finally:
            limit.release()

    async def _insist(self, sandbox: Sandbox, delivery: Delivery) -> None:
        pause_s = PAUSE_S
        while True:
            webhooks = sandbox.webhooks
            webhook = webhooks.find(delivery.webhook_uuid)
            if webhook is None or webhook.state != "ACTIVE":
                delivery.outcome = "dropped"
                return
            status = await sandbox.post(webhook, delivery.body)
            if not webhooks.answered(delivery, status, sandbox.now()):
                return
            await trio.sleep(pause_s)
            pause_s = min(4 * pause_s, PAUSE_MAX_S)
