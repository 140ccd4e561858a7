"""What the data folder knows of itself beside the journal: with which keys rooms were named here, and until when.

It proves which rooms are ours when the journal is lost, an older copy, or another one (ADR 0087). A copy of the folder
proves nothing about rooms that were named after it was made.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import trio

from transport_trio.concurrency import Clock, Seldom
from transport_trio.models import Claim, Room, Run, SessionId
from transport_trio.models.orphans import COUNTER_BITS, marked_id, named_at, was_made_when_named

log = logging.getLogger(__name__)

INSTANCE_NAME = "instance.json"
KEY_BYTES = 32
# Names of the latest moments before a `kill -9` are not in the file: that is no twin.
WRITE_PAUSE_S = 1.0
TWIN_AFTER = timedelta(seconds=60)
# Smaller steps of the clock are only corrections.
SET_BACK = timedelta(seconds=1)
# No room lives longer than a session, which ends after 30 days at most unless it was extended.
RUNS_KEPT = timedelta(days=60)
RUNS_MAX = 64
CLOSE_S = 2.0


class Instance:
    """Implements `ports.Ownership` for one folder, whose lock the caller holds. Made by `open_instance`."""

    def __init__(self, folder: Path, clock: Clock, former: tuple[Run, ...], place: str = "") -> None:
        self._path = folder / INSTANCE_NAME
        self._place = place
        self._clock = clock
        self._former = former
        self._run: Run | None = None  # begins with the first name: a start that names nothing leaves no trace
        self._counter = itertools.count(secrets.randbits(COUNTER_BITS))
        self._news = trio.Event()
        self._is_written = True
        self._writing = trio.Lock()  # the last write of a stop may come while another is under way
        self._troubles = Seldom()

    def new_id(self, room_prefix: str) -> SessionId:
        now = self._clock.now()
        if self._run is not None and now < self._run.vouched_until - SET_BACK:
            # What this run would name now it could not prove, and its word would hold until that time comes again.
            self._former, self._run = (*self._former, self._run), None
        run = self._run or Run(key=secrets.token_bytes(KEY_BYTES), began_at=now, vouched_until=now)
        self._run = attrs.evolve(run, vouched_until=max(run.vouched_until, now))
        self._changed()
        return marked_id(run.key, room_prefix, now, next(self._counter))

    def claim(self, room: Room) -> Claim:
        at = named_at(room.name)
        # Each room of ours has an end: one without is another one that has got its name.
        if at is None or room.created_at is None or room.expires_at is None:
            return Claim.FOREIGN
        run = self._run_of(room.name, at)
        if run is None:
            return Claim.FOREIGN
        # Names tell milliseconds.
        is_vouched_for = at <= run.vouched_until and not run.is_doubted
        return Claim.OURS if is_vouched_for and was_made_when_named(room, at) else Claim.UNPROVEN

    def doubt(self, rooms: Iterable[Room]) -> None:
        for room in rooms:
            at = named_at(room.name)
            run = None if at is None else self._run_of(room.name, at)
            if at is None or run is None or run.is_doubted or at <= run.vouched_until + TWIN_AFTER:
                continue
            log.error("data folder was copied: rooms are named with its key elsewhere", extra={"room_name": room.name})
            doubted = attrs.evolve(run, is_doubted=True)
            self._former = tuple(doubted if one is run else one for one in self._former)
            if run is self._run:
                self._run = None
                self._former = (*self._former, doubted)
            self._changed()

    async def keep(self) -> None:
        """Keep the file up with what is named, until cancelled."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            await self._write()
            await trio.sleep(WRITE_PAUSE_S)

    async def close(self) -> None:
        if not self._is_written:
            await self._write()

    def _changed(self) -> None:
        self._is_written = False
        self._news.set()

    def _run_of(self, room_name: str, at: datetime) -> Run | None:
        # What is named was named after its run began; a millisecond is lost in the name.
        runs = (run for run in reversed(self._runs) if run.began_at - timedelta(milliseconds=1) <= at)
        return next((run for run in runs if run.named(room_name)), None)

    async def _write(self) -> None:
        async with self._writing:
            runs = self._runs
            content = json.dumps({"folder": self._place, "runs": [_shown(run) for run in runs]}).encode()
            try:
                await trio.to_thread.run_sync(_replace, self._path, content)
                self._is_written = runs == self._runs
            except OSError as exc:
                self._news.set()  # it is tried again
                if self._troubles.is_due():
                    told = {"file": str(self._path), "error": str(exc)}
                    log.warning("rooms named now could not be proven to be ours later", extra=told)

    @property
    def _runs(self) -> tuple[Run, ...]:
        return self._former if self._run is None else (*self._former, self._run)


@asynccontextmanager
async def open_instance(folder: Path, clock: Clock) -> AsyncIterator[Instance]:
    """What this folder, whose lock the caller holds, can prove. Leaving writes down what has been named."""
    former, place = await trio.to_thread.run_sync(_open, folder)
    recent = [run for run in former if clock.now() - run.vouched_until < RUNS_KEPT]
    instance = Instance(folder, clock, tuple(recent[-RUNS_MAX:]), place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.keep, name="instance file")
        try:
            yield instance
        finally:
            nursery.cancel_scope.cancel(reason="the service is stopping")
            with trio.move_on_after(CLOSE_S, shield=True):
                await instance.close()


def _shown(run: Run) -> dict[str, Any]:
    return {
        "key": run.key.hex(),
        "began_at": run.began_at.isoformat(),
        "vouched_until": run.vouched_until.isoformat(),
        "is_doubted": run.is_doubted,
    }


def _open(folder: Path) -> tuple[tuple[Run, ...], str]:
    """The runs that the folder knows of, and its place, which a copy has not got."""
    place, written = _place(folder), _read(folder / INSTANCE_NAME)
    if written is None:
        return (), place
    known, runs = written
    if known != place and runs:
        log.warning("data folder was copied or moved: rooms named in it before are not deleted")
        runs = tuple(attrs.evolve(run, is_doubted=True) for run in runs)
    return runs, place


def _place(folder: Path) -> str:
    """Its file system and its number there; the roots of two file systems mostly have the same number."""
    return f"{os.statvfs(folder).f_fsid:x}:{folder.stat().st_ino}"


def _read(path: Path) -> tuple[Any, tuple[Run, ...]] | None:
    """The folder and the runs in the file; None where there is none, or it makes no sense and is put aside."""
    try:
        content = json.loads(path.read_bytes())
        return content["folder"], tuple(
            Run(
                key=bytes.fromhex(one["key"]),
                began_at=_time(one["began_at"]),
                vouched_until=_time(one["vouched_until"]),
                is_doubted=one["is_doubted"] is not False,
            )
            for one in content["runs"]
        )
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.warning("rooms of former runs are not known to be ours", extra={"file": str(path), "error": str(exc)})
    except (ValueError, TypeError, KeyError):
        aside = path.with_suffix(".unreadable")
        log.warning("rooms of former runs are not known to be ours", extra={"file": str(path), "kept_as": str(aside)})
        path.replace(aside)
    return None


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time


def _replace(path: Path, content: bytes) -> None:
    """Old or new, whatever happens. For ourselves only: who has a key can make rooms that we would delete."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
