"""`kill -9` in the middle of commits: nothing that was answered or announced is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import trio
from journal_builders import Box

from transport_trio.events import RecordedEvent
from transport_trio.journal import SqliteJournal
from transport_trio.ports import EventQuery

WRITER = Path(__file__).with_name("crash_writer.py")
ROUNDS = 10


async def reports_until_killed(box: Box, first: int, lines: int) -> list[list[str]]:
    """Run a writer on the box's folder, kill it after so many lines; all that it had said."""
    command = [sys.executable, str(WRITER), str(box.folder), str(first)]
    # Its coverage could not be saved, and would only slow it down.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    said = b""
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False, env=environ)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        async for part in process.stdout:
            said += part
            if said.count(b"\n") >= lines:
                process.kill()
    return [line.split() for line in said.decode().splitlines()]


async def history(journal: SqliteJournal) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    while True:
        page = await journal.events(EventQuery(after=len(events), limit=500))
        events += page.events
        if page.last_event_id == journal.head:
            return events


async def test_nothing_that_was_answered_or_announced_is_lost_by_kill_9(box: Box) -> None:
    chance = random.Random(20260101)
    told: dict[int, str] = {}
    stored: dict[str, int] = {}
    for round_ in range(ROUNDS):
        with trio.fail_after(30):
            for line in await reports_until_killed(box, 1 + round_ * 100_000, chance.randint(1, 300)):
                if line[0] == "told":
                    told[int(line[1])] = line[2]
                else:
                    stored[line[1]] = int(line[2])
        async with box.open() as journal:
            events = await history(journal)
            assert [event.id for event in events] == list(range(1, journal.head + 1))
            assert told.items() <= {event.id: event.session_id for event in events}.items()
            # State and events came and stayed together.
            for session_id, count in Counter(event.session_id for event in events).items():
                session = await journal.get(session_id)
                assert session is not None
                assert session.version == count >= stored.get(session_id, 0)
            assert stored.keys() <= {event.session_id for event in events}
    assert len(stored) >= ROUNDS
