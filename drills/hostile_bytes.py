"""Hostile bytes: hidden requests, dripping heads and bodies, thousands of silent connections, bad frames, bombs."""

from __future__ import annotations

import resource
import socket
import time
from collections import Counter
from functools import partial
from pathlib import Path

import attrs
import trio

from drills.frame.bystander import bystander
from drills.frame.report import Report
from drills.frame.wire import HOST, close_code, may_open, talk, upgrade_request
from drills.frame.world import World, cpu_s, open_files, open_world, rss_bytes, until
from drills.parts.hostile_shapes import Frames, Shape, bombs, creation, malformed, oversized, post, smuggling

HALF_OPEN, MANY = 300, 10_000
DRIPPING, DRIPPING_SHORT = 300, 10
HEAD_TIMEOUT_S, BODY_TIMEOUT_S, KEEP_ALIVE_S, CLOSE_S, LINGER_S = 1.5, 1.5, 3.0, 3.0, 1.0
SLACK_S = 20.0  # a machine with other things to do
CONNECTION_BYTES = 48 * 1024  # what one silent connection may cost
CROWDED_LIMIT, CROWD, CROWDS_MAX = 320, 900, 5
# In which a crowd fills all places anew: who has connected and not spoken by then makes way. With the 25,000 places of
# the default that takes ten seconds at least; at full pace 320 are gone before a busy client sends its first byte.
TURNOVER_S = 1.0
SILENT = 20  # that hold a file each when there are no more
LARGE_BYTES = 200_000
WHOLE_HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100
SETTINGS = {
    "HEAD_TIMEOUT_S": f"{HEAD_TIMEOUT_S:g}",
    "BODY_TIMEOUT_S": f"{BODY_TIMEOUT_S:g}",
    "KEEP_ALIVE_S": f"{KEEP_ALIVE_S:g}",
    "LISTENER_MESSAGES_MAX": "100000",  # what is tried here is bytes
}

PATIENT = {"HEAD_TIMEOUT_S": "60", "KEEP_ALIVE_S": "60"}
QUICKER = {"HEAD_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "1", "KEEP_ALIVE_S": "1.5"}


async def run(report: Report, folder: Path, *, short: bool) -> None:
    limit = {"CONNECTIONS_MAX": str(CROWDED_LIMIT)}
    settings = SETTINGS | QUICKER | limit if short else SETTINGS
    async with open_world(folder, nats=False, **settings) as world:
        await world.service.start()
        async with bystander(world.service.url) as met, trio.open_nursery() as nursery:
            nursery.start_soon(_hidden_requests, report, world)
            nursery.start_soon(_refused, report, world, "oversized heads", oversized())
            nursery.start_soon(_refused, report, world, "bombs", bombs())
            nursery.start_soon(_frames, report, world)
            nursery.start_soon(_drips, report, world, DRIPPING_SHORT if short else DRIPPING)
        met.tell(report, "during hostile requests")
        await _check_metrics(report, world)
        await _half_open(report, world, HALF_OPEN)
        await _no_files(report, world)
        if not short:
            await _again(world, **PATIENT)
            await _many(report, world, MANY)
        await _again(
            world, **PATIENT, **limit
        )  # else the crowd's first would be gone in time, and nobody need make way
        await _crowd(report, world, CROWD)
        report.holds("/ready says ready after all of this", (await world.service.checks())["ready"] == "ready")
        report.holds("it stops with 0 after all of this", await world.service.end() == 0)


async def _again(world: World, **settings: str) -> None:
    await world.service.end()
    world.service.environ.update(settings)
    await world.service.start()


async def _hidden_requests(report: Report, world: World) -> None:
    before = world.rooms()
    shapes = smuggling(creation("hidden"))
    await _refused(report, world, "shapes of request smuggling", shapes)
    asked = [request for request in world.sandbox.requests() if "hidden" in str(request)]
    report.none("no hidden request was executed", asked + sorted(world.rooms() & {"hidden"}), of=len(shapes))
    # The proof that one would be seen: two whole requests in one piece are no smuggling, and both are executed.
    answer = await talk(world.service.port, creation("open-1") + creation("open-2"), KEEP_ALIVE_S + SLACK_S)
    made = world.rooms() - before
    report.holds("requests in the open, one after the other in one piece, are executed", answer.statuses == [201, 201])
    report.holds("and the provider shows them", {"open-1", "open-2"} <= made)


async def _refused(report: Report, world: World, what: str, shapes: list[Shape]) -> None:
    """Each shape gets one answer with the right status, and its connection ends."""
    bound_s = max(HEAD_TIMEOUT_S, BODY_TIMEOUT_S, KEEP_ALIVE_S) + LINGER_S + SLACK_S
    wrong: list[str] = []
    open_: list[str] = []

    async def one(shape: Shape) -> None:
        ending = await talk(world.service.port, shape.sent, bound_s)
        # A client that sends on and on may see a reset before the answer.
        overtaken = ending.end == "reset" and not ending.statuses and len(shape.sent) > LARGE_BYTES
        if not overtaken and (len(ending.statuses) != 1 or ending.statuses[0] not in shape.statuses):
            wrong.append(f"{shape.name}: {ending.statuses or ending.end}")
        if ending.end == "open":
            open_.append(shape.name)

    async with trio.open_nursery() as nursery:
        for shape in shapes:
            nursery.start_soon(one, shape)
    report.figure(what, len(shapes))
    report.none(f"{what}: one answer each, with the documented status", wrong, of=len(shapes))
    report.none("every hostile connection ended in time", open_, of=len(shapes))


async def _frames(report: Report, world: World) -> None:
    cases = malformed()
    wrong: list[str] = []
    open_: list[str] = []

    async def one(case: Frames) -> None:
        # permessage-deflate is offered by all: nobody may get it.
        request = upgrade_request(extra="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        ending = await talk(world.service.port, request, CLOSE_S + SLACK_S, then=case.sent)
        if close_code(ending.received) != case.code or b"permessage-deflate" in ending.received:
            wrong.append(f"{case.name}: {close_code(ending.received)}, not {case.code}")
        if ending.end == "open":
            open_.append(case.name)

    async with trio.open_nursery() as nursery:
        for case in cases:
            nursery.start_soon(one, case)
    report.figure("malformed frames", len(cases))
    report.none("malformed frames: the documented close code, and no compression", wrong, of=len(cases))
    report.none("every hostile connection ended in time", open_, of=len(cases))


async def _drips(report: Report, world: World, count: int) -> None:
    """Heads and bodies that come a byte at a time, for longer than the service waits."""
    head = post(b"X: " + b"y" * 1_000, b"")
    body = post(b"Content-Length: 1000\r\n", b"")
    wrong: list[str] = []

    async def one(kind: str, first: bytes, drip: bytes, bound_s: float) -> None:
        ending = await talk(world.service.port, first, bound_s + SLACK_S, then=drip, drip_s=0.1)
        if ending.statuses != [408] or ending.end == "open":
            wrong.append(f"{kind}: {ending.statuses} {ending.end} after {ending.after_s:.1f} s")

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one, "head", head[:1], head[1:], HEAD_TIMEOUT_S)
            nursery.start_soon(one, "body", body, b" " * 1_000, BODY_TIMEOUT_S + LINGER_S)
    report.figure("heads and bodies that dripped", 2 * count)
    report.none("what drips is 408 and closed in time", wrong, of=2 * count)


async def _check_metrics(report: Report, world: World) -> None:
    """An operator sees what was refused before any route saw it."""
    shown = await world.service.metrics()
    reasons = ("not_http", "not_supported", "head_too_large", "head_too_slow", "upgrade")
    counts = {reason: shown.get(f'transport_http_refused_total{{reason="{reason}"}}', 0) for reason in reasons}
    report.none("each refusal of the HTTP layer is counted", [r for r, n in counts.items() if not n], of=len(reasons))
    report.figure("refusals counted by the HTTP layer", int(sum(counts.values())))


# --- crowds


@attrs.define
class Crowd:
    """Clients that are connected and say nothing, or half a head."""

    sockets: list[socket.socket] = attrs.field(factory=list)

    def grow(self, port: int, count: int, pause_s: float = 0) -> None:
        """Runs in a thread: the kernel makes the connections, at the pace at which the service takes them."""
        for number in range(count):
            one = socket.create_connection((HOST, port), timeout=30)
            self.sockets.append(one)
            if number % 2:
                one.sendall(WHOLE_HEAD)
            one.setblocking(False)
            time.sleep(pause_s)

    def ended(self) -> Counter[str]:
        """How many were closed with which answer; `open` those that were not."""
        ends: Counter[str] = Counter()
        for one in self.sockets:
            try:
                received = one.recv(1000)
                ends[received[9:12].decode() if received else "closed"] += 1
            except BlockingIOError:
                ends["open"] += 1
            except ConnectionError:
                ends["reset"] += 1
        return ends

    def close(self) -> None:
        for one in self.sockets:
            one.close()
        self.sockets.clear()


async def _half_open(report: Report, world: World, count: int) -> None:
    """Nobody but the service ends them."""
    crowd = Crowd()
    await trio.to_thread.run_sync(crowd.grow, world.service.port, count)
    gone = await until(partial(_at_most, world, 1), KEEP_ALIVE_S + SLACK_S)  # our own
    report.holds("half-open connections are closed in time", gone, f"{count:,}")
    ends = crowd.ended()
    crowd.close()
    report.holds("half a head is answered with 408, no head with nothing", ends == _halves(count), dict(ends))


def _halves(count: int) -> dict[str, int]:
    return {"408": count // 2, "closed": count - count // 2}


async def _many(report: Report, world: World, wanted: int) -> None:
    """As many as nobody honest needs, twice: what the first crowd leaves behind, the second must not add to."""
    count = may_open(wanted)
    pid = world.service.pid
    crowd = Crowd()
    before, files_before = rss_bytes(pid), open_files(pid)
    peaks: list[int] = []
    async with bystander(world.service.url) as met:
        for _ in range(2):
            await trio.to_thread.run_sync(crowd.grow, world.service.port, count)
            all_in = await until(partial(_connections, world, count), SLACK_S)
            report.holds("all half-open connections are open at once", all_in, f"{count:,}")
            peaks.append(rss_bytes(pid))
            crowd.close()
            await until(partial(_at_most, world, 10), SLACK_S)
    met.tell(report, f"during {count:,} half-open connections, twice")
    report.figure("half-open connections, at once", count)
    for name, value in (("before", before), ("at the peak", max(peaks)), ("after", rss_bytes(pid))):
        report.figure(f"memory {name} of half-open connections (MiB)", value / 2**20)
    each = (max(peaks) - before) / count
    report.figure("memory for each of them (KiB)", each / 1024)
    report.holds("a half-open connection costs bounded memory", each < CONNECTION_BYTES, f"{each:,.0f} bytes")
    grown = [f"{peak / 2**20:.0f} MiB" for peak in peaks]
    report.holds("a second crowd needs no more than the first", peaks[1] - before < 1.2 * (peaks[0] - before), grown)
    files = open_files(pid)
    report.holds("files go back to what they were", files <= files_before + 20, f"{files_before}, then {files}")


async def _connections(world: World, count: int) -> bool:
    return await world.service.metric("transport_connections") >= count


async def _at_most(world: World, count: int) -> bool:
    return await world.service.metric("transport_connections") <= count


async def _no_files(report: Report, world: World) -> None:
    """The process is at its limit of open files: silent clients make room, and nothing spins."""
    pid = world.service.pid
    crowd = Crowd()
    await trio.to_thread.run_sync(crowd.grow, world.service.port, SILENT)
    allowed = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    log_bytes = world.service.log.stat().st_size
    used_s, began = cpu_s(pid), time.monotonic()
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files(pid), allowed[1]))
        async with bystander(world.service.url) as met:
            # More than there can be files for, and fewer than the kernel keeps waiting; no faster than that somebody
            # honest, on a busy machine, gets its head in before its place is wanted (ADR 53).
            await trio.to_thread.run_sync(crowd.grow, world.service.port, 100, 0.4 * TURNOVER_S / SILENT)
            await trio.sleep(1)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, allowed)
    crowd.close()
    met.tell(report, "without a file left")
    spent = (cpu_s(pid) - used_s) / (time.monotonic() - began)
    refused = await world.service.metric('transport_http_refused_total{reason="no_files"}')
    report.figure("times that no file was left", int(refused))
    report.holds("a lack of files is counted", refused > 0)
    report.figure("share of a processor without a file left", spent)
    told = [line for line in world.service.log.read_bytes()[log_bytes:].splitlines() if b'"level": "info"' not in line]
    report.holds("a lack of files is logged once, not each time", len(told) == 1 and b"no files left" in told[0], told)


async def _crowd(report: Report, world: World, count: int) -> None:
    """Many more than CONNECTIONS_MAX, again and again: who asks for something is served all the same."""
    crowd = Crowd()
    most = crowded = 0.0
    async with bystander(world.service.url) as met:
        for _ in range(CROWDS_MAX):
            await trio.to_thread.run_sync(crowd.grow, world.service.port, count, TURNOVER_S / CROWDED_LIMIT)
            shown = await world.service.metrics()
            most = max(most, shown["transport_connections"])
            crowded = shown.get('transport_http_refused_total{reason="crowded"}', 0)
            await trio.sleep(0.5)
            if crowded > count // 4:
                break
    report.figure("connections in crowds", len(crowd.sockets))
    crowd.close()
    met.tell(report, f"in a crowd where {CROWDED_LIMIT} may be")
    report.holds("there are never more connections than CONNECTIONS_MAX", 0 < most <= CROWDED_LIMIT, f"{most:.0f}")
    report.holds("a connection that makes room is counted", crowded > 0, f"{crowded:.0f}")
