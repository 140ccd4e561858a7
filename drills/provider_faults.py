"""The provider slow, failing in every way, unreachable, and back, while sessions live, are made and are ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import attrs
import trio

from drills.frame.clients import Caller
from drills.frame.report import Report
from drills.frame.world import frozen, until
from drills.parts.provider_checks import AWAY_S, BACKOFF_MAX_S, CALL, CREATION, Case
from drills.parts.provider_parts import (
    ATTEMPTS_MAX,
    AWAY,
    DEGRADED,
    LATE,
    LIVE,
    MADE,
    POLL_S,
    SLACK_S,
    TIMEOUT_S,
    TROUBLES,
    Bystanders,
    Readiness,
    Trouble,
    at_sandbox,
    outcome_of,
    requests_of,
    set_fault,
    started_world,
    utc_now,
)

HOLD_S = 2.0
AWAY_SHORT_S = 3.0
TIMEOUT_SHORT_S = 1.5  # a call tries again for 1.5 of them, and would outlast a shorter outage
REAL_TIMEOUT_S = 10.0
SETTINGS = {
    "DAILY_RATE_LIMITS": "true",  # they belong to what keeps storms away
    "DAILY_SHARED_PRESENCE_ROOMS": "0",  # the faults strike looks into one room
}
Scenario = Callable[[Case], Awaitable[None]]
Some = dict[str, Trouble]


async def run(report: Report, folder: Path, *, short: bool) -> None:
    halves = [dict(list(TROUBLES.items())[start::2]) for start in (0, 1)]
    scenarios: dict[str, Scenario] = {
        "creations, create_room": partial(_creations, "create_room", TROUBLES),
        "creations, create_meeting_token": partial(_creations, "create_meeting_token", TROUBLES),
        "replays": _replays,
        "looks, one half": partial(_looks, halves[0]),
        "looks, the other": partial(_looks, halves[1]),
        "deletions, get_room": partial(_deletions, "get_room", TROUBLES),
        "deletions, delete_room": partial(_deletions, "delete_room", TROUBLES),
        "outages": _outages,
        "ten seconds": _ten_seconds,
    }
    if short:
        scenarios = {"outages": _outages, "a little of each": _a_little_of_each}
    async with trio.open_nursery() as nursery:
        for number, (name, scenario) in enumerate(scenarios.items()):
            nursery.start_soon(_in_a_world, report, folder / f"world{number}", name, scenario, short)


async def _in_a_world(report: Report, folder: Path, name: str, scenario: Scenario, short: bool) -> None:
    timeout_s = REAL_TIMEOUT_S if scenario is _ten_seconds else TIMEOUT_SHORT_S if short else TIMEOUT_S
    # Where looks are not what is tried, many sessions need not keep the machine busy.
    poll_s = POLL_S if short or scenario is _outages or name.startswith("looks") else 4 * POLL_S
    settings = {**SETTINGS, "PROVIDER_TIMEOUT_S": f"{timeout_s:g}", "PRESENCE_POLL_S": f"{poll_s:g}"}
    # A 404 must pass long before it is believed, on a busy machine too; but rooms that are gone need not wait for it.
    settings["PRESENCE_CONFIRM_S"] = "15" if name.startswith("looks") else "5"
    async with started_world(folder, sandbox_args=(), **settings) as world:
        began = trio.current_time()
        async with Caller(world.service.url) as caller, trio.open_nursery() as nursery:
            readiness = Readiness(world.service.url)
            nursery.start_soon(readiness.run)
            bystanders = Bystanders(world, caller)
            await bystanders.come(LIVE)
            case = Case(report, world, caller, bystanders, readiness, short)
            await scenario(case)
            readiness.check(report)
            nursery.cancel_scope.cancel()
        requests = await at_sandbox(world, "requests")
    if scenario is not _outages:  # a frozen sandbox sees in one moment what was asked over seconds
        case.check_limits(name, requests)
    report.count("requests that reached the provider", len(requests))
    report.progress(f"{name}: {trio.current_time() - began:.0f} s")


async def _creations(operation: str, troubles: Some, case: Case) -> None:
    for name, trouble in troubles.items():
        await set_fault(case.world, trouble, operation)
        answer, took_s = await case.create()
        wanted = trouble.room if operation == "create_room" else trouble.token
        case.check_answer(f"{operation}, {name}", answer, wanted, took_s, CREATION)
        await case.check_metric(trouble, operation, name)
        await at_sandbox(case.world, "set_faults")
        await case.check_back(f"{operation}, {name}", trouble)
    await case.check_rooms()
    await case.bystanders.check(case.report)


async def _replays(case: Case) -> None:
    """A repeat with its key mints a token anew: one call of the provider, and nothing else."""
    key = {"Idempotency-Key": uuid4().hex}
    first, _ = await case.create(headers=key)
    for name, trouble in TROUBLES.items():
        await set_fault(case.world, trouble, "create_meeting_token")
        answer, took_s = await case.create(headers=key)
        case.check_answer(f"replay, {name}", answer, trouble.token, took_s, CALL)
        await at_sandbox(case.world, "set_faults")
        await case.come_back(trouble)
        answer, _ = await case.create(headers=key)
        same = outcome_of(answer) == MADE and answer.json()["session_id"] == first.json()["session_id"]
        case.report.none("a replay after the fault has the same session", [] if same else [name], of=1)
    await case.bystanders.check(case.report)


async def _looks(troubles: Some, case: Case) -> None:
    """Every look into a room meets the fault. Refusals are asked about longest, since they fail fastest."""
    for name, trouble in troubles.items():
        hold_s = AWAY_S if name == "401" and not case.short else HOLD_S
        if name == "404":  # an answer: the room is missing, as far as anybody knows
            trouble = attrs.evolve(trouble, outcome="not_found")
        async with case.counting_looks(name, trouble.outcome):
            began, beginning = trio.current_time(), utc_now()
            await set_fault(case.world, trouble, "room_presence")
            told = await until(partial(case.said, trouble.ready), HOLD_S + CALL * TIMEOUT_S + SLACK_S)
            case.report.none("/ready tells of looks that fail", [] if told else [name], of=1)
            await trio.sleep(max(began + hold_s - trio.current_time(), 0))
            await case.check_metric(trouble, "presence", name)
        await at_sandbox(case.world, "set_faults")
        await case.check_recovery(name, (utc_now() - beginning).total_seconds())
    await case.bystanders.check(case.report)


async def _deletions(operation: str, troubles: Some, case: Case) -> None:
    """Sessions are ended while their rooms cannot be: `DELETE` succeeds, and the rooms follow as soon as they can."""
    for name, trouble in troubles.items():
        made = [await case.caller.create() for _ in range(2)]
        await set_fault(case.world, trouble, operation)
        for one in made:
            answer, took_s = await case.ask("DELETE", f"/sessions/{one['session_id']}")
            case.check_delete(f"{operation}, {name}", answer, took_s)
        await trio.sleep(HOLD_S / 2)
        await at_sandbox(case.world, "set_faults")
    await case.check_rooms()
    if not case.short:  # else a creation beside this is in doubt for a minute
        case.report.holds("nothing is owed in the end", await until(case.nothing_owed, BACKOFF_MAX_S))
    await case.bystanders.check(case.report)


async def _outages(case: Case) -> None:
    away_s = AWAY_SHORT_S if case.short else AWAY_S
    for _ in range(2):
        await case.caller.create()  # to be ended while nobody is there
    async with case.counting_looks("port closed", "unreachable"):
        began = trio.current_time()
        await at_sandbox(case.world, "outage", away_s)
        await _meanwhile(case, "port closed", AWAY, began, away_s)
    assert await until(case.answers, 10.0)
    await case.check_back("port closed", TROUBLES["500"])
    await case.check_recovery("port closed", away_s)
    if not case.short:
        with frozen(case.world.sandbox_program.pid):
            await _meanwhile(case, "frozen", LATE, trio.current_time(), away_s)
        await case.check_back("frozen", TROUBLES["500"])
        await case.check_recovery("frozen", away_s + CALL * TIMEOUT_S)
    await case.check_rooms()
    await case.bystanders.check(case.report)
    if not case.short:
        await _killed(case)


async def _meanwhile(case: Case, name: str, wanted: tuple[int, str], began: float, away_s: float) -> None:
    """What callers get while nobody is there: creations fail in time, reads and ends succeed."""
    asked = await requests_of(case.world, "create_room")
    for session in await case.caller.sessions("&status=Created"):
        answer, took_s = await case.ask("DELETE", f"/sessions/{session['session_id']}")
        case.check_delete(name, answer, took_s)
    creations = 0
    while trio.current_time() < began + away_s - CALL * TIMEOUT_S or not creations:
        answer, took_s = await case.create()
        creations += 1
        if trio.current_time() > began + away_s and outcome_of(answer) == MADE:
            break  # a busy machine: the outage was over first
        case.check_answer(f"create, {name}", answer, wanted, took_s, CREATION)
    says_so = await until(partial(case.said, DEGRADED), min(away_s, 2 * SLACK_S))
    told = says_so or DEGRADED in case.readiness.since(began)
    case.report.none("/ready tells of an outage", [] if told else [name], of=1)
    asked = await requests_of(case.world, "create_room") - asked
    many = [f"{name}: {asked:.0f} for {creations}"] if asked > ATTEMPTS_MAX * creations else []
    case.report.none("a creation asks at most four times", many, of=creations)
    await trio.sleep(max(began + away_s - trio.current_time(), 0))


async def _killed(case: Case) -> None:
    """The provider comes back without its rooms: only then are sessions ended, since they have none any more."""
    await case.world.sandbox_program.kill()
    await _meanwhile(case, "killed", AWAY, trio.current_time(), HOLD_S)
    await case.world.sandbox_program.start()
    await case.check_back("killed", TROUBLES["500"])

    async def told() -> bool:
        ended = await case.caller.sessions("&status=Ended")
        gone = {one["session_id"] for one in ended if one["end_reason"] == "room_gone"}
        return case.bystanders.rooms.keys() <= gone

    case.report.holds("sessions whose rooms are truly gone end as room_gone", await until(told, BACKOFF_MAX_S))


async def _ten_seconds(case: Case) -> None:
    """The real timeout: answers just before it are waited for, later ones are not."""
    slow = {"kind": "delay", "delay_s": REAL_TIMEOUT_S - 1.5, "operation": "create_room"}
    await at_sandbox(case.world, "set_faults", slow)
    answer, took_s = await case.create()
    case.report.holds("an answer after 8.5 s is waited for", outcome_of(answer) == MADE, f"{took_s:.1f} s")
    await at_sandbox(case.world, "set_faults", {"kind": "delay", "delay_s": REAL_TIMEOUT_S + 0.5})
    answer, took_s = await case.create()
    late = outcome_of(answer) == LATE and took_s < CREATION * REAL_TIMEOUT_S + SLACK_S
    case.report.holds("when all answers take 10 s a creation gives up within 30 s", late, f"{took_s:.1f} s")
    await at_sandbox(case.world, "set_faults")
    await case.check_back("10 s", TROUBLES["500"])
    await case.check_rooms()
    await case.bystanders.check(case.report)


async def _a_little_of_each(case: Case) -> None:
    await _looks({"401": TROUBLES["401"]}, case)
    await _creations("create_room", {name: TROUBLES[name] for name in ("400", "500", "cut in the middle")}, case)
    await _deletions("delete_room", {"404": TROUBLES["404"]}, case)
