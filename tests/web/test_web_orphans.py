"""`/orphans`: what sweeps have found, and sweeps that callers ask for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from web_rig import NOW, Site, assert_problem, serving

from transport_trio.models import Orphan, OrphanKind, Room, Sweep


def orphan(name: str, kind: OrphanKind, *, deleted: bool = False) -> Orphan:
    room = Room(name=name, url="", created_at=NOW, expires_at=NOW + timedelta(hours=4))
    return Orphan(room=room, kind=kind, deleted=deleted)


SWEEP = Sweep(
    provider="daily",
    started_at=NOW,
    finished_at=NOW + timedelta(seconds=40),
    deletes=True,
    rooms=1000,
    foreign=990,
    known=7,
    orphans=(
        orphan("tt-a", OrphanKind.EMPTY, deleted=True),
        orphan("tt-b", OrphanKind.EMPTY),
        orphan("tt-c", OrphanKind.OCCUPIED),
    ),
)


async def test_before_the_first_sweep_there_is_nothing_to_tell(site: Site) -> None:
    answer = await site.client.get("/orphans")
    assert answer.status_code == 200
    assert answer.json() == {
        "mode": "report",
        "sweep_interval_s": 3600.0,
        "grace_s": 900.0,
        "running": False,
        "completed": 0,
        "sweeps": [],
    }


async def test_the_latest_sweep_is_told_with_its_rooms(site: Site) -> None:
    site.service.orphans.latest, site.service.orphans.completed = (SWEEP,), 1
    (told,) = (await site.client.get("/orphans")).json()["sweeps"]
    rooms = told.pop("orphans")
    assert told == {
        "provider": "daily",
        "started_at": "2026-01-01T11:00:00Z",
        "finished_at": "2026-01-01T11:00:40Z",
        "delete": True,
        "failure": None,
        "rooms_total": 1000,
        "foreign": 990,
        "known": 7,
        "left": {"empty": 1, "occupied": 1, "young": 0, "unproven": 0},
        "deleted": 1,
        "orphans_total": 3,
    }
    assert rooms[0] == {
        "room_name": "tt-a",
        "kind": "empty",
        "deleted": True,
        "created_at": "2026-01-01T11:00:00Z",
        "expires_at": "2026-01-01T15:00:00Z",
    }
    assert [room["room_name"] for room in rooms] == ["tt-a", "tt-b", "tt-c"]


@pytest.mark.parametrize(("body", "delete"), [({}, False), ({"delete": True}, True)])
async def test_a_sweep_is_asked_for_and_deletes_only_if_that_is_said(
    site: Site, body: dict[str, bool], delete: bool
) -> None:
    answer = await site.client.post("/orphans/sweep", json=body)
    assert answer.status_code == 202
    assert answer.json() == {"message": "Sweep requested", "delete": delete, "sweep": 1}
    assert site.service.orphans.asked == [delete]


@pytest.mark.parametrize("body", ['{"delete": 1}', '{"delete": null}', '{"all": true}', "[]", "x"])
async def test_a_body_that_is_wrong_asks_for_nothing(site: Site, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(await site.client.post("/orphans/sweep", content=body, headers=headers), 400, "invalid_request")
    assert site.service.orphans.asked == []


async def test_both_want_a_key_where_there_are_keys() -> None:
    async with serving(api_keys=("a-key-of-the-tests",)) as site:
        assert_problem(await site.client.get("/orphans"), 401, "unauthorized")
        assert_problem(await site.client.post("/orphans/sweep", json={"delete": True}), 401, "unauthorized")
        assert site.service.orphans.asked == []
