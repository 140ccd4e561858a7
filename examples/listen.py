"""Follow the events of a running service from asyncio, over lost connections, without a gap and without a double.

Example: TRANSPORT_TRIO_API_KEY=... python examples/listen.py ws://127.0.0.1:8084/ws
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException


async def follow(url: str, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Where to go on; until there is an `after`, each connection begins with a snapshot of the sessions that live.
    query: dict[str, str] = {"snapshot": "true"}
    epoch = ""
    while True:
        try:
            async with connect(f"{url}?{urlencode(query)}", additional_headers=headers) as socket:
                async for text in socket:
                    message = json.loads(text)
                    match message["type"]:
                        case "welcome":
                            epoch = message["epoch"]
                        case "gap":  # what we asked for is gone: a snapshot follows, and replaces what we knew
                            query = {"snapshot": "true"}
                            print("gap:", message["reason"], flush=True)
                        case "snapshot":
                            print("snapshot:", *(session["room_url"] for session in message["sessions"]), flush=True)
                            if not message["more"]:
                                query = {"after": str(message["last_event_id"]), "epoch": epoch}
                        case "ping" if "after" in query:  # nothing for us up to there
                            query["after"] = str(message["last_event_id"])
                        case _ if "id" in message:
                            print(json.dumps(message), flush=True)
                            query = {"after": str(message["id"]), "epoch": epoch}
        except (OSError, WebSocketException) as exc:
            if isinstance(exc, InvalidStatus) and exc.response.status_code < 500:
                sys.exit(f"refused: {exc.response.body.decode()}")
            print(f"lost: {exc}; going on in a second", file=sys.stderr)
        await asyncio.sleep(1)


if __name__ == "__main__":
    service = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8084/ws"
    if not service.startswith(("ws://", "wss://")):
        sys.exit(__doc__)
    with suppress(KeyboardInterrupt):
        asyncio.run(follow(service, os.environ.get("TRANSPORT_TRIO_API_KEY")))
