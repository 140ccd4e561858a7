"""A room in which calls are recorded, transcribed and streamed, under a clock that only the test moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from transport_trio.sandbox.refusals import ApiError

OTHER = "11111111-2222-4333-8444-555555555555"
CLOUD = {"enable_recording": "cloud"}


class Studio:
    """A room that may be recorded with Ada in it, and a webhook that is told everything."""

    def __init__(self, core: Any, events: str, **properties: Any) -> None:
        self.core = core
        self._prefix = f"{events}."
        self.sandbox = core.sandbox
        core.do("create_room", {"name": "hello", "properties": {**CLOUD, **properties}})
        self.sandbox.webhooks.put(self.sandbox.webhooks.drafted({"url": "http://hook/"}, core.clock()))
        self.ada = core.join("hello", user_id="u1")

    def do(self, operation: str, **body: Any) -> Any:
        return self.core.do(operation, body, name="hello")

    def refused(self, operation: str, **body: Any) -> ApiError:
        with pytest.raises(ApiError) as caught:
            self.do(operation, **body)
        return caught.value

    def pass_s(self, seconds: float) -> None:
        self.core.clock.pass_s(seconds)
        self.sandbox.settle()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those of the kind that were told so far."""
        told = [json.loads(one.body) for one in self.sandbox.webhooks.log]
        return [one for one in told if one["type"].startswith(self._prefix)]

    @property
    def types(self) -> list[str]:
        return [one["type"].removeprefix(self._prefix) for one in self.events]

    @property
    def room(self) -> Any:
        return self.sandbox.rooms.find("hello")

    @property
    def recordings(self) -> list[dict[str, Any]]:
        recordings: list[dict[str, Any]] = self.core.do("list_recordings")["data"]
        return recordings


MakeStudio = Callable[..., Studio]
