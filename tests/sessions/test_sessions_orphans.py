"""Sweeps delete rooms that are provably ours, that nobody needs and nobody is in; no other room, ever."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import trio
from session_builders import a_request
from session_world import TrioTime, World
from trio.testing import MockClock

from fakes import MemoryJournal
from fakes_connector import FakeConnector, OneConnector, at, trio_time
from transport_trio.errors import ProviderRejected, ProviderUnreachable, RoomExists
from transport_trio.journal.instance import Instance
from transport_trio.models import Claim, OrphanKind, RoomConfig, Run, Sweep, new_session_id
from transport_trio.models.orphans import marked_id
from transport_trio.ports import RoomPage
from transport_trio.sessions import SessionService
from transport_trio.settings import Settings

HOUR_S = 3600.0
DAY = timedelta(days=1)
NOW_S = 10 * HOUR_S  # when the service starts, by Trio's clock
FORMER = Run(key=b"former", began_at=at(0), vouched_until=at(9 * HOUR_S))
OTHER = Run(key=b"another instance's", began_at=at(0), vouched_until=at(9 * HOUR_S))
GRACE_S = 900.0
SWEEP = Settings(orphan_sweep="delete", orphan_sweep_s=HOUR_S, orphan_grace_s=GRACE_S)


@pytest.fixture
def settings() -> Settings:
    return SWEEP


@attrs.define(eq=False)
class Domain:
    """The provider's rooms, and a service with another journal than those who made them."""

    world: World
    instance: Instance
    count: int = 0

    def room(
        self,
        named_at_s: float,
        *,
        run: Run = FORMER,
        prefix: str = "tt",
        called: Callable[[str], str] = lambda name: name,
        made_at_s: float | None = None,
        ends: bool = True,
        people: int = 0,
    ) -> str:
        """A room that was named with the key of `run`; its name."""
        self.count += 1
        name = called(f"{prefix}-{marked_id(run.key, prefix, at(named_at_s), self.count)}")
        made_at = at(named_at_s if made_at_s is None else made_at_s).replace(microsecond=0)
        self.world.connector.add_foreign_room(name, trio_time() + DAY if ends else None, made_at)
        for _ in range(people):
            self.world.connector.join(name)
        return name

    @property
    def left(self) -> set[str]:
        return set(self.world.connector.rooms)

    @asynccontextmanager
    async def swept(self, *, wait_s: float = 600.0) -> AsyncIterator[SessionService]:
        """The service, long enough after its start for its first sweep to be over."""
        async with self.world.service() as service:
            await trio.sleep(wait_s)
            yield service

    async def sweep(self) -> Sweep:
        async with self.swept() as service:
            return service.orphans.latest[0]


async def until(there: Callable[[], bool]) -> None:
    while not there():  # noqa: ASYNC110
        await trio.sleep(0.05)


@pytest.fixture
async def domain(world: World, autojump_clock: MockClock, tmp_path: Path) -> Domain:
    autojump_clock.jump(NOW_S)
    instance = Instance(tmp_path, TrioTime(), (FORMER,))
    world.deps = attrs.evolve(world.deps, ownership=instance)
    return Domain(world, instance)


def kinds(sweep: Sweep) -> dict[str, OrphanKind]:
    return {orphan.room.name: orphan.kind for orphan in sweep.orphans}


async def test_an_empty_room_of_ours_without_a_session_is_deleted_and_counted(
    autojump_clock: MockClock, domain: Domain
) -> None:
    names = {domain.room(HOUR_S * number) for number in range(1, 8)}
    sweep = await domain.sweep()
    assert domain.left == set()
    assert kinds(sweep) == dict.fromkeys(names, OrphanKind.EMPTY)
    assert (sweep.rooms, sweep.foreign, sweep.known, sweep.deleted, sweep.failure) == (7, 0, 0, 7, None)
    assert domain.world.metric("transport_orphan_rooms_deleted_total", provider="daily") == 7
    assert domain.world.metric("transport_orphan_rooms", provider="daily", kind="empty") == 0
    assert domain.world.metric("transport_orphan_sweep_timestamp_seconds", provider="daily") > at(NOW_S).timestamp()


async def test_in_a_domain_full_of_foreign_rooms_exactly_ours_go(autojump_clock: MockClock, domain: Domain) -> None:
    chance, foreign = random.Random(7), set()
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"meeting-{chance.randrange(10**9)}",
        lambda: f"tt-{new_session_id()}",
        lambda: f"tt-{chance.randrange(10**9)}",
        lambda: str(new_session_id()),
        lambda: f"tt-01900000-0000-7000-8000-{chance.randrange(16**12):012x}",
    )
    domain.world.connector.page_rooms = 100
    for number in range(2000):
        foreign.add(name := forms[number % len(forms)]())
        domain.world.connector.add_foreign_room(name, None if number % 2 else trio_time() + DAY, at(HOUR_S))
    foreign |= {domain.room(HOUR_S, run=OTHER) for _ in range(500)}
    ours = {domain.room(HOUR_S + number) for number in range(60)}
    sweep = await domain.sweep()
    assert domain.left == foreign
    assert {orphan.room.name for orphan in sweep.orphans if orphan.deleted} == ours
    assert (sweep.rooms, sweep.foreign) == (2560, 2500)
    # Nobody else's room is as much as looked into.
    assert {name for operation, name in domain.world.connector.calls if operation == "count_people"} <= ours


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda domain: domain.room(HOUR_S, people=1), OrphanKind.OCCUPIED),
        (lambda domain: domain.room(HOUR_S, made_at_s=2 * HOUR_S), OrphanKind.UNPROVEN),  # made anew under its name
        (lambda domain: domain.room(HOUR_S, made_at_s=HOUR_S - 300), OrphanKind.UNPROVEN),
        (lambda domain: domain.room(9 * HOUR_S + 1), OrphanKind.UNPROVEN),  # after the folder's latest word
        (lambda domain: domain.room(HOUR_S, run=OTHER), None),
        (lambda domain: domain.room(HOUR_S, ends=False), None),
        (lambda domain: domain.room(HOUR_S, called=lambda name: f"breakout-{name}"), None),
        (lambda domain: domain.room(HOUR_S, called=lambda name: name.replace("tt-", "uu-")), None),
        (lambda domain: domain.room(HOUR_S, called=lambda name: name[:-1] + ("1" if name[-1] == "0" else "0")), None),
        (lambda domain: domain.room(HOUR_S, called=lambda name: name[3:]), None),
        (lambda domain: domain.room(-HOUR_S), None),  # before the key was made
    ],
)
async def test_what_is_in_doubt_stays(
    autojump_clock: MockClock, domain: Domain, spoil: Callable[[Domain], str], kind: OrphanKind | None
) -> None:
    name, ours = spoil(domain), domain.room(HOUR_S)
    sweep = await domain.sweep()
    assert domain.left == {name}
    assert kinds(sweep) == {ours: OrphanKind.EMPTY} | ({} if kind is None else {name: kind})
    if kind is not None:
        assert domain.world.metric("transport_orphan_rooms", provider="daily", kind=kind) == 1


async def test_a_young_room_is_left_until_it_is_old(autojump_clock: MockClock, domain: Domain) -> None:
    domain.instance = Instance(Path(), TrioTime(), (attrs.evolve(FORMER, vouched_until=at(NOW_S)),))
    domain.world.deps = attrs.evolve(domain.world.deps, ownership=domain.instance)
    name = domain.room(NOW_S - GRACE_S + 30)
    async with domain.swept() as service:
        assert domain.left == {name}
        assert kinds(service.orphans.latest[0]) == {name: OrphanKind.YOUNG}
        await trio.sleep(HOUR_S)
        assert domain.left == set()


async def test_a_copy_of_the_folder_takes_nothing_of_a_run_that_went_on(
    autojump_clock: MockClock, domain: Domain
) -> None:
    """The other service made a room after the copy: what it shares with us may all be in use there."""
    shared, later = domain.room(HOUR_S), domain.room(9 * HOUR_S + 61)
    sweep = await domain.sweep()
    assert domain.left == {shared, later}
    assert kinds(sweep) == dict.fromkeys((shared, later), OrphanKind.UNPROVEN)
    domain.world.connector.drop_room(later)
    assert domain.instance.claim(domain.world.connector.rooms[shared].room) is Claim.UNPROVEN  # it does not forget


async def test_rooms_of_sessions_and_of_debts_are_needed(autojump_clock: MockClock, domain: Domain) -> None:
    connector = domain.world.connector
    async with domain.world.service() as service:
        live = await service.create(a_request())
        called = await service.create(a_request(room_config=RoomConfig(name="stage")))
        owed = await service.create(a_request())
        connector.fail("delete_room", ProviderUnreachable("daily", "down"), times=None)
        await service.end(owed.session.id)
        await trio.sleep(2 * HOUR_S)
        names = {one.session.room.name for one in (live, called, owed)}
        assert domain.left == names
        sweep = service.orphans.latest[0]
        assert (sweep.known, sweep.foreign, sweep.orphans, sweep.deleted) == (3, 0, (), 0)


async def test_a_room_that_outlived_its_session_is_found(autojump_clock: MockClock, domain: Domain) -> None:
    """Daily said that it is deleted, and it was not."""
    async with domain.world.service() as service:
        session = (await service.create(a_request())).session
        await service.end(session.id)
        await trio.sleep(60)
        connector = domain.world.connector
        connector.add_foreign_room(session.room.name, session.expires_at, session.room.created_at)
        await trio.sleep(2 * HOUR_S)
        assert domain.left == set()
        assert connector.count("delete_rooms") == 1


async def test_a_lost_journal_leaves_orphans_that_the_next_life_finds(
    autojump_clock: MockClock, domain: Domain
) -> None:
    async with domain.world.service() as service:
        empty = (await service.create(a_request())).session.room.name
        full = (await service.create(a_request())).session.room.name
        domain.world.connector.join(full)
    domain.world.deps = attrs.evolve(domain.world.deps, journal=MemoryJournal())
    await trio.sleep(GRACE_S)
    sweep = await domain.sweep()
    assert domain.left == {full}
    assert kinds(sweep) == {empty: OrphanKind.EMPTY, full: OrphanKind.OCCUPIED}


async def test_a_name_is_nobody_elses_while_its_room_is_looked_at(autojump_clock: MockClock, domain: Domain) -> None:
    """Else a session could be made in the room between our last look and its deletion."""
    name = domain.room(HOUR_S)
    domain.world.connector.delay("find_room", 5.0)
    async with domain.world.service() as service:
        await until(lambda: domain.world.connector.count("find_room") > 0)
        with pytest.raises(RoomExists):
            await service.create(a_request(room_config=RoomConfig(name=name)))
        assert domain.world.connector.count("create_room") == 0
        await trio.sleep(60)
        assert domain.left == set()
        assert (await service.create(a_request(room_config=RoomConfig(name=name)))).session.room.name == name


@pytest.mark.parametrize("look", [1, 2])
async def test_somebody_who_comes_before_the_last_look_keeps_the_room(
    autojump_clock: MockClock, domain: Domain, look: int
) -> None:
    name = domain.room(HOUR_S)
    async with domain.world.service():
        await until(lambda: domain.world.connector.count("count_people") >= look - 1)
        domain.world.connector.join(name)
        await trio.sleep(120)
        assert domain.left == {name}
        assert domain.world.connector.count("delete_rooms") == 0


async def test_another_room_of_the_same_name_and_time_stays(autojump_clock: MockClock, domain: Domain) -> None:
    name = domain.room(HOUR_S)
    connector = domain.world.connector
    async with domain.world.service() as service:
        await until(lambda: connector.count("count_people") == 1)
        connector.drop_room(name)
        connector.add_foreign_room(name, trio_time() + DAY, at(HOUR_S))
        await trio.sleep(60)
        assert domain.left == {name}
        assert kinds(service.orphans.latest[0]) == {name: OrphanKind.UNPROVEN}


async def test_looks_are_apart_by_more_than_presence_lags(autojump_clock: MockClock, domain: Domain) -> None:
    domain.room(HOUR_S)
    async with domain.world.service():
        await until(lambda: domain.world.connector.count("count_people") == 1)
        first = trio.current_time()
        await until(lambda: domain.world.connector.count("count_people") == 2)
        second = trio.current_time()
    assert second - first >= 30


async def test_one_that_goes_meanwhile_does_not_keep_the_others(autojump_clock: MockClock, domain: Domain) -> None:
    """Deleting at once is all or nothing."""
    names = [domain.room(HOUR_S + number) for number in range(4)]
    domain.world.connector.fail("delete_rooms", ProviderRejected("daily", 404, "room not found"))
    sweep = await domain.sweep()
    assert domain.left == set()
    assert (sweep.deleted, domain.world.connector.count("delete_room")) == (len(names), len(names))


async def test_one_that_the_provider_keeps_does_not_keep_the_others(autojump_clock: MockClock, domain: Domain) -> None:
    for number in range(4):
        domain.room(HOUR_S + number)
    connector = domain.world.connector
    connector.fail("delete_rooms", ProviderRejected("daily", 400, "a room cannot be deleted"), times=None)
    connector.fail("delete_room", ProviderRejected("daily", 400, "this room cannot be deleted"))
    sweep = await domain.sweep()
    assert (sweep.deleted, sweep.left()[OrphanKind.EMPTY], sweep.failure) == (3, 1, None)
    assert len(domain.left) == 1


async def test_a_refused_key_ends_the_sweep(autojump_clock: MockClock, domain: Domain) -> None:
    for number in range(4):
        domain.room(HOUR_S + number)
    connector = domain.world.connector
    connector.fail("delete_rooms", ProviderRejected("daily", 401, "authentication-error"), times=None)
    connector.fail("delete_room", ProviderRejected("daily", 401, "authentication-error"), times=None)
    async with domain.swept(wait_s=50) as service:
        assert service.orphans.latest[0].failure is not None
        assert connector.count("delete_room") == 1


async def test_a_lost_answer_is_not_repeated_and_the_next_sweep_knows(
    autojump_clock: MockClock, domain: Domain
) -> None:
    domain.room(HOUR_S)
    lost = ProviderUnreachable("daily", "lost", in_doubt=True)
    domain.world.connector.fail("delete_rooms", lost, takes_effect=True)
    async with domain.swept(wait_s=50) as service:
        assert service.orphans.latest[0].failure == str(lost)
        assert domain.world.metric("transport_orphan_sweep_failures_total", provider="daily") == 1
        await trio.sleep(2 * HOUR_S)
        assert domain.world.connector.count("delete_rooms") == 1
        assert service.orphans.latest[0].failure is None


async def test_failures_come_ever_more_seldom_and_delete_nothing(autojump_clock: MockClock, domain: Domain) -> None:
    for number in range(7):
        domain.room(HOUR_S + number)
    connector = domain.world.connector
    connector.fail("list_rooms", ProviderUnreachable("daily", "down"), times=None)
    async with domain.world.service():
        await trio.sleep(HOUR_S)
        assert 5 <= connector.count("list_rooms") <= 8
        assert len(domain.left) == 7
        connector.recover()
        await trio.sleep(2 * HOUR_S)
        assert domain.left == set()


async def test_a_list_that_breaks_off_is_not_acted_on(autojump_clock: MockClock, domain: Domain) -> None:
    """The room that would have shown a twin may be on a page that did not come."""
    name, _ = domain.room(8 * HOUR_S), [domain.room(HOUR_S) for _ in range(3)]
    connector = domain.world.connector
    async with domain.world.service():
        await until(lambda: connector.count("list_rooms") >= 1)
        connector.fail("list_rooms", ProviderUnreachable("daily", "down"), times=1)
        await trio.sleep(50)
        assert name in domain.left
        assert connector.count("count_people") == 0


class Stuck(FakeConnector):
    """It answers with the first page whatever it is asked for."""

    async def list_rooms(self, after: str | None) -> RoomPage:
        return await super().list_rooms(None)


async def test_a_list_that_does_not_go_on_is_not_taken_for_a_whole_one(
    autojump_clock: MockClock, domain: Domain
) -> None:
    connector = Stuck()
    domain.world.deps = attrs.evolve(domain.world.deps, connectors=OneConnector(connector))
    name = f"tt-{marked_id(FORMER.key, 'tt', at(HOUR_S), 1)}"
    connector.add_foreign_room(name, trio_time() + DAY, at(HOUR_S))
    sweep = await domain.sweep()
    assert sweep.failure is not None
    assert set(connector.rooms) == {name}


async def test_a_journal_that_cannot_be_read_keeps_every_room(autojump_clock: MockClock, domain: Domain) -> None:
    name = domain.room(HOUR_S)
    async with domain.world.service() as service:
        domain.world.journal.unavailable = "the disk is broken"
        await trio.sleep(600)
        assert domain.left == {name}
        assert service.orphans.latest[0].failure is not None


async def test_pages_go_on_where_a_deleted_room_was_the_last(autojump_clock: MockClock, domain: Domain) -> None:
    names = [domain.room(HOUR_S * (7 - number)) for number in range(7)]
    connector = domain.world.connector
    async with domain.world.service():
        await until(lambda: connector.count("list_rooms") >= 1)
        connector.drop_room(names[2])  # the third and last of the first page, and of the newest
        await trio.sleep(50)
        assert domain.left == set()
        assert domain.world.metric("transport_orphan_sweep_failures_total", provider="daily") == 0


@pytest.mark.parametrize("mode", ["report", "off"])
async def test_nothing_is_deleted_unless_somebody_says_so(autojump_clock: MockClock, domain: Domain, mode: str) -> None:
    name = domain.room(HOUR_S)
    domain.world.deps = attrs.evolve(domain.world.deps, settings=attrs.evolve(SWEEP, orphan_sweep=mode))
    async with domain.swept(wait_s=2 * HOUR_S) as service:
        orphans = service.orphans
        assert domain.left == {name}
        assert [sweep.deleted for sweep in orphans.latest] == ([] if mode == "off" else [0])
        orphans.ask(delete=False)
        await trio.sleep(60)
        assert domain.left == {name}
        assert kinds(orphans.latest[0]) == {name: OrphanKind.EMPTY}
        assert domain.world.metric("transport_orphan_rooms", provider="daily", kind="empty") == 1
        orphans.ask(delete=True)
        await trio.sleep(60)
        assert domain.left == set()


async def test_a_huge_domain_is_passed_slowly_and_in_little_memory(autojump_clock: MockClock, domain: Domain) -> None:
    connector = domain.world.connector
    connector.page_rooms = 100
    for number in range(3000):
        connector.add_foreign_room(f"theirs-{number}", None, at(HOUR_S))
    async with domain.world.service() as service:
        await trio.sleep(5)
        assert connector.count("list_rooms") <= 5 * 5 + 1
        await trio.sleep(60)
        assert service.orphans.latest[0].rooms == 3000
        assert service.orphans.latest[0].orphans == ()
