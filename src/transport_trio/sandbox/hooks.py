"""Daily's operations on webhooks. Registering one first sends it a test, so these two take their time."""

from __future__ import annotations

from typing import Any

from transport_trio.sandbox.core import Sandbox
from transport_trio.sandbox.operations import ApiRequest
from transport_trio.sandbox.refusals import invalid
from transport_trio.sandbox.webhooks import TEST, Webhook, shown


def list_webhooks(sandbox: Sandbox, _request: ApiRequest) -> Any:
    return [_shown(sandbox, webhook) for webhook in sandbox.webhooks.all()]


def get_webhook(sandbox: Sandbox, request: ApiRequest) -> Any:
    return _shown(sandbox, sandbox.webhooks.get(request.path["uuid"]))


def delete_webhook(sandbox: Sandbox, request: ApiRequest) -> Any:
    sandbox.webhooks.remove(request.path["uuid"])


async def create_webhook(sandbox: Sandbox, request: ApiRequest) -> Any:
    draft = sandbox.webhooks.drafted(request.body, request.now)
    await _test(sandbox, draft)
    sandbox.webhooks.drafted(request.body, request.now)  # another one may have come in between
    sandbox.webhooks.put(draft)
    return _shown(sandbox, draft)


async def update_webhook(sandbox: Sandbox, request: ApiRequest) -> Any:
    draft = sandbox.webhooks.changed(sandbox.webhooks.get(request.path["uuid"]), request.body, request.now)
    await _test(sandbox, draft)
    sandbox.webhooks.get(draft.uuid)
    sandbox.webhooks.put(draft)
    return _shown(sandbox, draft)


async def _test(sandbox: Sandbox, webhook: Webhook) -> None:
    status = await sandbox.post(webhook, TEST)
    if status != 200:
        got = "undefined" if status is None else status
        raise invalid(f"non-200 status code returned from webhook endpoint, recvd {got}")


def _shown(sandbox: Sandbox, webhook: Webhook) -> dict[str, Any]:
    return shown(webhook, sandbox.config.domain_id)
