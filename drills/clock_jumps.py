"""The system clock set wrong by hours, in an outage, before a restart; a suspend; another time zone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from drills.frame.report import Report
from drills.frame.world import frozen, until
from drills.parts.clock_watch import Watch, find_library, watching
from drills.parts.provider_parts import at_sandbox

HOUR_S = 3600
# Length of the session and of its token that end while things go wrong; a busy machine takes seconds to make them.
BRIEF_S, BRIEF_SHORT_S = (12, 9), (6, 4)
WARNING_S = 2
HALF_AN_HOUR_S = 1800
# A look each second, and the question to the provider, which may take ten.
BOUND_S = 11.0
EXACT_S = 2.0  # ends are whole seconds, `Date` too
SETTINGS = {
    "PRESENCE_POLL_S": "0.4",
    "PRESENCE_CONFIRM_S": "3",
    "PROVIDER_TIMEOUT_S": "2",
    "TOKEN_WARNING_S": f"{WARNING_S}",
    # What an hour ahead would make us forget.
    "EVENTS_KEEP_S": f"{HALF_AN_HOUR_S}",
    "SESSIONS_KEEP_S": f"{HALF_AN_HOUR_S}",
}
Scenario = Callable[[Watch], Awaitable[None]]


async def run(report: Report, folder: Path, *, short: bool) -> None:
    library = find_library()
    report.holds("libfaketime is there", library is not None, library or "install Debian's package faketime")
    if library is None:
        return
    scenarios: dict[str, Scenario] = {"an hour ahead": partial(_wrong, HOUR_S, short), "suspend": _suspend}
    if not short:
        scenarios |= {
            "an hour behind": partial(_wrong, -HOUR_S, short),
            "a day and an hour ahead": partial(_wrong, 25 * HOUR_S, short),
            "an hour ahead in an outage": partial(_in_an_outage, HOUR_S),
            "an hour behind in an outage": partial(_in_an_outage, -HOUR_S),
            "time zones": _zones,
        }
    async with trio.open_nursery() as nursery:
        for number, (name, scenario) in enumerate(scenarios.items()):
            nursery.start_soon(_in_a_world, report, folder / f"world{number}", library, name, scenario)
    report.figure("scenarios side by side", len(scenarios))


async def _in_a_world(report: Report, folder: Path, library: str, name: str, scenario: Scenario) -> None:
    began = trio.current_time()
    async with watching(report, folder, library, name, SETTINGS) as watch:
        await scenario(watch)
    report.progress(f"{name}: {trio.current_time() - began:.0f} s")


async def _wrong(by_s: int, short: bool, watch: Watch) -> None:
    """The system clock is set wrong and the provider's disagrees: nothing comes early or late by it."""
    await _people_and_sessions(watch)
    await _brief(watch, BRIEF_SHORT_S if short else BRIEF_S)
    # All rooms look empty just before and just after the jump: for a moment, which an hour must not make long.
    await at_sandbox(watch.world, "set_faults", {"kind": "empty_presence", "for_s": 1.4})
    await trio.sleep(0.7)
    watch.set_clock(by_s)
    await _check_new(watch, "new")
    await _check_shown(watch, -by_s)
    await _check_brief(watch)
    await _check_alive(watch, "half an hour", "long", "new")
    if not short:
        await watch.world.service.end()
        await watch.world.service.start()  # with the clock still wrong
        await _check_new(watch, "after a restart")
        await _check_alive(watch, "half an hour", "long", "new", "after a restart")
        await _check_remembered(watch)
    watch.set_clock(0)
    fine = await until(partial(_clock_says, watch, "ok"), BOUND_S)
    watch.none("/ready is ok when the clock is right again", [] if fine else ["degraded"])
    await _check_alive(watch, "half an hour", "long", "new")


async def _in_an_outage(by_s: int, watch: Watch) -> None:
    """Nobody can be asked at the moment of the jump: time runs on, and the question is asked until it is answered."""
    await _people_and_sessions(watch)
    await _brief(watch)
    await at_sandbox(watch.world, "outage", float(BRIEF_S[0] + 2))
    await trio.sleep(1)
    watch.set_clock(by_s)
    await _check_shown(watch, -by_s)
    await _check_brief(watch)
    checked = datetime.now(UTC)
    await until(partial(_looked_at, watch, checked), 40.0)
    await _check_alive(watch, "half an hour", "long")
    await _check_new(watch, "new")
    await _check_shown(watch, -by_s)


async def _suspend(watch: Watch) -> None:
    """The machine slept for an hour: what came due meanwhile happens at once and once, and nothing else."""
    await _people_and_sessions(watch)
    with frozen(watch.world.service.pid):
        watch.set_clock(HOUR_S)
        await at_sandbox(watch.world, "advance", float(HOUR_S))
    woke = datetime.now(UTC).timestamp()

    await until(partial(_is_told, watch, "half an hour", "session_ended"), 2 * BOUND_S)
    await until(partial(_is_told, watch, "long", "token_expired"), 2 * BOUND_S)
    await trio.sleep(2)  # for what would come twice
    ended = [at for type_, at in watch.told("half an hour") if type_ == "session_ended"]
    watch.none("what came due in a suspend comes at once", [at - woke for at in ended if at - woke > BOUND_S])
    counted = Counter(type_ for kind in ("half an hour", "long") for type_, _ in watch.told(kind))
    wanted = {
        "session_created": 2,
        "participant_joined": 2,
        "participant_left": 1,
        "token_expired": 2,
        "session_ended": 1,
    }
    watch.none("what came due in a suspend comes once", [counted] if dict(counted) != wanted else [])
    jumps = await watch.world.service.metric("transport_clock_jumps_total")
    watch.none("a metric counts the jump", [] if jumps == 1 else [jumps])
    fine = await _clock_says(watch, "ok") and await _correction_s(watch) == 0
    watch.none("after a suspend the system clock is believed", [] if fine else [await _correction_s(watch)])
    await _check_new(watch, "new")
    await _check_alive(watch, "new")


async def _zones(watch: Watch) -> None:
    """The same service under two zones 25 hours apart, one after the other: nothing in it goes by local time."""
    service = watch.world.service
    await service.end()
    service.environ["TZ"] = "AAA-14"
    await service.start()
    await _people_and_sessions(watch)
    await service.end()
    service.environ["TZ"] = "BBB+11"
    await service.start()
    await _brief(watch)
    await _check_new(watch, "new")
    await _check_brief(watch)
    await _check_alive(watch, "half an hour", "long", "new")
    await _check_remembered(watch)
    for kind in ("half an hour", "long"):
        made, now = watch.made[kind], await watch.caller.get(f"/sessions/{watch.made[kind]['session_id']}")
        fields = ("created_at", "expires_at", "session_expires_at")
        watch.none("no time moves with the zone", [field for field in fields if made[field] != now[field]], of=3)


async def _people_and_sessions(watch: Watch) -> None:
    await watch.create("ended")
    await watch.caller.end(watch.made["ended"]["session_id"])
    await watch.create("half an hour", session_ttl_s=HALF_AN_HOUR_S, token_ttl_s=HALF_AN_HOUR_S)
    await watch.create("long", key=f"the key of {watch.name}", session_ttl_s=4 * HOUR_S, token_ttl_s=HOUR_S - 60)
    for kind in ("half an hour", "long"):
        await at_sandbox(watch.world, "join", watch.made[kind]["room_name"], name="Ada", user_id="ada")
    assert await until(partial(_has_heard, watch, "participant_joined", 2), 30.0)


async def _brief(watch: Watch, lengths_s: tuple[int, int] = BRIEF_S) -> None:
    await watch.create("brief", session_ttl_s=lengths_s[0], token_ttl_s=lengths_s[1])


async def _check_new(watch: Watch, kind: str) -> None:
    """A session made now, not a moment later, has the right times, here and at the provider."""
    before = await at_sandbox(watch.world, "now")
    made = await watch.create(kind, session_ttl_s=600, token_ttl_s=300)
    after = await at_sandbox(watch.world, "now")

    def off(time: float) -> float:
        """How far that is from the moment of the creation."""
        return time - min(max(time, before), after)

    rooms = {room["name"]: room for room in await at_sandbox(watch.world, "rooms")}
    exp = rooms[made["room_name"]]["config"]["exp"]
    errors = {
        "session_expires_at": off(_unix(made["session_expires_at"]) - 600),
        "expires_at": off(_unix(made["expires_at"]) - 300),
        "created_at": off(_unix(made["created_at"])),
        "exp of the room": off(exp - 600),
    }
    events = (await watch.world.service.get(f"/events?session_id={made['session_id']}"))["events"]
    errors |= {f"time of {event['type']}": off(_unix(event["time"])) for event in events}
    watch.none(
        "a session made after a jump has the right times",
        [f"{what} is {by:+.1f} s off" for what, by in errors.items() if abs(by) > EXACT_S],
        of=len(errors),
    )


async def _check_brief(watch: Watch) -> None:
    """Each of its deadlines is met, neither early nor late."""
    made = watch.made["brief"]
    end, token = _unix(made["session_expires_at"]), _unix(made["expires_at"])
    due = {"token_expiring": token - WARNING_S, "token_expired": token, "session_ended": end}
    await trio.sleep(max(end - datetime.now(UTC).timestamp(), 0))
    await until(partial(_is_told, watch, "brief", "session_ended"), 2 * BOUND_S)
    told = dict(watch.told("brief"))
    early = [f"{type_} {told[type_] - at:+.1f} s" for type_, at in due.items() if told.get(type_, at) < at - 0.1]
    late = [
        f"{type_} {told.get(type_, 0) - at:+.1f} s" for type_, at in due.items() if told.get(type_, 1e12) > at + BOUND_S
    ]
    watch.none("nothing comes early by a jump", early, of=len(due))
    watch.none("nothing comes late by a jump", late, of=len(due))
    counted = Counter(type_ for type_, _ in watch.told("brief"))
    watch.none("each deadline is told once", [counted] if set(counted.values()) != {1} else [], of=len(counted))


async def _check_alive(watch: Watch, *kinds: str) -> None:
    """They have neither ended nor lost their token or their people."""
    gone = [kind for kind in kinds if (await _session(watch, kind))["status"] == "Ended"]
    watch.none("no session that is not due was ended", gone, of=len(kinds))
    wrong = {"token_expiring", "token_expired", "participant_left", "session_ended"}
    told = [f"{kind}: {type_}" for kind in kinds for type_, _ in watch.told(kind) if type_ in wrong]
    watch.none("no token expired and nobody left by a jump", told, of=len(kinds))


async def _check_remembered(watch: Watch) -> None:
    """Nothing was pruned or forgotten before its time."""
    again = await watch.caller.create(
        {"options": {"session_ttl_s": 4 * HOUR_S, "token_ttl_s": HOUR_S - 60}}, f"the key of {watch.name}"
    )
    same = again["session_id"] == watch.made["long"]["session_id"] and watch.caller.replayed == 1
    watch.none("an idempotency key is remembered", [] if same else [again["session_id"]])
    first = (await watch.caller.events())[0]["id"]
    watch.none("no event is pruned before its time", [first] if first != 1 else [])
    ended = await watch.caller.ask("GET", f"/sessions/{watch.made['ended']['session_id']}")
    watch.none("no session is pruned before its time", [] if ended.status_code == 200 else [ended.status_code])


async def _check_shown(watch: Watch, correction_s: int) -> None:
    """Operators see it: `/ready` and two metrics."""
    told = await until(partial(_clock_says, watch, "degraded"), BOUND_S)
    watch.none("/ready tells that the clock is wrong, with 200", [] if told else ["ok"])
    shown = await watch.world.service.metrics()
    watch.none("a metric counts the jump", [] if shown["transport_clock_jumps_total"] >= 1 else [0])
    off = await _correction_s(watch) - correction_s
    watch.none("a metric has how wrong the clock is", [f"{off:+.1f} s"] if abs(off) > EXACT_S else [])


async def _session(watch: Watch, kind: str) -> dict[str, Any]:
    session: dict[str, Any] = await watch.caller.get(f"/sessions/{watch.made[kind]['session_id']}")
    return session


async def _clock_says(watch: Watch, status: str) -> bool:
    checks = await watch.world.service.checks()
    return checks["clock"] == status and checks["ready"] == "ready"


async def _correction_s(watch: Watch) -> float:
    return await watch.world.service.metric("transport_clock_correction_seconds")


async def _has_heard(watch: Watch, type_: str, count: int) -> bool:
    return sum(event["type"] == type_ for event in watch.follower.heard) >= count


async def _is_told(watch: Watch, kind: str, type_: str) -> bool:
    return type_ in dict(watch.told(kind))


async def _looked_at(watch: Watch, since: datetime) -> bool:
    checked = (await _session(watch, "long"))["presence_checked_at"]
    return checked is not None and datetime.fromisoformat(checked) > since


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
