"""A process that commits as fast as it can and reports what it was answered, until it is killed.

`python crash_writer.py FOLDER FIRST` prints `told ID SESSION` for each event announced and `stored SESSION VERSION`
for each commit answered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio
from journal_builders import Box, a_session, created_event, updated_event

from transport_trio.events import RecordedEvent
from transport_trio.journal import SqliteJournal
from transport_trio.ports import Change

WRITERS = 6
COMMITS = 4


def report(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def told(events: Sequence[RecordedEvent]) -> None:
    for event in events:
        report(f"told {event.id} {event.session_id}")


async def write(journal: SqliteJournal, number: int) -> None:
    """A session after the other, each with as many events as commits."""
    while True:
        session = a_session(number)
        stored = await journal.commit(Change(session=session, events=(created_event(session),)))
        for _ in range(COMMITS - 1):
            assert stored is not None
            report(f"stored {stored.id} {stored.version}")
            change = Change(
                session=attrs.evolve(stored, departed=("x" * 200,)),
                expected_version=stored.version,
                events=(updated_event(number),),
            )
            stored = await journal.commit(change)
        number += WRITERS


async def main(folder: Path, first: int) -> None:
    async with Box(folder).open() as journal, trio.open_nursery() as nursery:
        journal.on_commit(told)
        for number in range(first, first + WRITERS):
            nursery.start_soon(write, journal, number)


trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
