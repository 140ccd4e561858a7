"""A headless Chromium, spoken to over its DevTools protocol: pages, what they show, and a picture of it."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from service_process import child_process

PATIENCE_S = 30.0
BEAT_S = 0.05
MESSAGE_MAX_BYTES = 32 * 1024 * 1024  # a screenshot
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
)


class Page:
    """One open page."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def open(self, url: str) -> None:
        await self._call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """What the JavaScript expression comes to, in the page."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def shows(self, selector: str, text: str) -> None:
        """Return when an element that the selector finds shows the text.

        Raises:
            AssertionError: it did not come to that within `PATIENCE_S`.
        """
        texts = f"[...document.querySelectorAll({json.dumps(selector)})].map(found => found.innerText)"
        found: list[str] = []
        with trio.move_on_after(PATIENCE_S):
            while True:
                found = await self.value(texts)
                if any(text in one for one in found):
                    return
                await trio.sleep(BEAT_S)
        raise AssertionError(f"{selector} never showed {text!r}; at last: {found}")

    async def picture(self, path: Path) -> None:
        answer = await self._call("Page.captureScreenshot", format="png")
        await trio.Path(path).write_bytes(base64.b64decode(answer["data"]))

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await self._socket.get_message())
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result


@asynccontextmanager
async def open_page(profile: Path) -> AsyncIterator[Page]:
    """An empty page of a browser of its own."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    assert binary is not None, "no Chromium is installed (Debian: apt-get install chromium)"
    # Chromium's own sandbox refuses to work for root, which a CI container is.
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    command = [binary, *FLAGS, *root, f"--user-data-dir={profile}", "about:blank"]
    async with child_process(command, {"HOME": str(profile)}) as chromium:
        line = await chromium.line("DevTools listening on ws://")
        address = line.partition("ws://")[2].partition("/")[0]
        async with httpx.AsyncClient(trust_env=False) as client:
            targets = (await client.get(f"http://{address}/json/list", timeout=PATIENCE_S)).json()
        (page,) = [target for target in targets if target["type"] == "page"]
        async with open_websocket_url(page["webSocketDebuggerUrl"], max_message_size=MESSAGE_MAX_BYTES) as socket:
            yield Page(socket)
