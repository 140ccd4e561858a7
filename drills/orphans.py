"""A lost journal in a domain full of foreign rooms: rooms of ours that nobody is in go, and no other room ever."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.world import Service, World, http_client, open_world, until
from ports import free_port

FOREIGN, FOREIGN_SHORT = 4_000, 400
BATCH = 1000  # Daily's maximum
OURS, OURS_SHORT = 40, 4
THEIRS, OCCUPIED, NAMED, LATER = 6, 3, 2, 2
WAIT_S = 120.0
# A name is in the folder's file a second after it was given.
WRITTEN_S = 1.5
GRACE_S = 1
# Quicker than by default, and deleting, in every service of the drill.
SWEEPING = {"ORPHAN_SWEEP": "delete", "ORPHAN_GRACE_S": str(GRACE_S), "PRESENCE_CONFIRM_S": "0.3"}

Session = dict[str, Any]


@attrs.define(eq=False)
class _Drill:
    report: Report
    world: World
    others: list[Service] = attrs.field(factory=list)
    foreign: set[str] = attrs.field(factory=set)
    theirs: set[str] = attrs.field(factory=set)  # of another instance, at work, with the same prefix
    empty: set[str] = attrs.field(factory=set)
    occupied: set[str] = attrs.field(factory=set)
    named: set[str] = attrs.field(factory=set)  # by their callers
    later: set[str] = attrs.field(factory=set)  # made after the folder was copied

    @property
    def stay(self) -> set[str]:
        return self.foreign | self.theirs | self.occupied | self.named

    def service(self, name: str) -> Service:
        """Another service of the same domain, key and prefix."""
        folder = self.world.folder / name
        environ = {**self.world.service.environ, "DATA_DIR": str(folder / "data")}
        folder.mkdir()
        service = Service(folder, port := free_port(), {**environ, "PORT": str(port)})
        self.others.append(service)
        return service

    async def rooms(self) -> set[str]:
        return await trio.to_thread.run_sync(self.world.rooms)

    async def join(self, room_name: str) -> None:
        await trio.to_thread.run_sync(partial(self.world.sandbox.join, room_name, name="Ada"))


async def run(report: Report, folder: Path, *, short: bool) -> None:
    async with open_world(folder, nats=False, **SWEEPING) as world:
        drill = _Drill(report, world)
        try:
            await _fill(drill, FOREIGN_SHORT if short else FOREIGN)
            other = drill.service("another instance")
            await other.start()
            await world.service.start()
            await _live(drill, other, OURS_SHORT if short else OURS)
            await _try_copy(drill)
            await _lose_journal(drill)
            await _check_other(drill, other)
        finally:
            for service in drill.others:
                await service.close()


# --- what happens -----------------------------------------------------------------------------------------------------


async def _fill(drill: _Drill, count: int) -> None:
    """Rooms of others, a third of them named as ours could be, some with people."""
    chance = random.Random(1)
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"tt-{uuid4()}",
        lambda: f"tt-{chance.randrange(10**9)}",
        lambda: f"tt-01a2230c-670f-7e11-86bd-{chance.randrange(16**12):012x}",
        lambda: str(uuid4()),
        lambda: f"standup-{uuid4().hex}",
        lambda: uuid4().hex[:20],
    )
    names = [forms[number % len(forms)]() for number in range(count)]
    exp = drill.world.sandbox.now() + 14400
    headers = {"Authorization": f"Bearer {drill.world.sandbox.api_key}"}
    async with http_client(drill.world.sandbox.api_url, timeout_s=WAIT_S) as client:
        for first in range(0, count, BATCH):
            some = names[first : first + BATCH]
            body = {"rooms": [{"name": name, "properties": {"exp": exp}} for name in some]}
            (await client.post("/batch/rooms", json=body, headers=headers)).raise_for_status()
    for name in chance.sample(names, 5):
        await drill.join(name)
    drill.foreign = set(names)
    drill.report.figure("foreign rooms", count)


async def _live(drill: _Drill, other: Service, count: int) -> None:
    """Sessions of ours and of the other instance; the folder is copied, and we go on."""
    async with Caller(other.url) as caller:
        drill.theirs = {(await caller.create())["room_name"] for _ in range(THEIRS)}
    ours = drill.world.service
    async with Caller(ours.url) as caller:
        drill.empty = {(await caller.create())["room_name"] for _ in range(count)}
        drill.occupied = {(await caller.create())["room_name"] for _ in range(OCCUPIED)}
        for number in range(NAMED):
            body = {"room_config": {"name": f"stage-{number}"}}
            drill.named.add((await caller.create(body))["room_name"])
        for name in drill.occupied:
            await drill.join(name)
        await trio.sleep(WRITTEN_S)
        copy = drill.service("copy")
        await trio.to_thread.run_sync(shutil.copytree, ours.data_dir, copy.data_dir)
        drill.later = {(await caller.create())["room_name"] for _ in range(LATER)}
    drill.empty |= drill.later
    await trio.sleep(WRITTEN_S)
    drill.report.figure("rooms of ours", len(drill.empty | drill.occupied | drill.named))


async def _try_copy(drill: _Drill) -> None:
    """The copy's journal is lost as well: all of our rooms look orphaned to it, while we are at work in them."""
    _, copy = drill.others
    _forget(copy)
    before = await drill.rooms()
    await copy.start()
    (sweep,) = await _swept(copy)
    drill.report.none("a service on a copied folder deletes nothing", before - await drill.rooms(), of=len(before))
    kinds = {orphan["kind"] for orphan in sweep["orphans"]}
    drill.report.holds("all of our rooms are unproven to it", kinds == {"unproven"}, sorted(kinds))
    drill.report.holds("its sweep comes to its end", sweep["failure"] is None, sweep["failure"] or "")
    await copy.end()


async def _lose_journal(drill: _Drill) -> None:
    report, ours = drill.report, drill.world.service
    await ours.kill()
    _forget(ours)
    await ours.start()
    gone = await until(partial(_are_gone, drill), WAIT_S, 0.2)
    report.holds("every room of ours that nobody is in is deleted", gone, f"{len(drill.empty)} rooms")
    (sweep,) = await _swept(ours)  # another one, with nothing left to do
    left = await drill.rooms()
    report.none("no foreign room is touched", drill.foreign - left, of=len(drill.foreign))
    report.none("no room of another instance is touched", drill.theirs - left, of=len(drill.theirs))
    report.none("no room with people in it is touched", drill.occupied - left, of=len(drill.occupied))
    report.none("no room that its caller named is touched", drill.named - left, of=len(drill.named))
    report.holds("what is left is exactly that", left == drill.stay, f"{len(left)} rooms")
    told = {orphan["room_name"]: orphan["kind"] for orphan in sweep["orphans"]}
    wanted = dict.fromkeys(drill.occupied, "occupied")
    report.holds("GET /orphans tells of those with people, and of nothing else", told == wanted, sorted(told.values()))
    metric = 'transport_orphan_rooms{kind="occupied",provider="daily"}'
    report.holds("transport_orphan_rooms counts them", await ours.metric(metric) == len(drill.occupied))
    deleted = await ours.metric('transport_orphan_rooms_deleted_total{provider="daily"}')
    report.holds("transport_orphan_rooms_deleted_total counts the others", deleted == len(drill.empty), deleted)
    report.figure("rooms deleted", int(deleted))
    await _check_requests(drill)


async def _check_requests(drill: _Drill) -> None:
    """Daily's own record of what was asked for."""
    asked = await trio.to_thread.run_sync(drill.world.sandbox.requests)
    batches = [request for request in asked if request["operation"] == "batch_delete_rooms"]
    named = {name for request in batches for name in (request["body"] or {}).get("rooms", ())}
    named |= {request["path"].rpartition("/")[2] for request in asked if request["operation"] == "delete_room"}
    drill.report.none("no other room's deletion was as much as asked for", named - drill.empty, of=len(named))
    looked = {request["path"].split("/")[-2] for request in asked if request["operation"] == "room_presence"}
    drill.report.none("no foreign room was looked into", looked & drill.foreign, of=len(looked))
    drill.report.figure("requests to delete them", len(batches))


async def _check_other(drill: _Drill, other: Service) -> None:
    async with Caller(other.url) as caller:
        sessions: list[Session] = await caller.sessions()
    ended = [one["session_id"] for one in sessions if one["status"] == "Ended"]
    drill.report.none("the other instance's sessions live on", ended, of=len(sessions))


# --- tools ------------------------------------------------------------------------------------------------------------


async def _swept(service: Service) -> list[Session]:
    """What a sweep from now on has found."""
    async with Caller(service.url) as caller:
        answer = await caller.ask("POST", "/orphans/sweep", {"delete": True})
        number = answer.json()["sweep"]
        with trio.fail_after(WAIT_S):
            while (known := await caller.get("/orphans"))["completed"] < number:
                await trio.sleep(0.1)
    sweeps: list[Session] = known["sweeps"]
    return sweeps


async def _are_gone(drill: _Drill) -> bool:
    return not drill.empty & await drill.rooms()


def _forget(service: Service) -> None:
    for file in service.data_dir.glob("journal.*"):
        file.unlink()
