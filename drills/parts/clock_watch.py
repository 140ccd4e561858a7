"""A service whose system clock can be set while it runs, by libfaketime, and what is told of its sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.clients import Caller, Follower
from drills.frame.report import Report
from drills.frame.world import World
from drills.parts.provider_parts import started_world

LIBRARIES = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
LIBRARY = "faketime/libfaketimeMT.so.1"
TOLD = ("session_created", "participant_joined", "participant_left", "token_expiring", "token_expired", "session_ended")


def find_library() -> str | None:
    """libfaketime, for a process with several threads."""
    for folder in LIBRARIES:
        for found in [*sorted(Path(folder).glob(f"*/{LIBRARY}")), Path(folder) / LIBRARY]:
            if found.exists():
                return str(found)
    return None


@attrs.define(eq=False)
class Watch:
    """A service whose clock can be set, the sessions in it, and what was told of them at which time."""

    report: Report
    name: str
    world: World
    caller: Caller
    follower: Follower
    offset: Path
    began: tuple[float, datetime]  # the same moment on Trio's clock and on the true one
    made: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def set_clock(self, by_s: int) -> None:
        """What the service's process takes for the time of day; nobody else notices."""
        fresh = self.offset.with_suffix(".new")
        fresh.write_text(f"{by_s:+d}")
        fresh.rename(self.offset)

    async def create(self, kind: str, key: str | None = None, **options: int) -> dict[str, Any]:
        self.made[kind] = made = await self.caller.create({"options": options}, key)
        return made

    def told(self, kind: str) -> list[tuple[str, float]]:
        """Type and time of what was told of a session, the time by the true clock as unix seconds."""
        base = self.began[1].timestamp() - self.began[0]
        own = self.made[kind]["session_id"]
        pairs = zip(self.follower.heard, self.follower.heard_at, strict=True)
        return [(event["type"], base + at) for event, at in pairs if event["session_id"] == own]

    def none(self, text: str, offenders: list[Any], of: int = 1) -> None:
        self.report.none(text, [f"{self.name}: {one}" for one in offenders], of=of)


@asynccontextmanager
async def watching(
    report: Report, folder: Path, library: str, name: str, settings: dict[str, str]
) -> AsyncIterator[Watch]:
    offset = folder / "offset"

    def prepare(world: World) -> None:
        world.service.environ |= {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in older versions
            "FAKETIME_NO_CACHE": "1",
        }
        offset.write_text("+0")

    async with started_world(folder, prepare, **settings) as world:
        follower = Follower(world.service.socket_url, {"types": ",".join(TOLD)})
        began = (trio.current_time(), datetime.now(UTC))
        async with Caller(world.service.url) as caller, trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            yield Watch(report, name, world, caller, follower, offset, began)
            nursery.cancel_scope.cancel()
