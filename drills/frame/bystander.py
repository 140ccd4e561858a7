"""Somebody who uses the service as it is meant, in a process of its own, while others misbehave.

`python -m drills.frame.bystander URL` asks until its standard input ends, then prints what it met.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from drills.frame.launcher import own_environ
from drills.frame.report import Report
from drills.frame.world import START_S, percentile, until

PAUSE_S = 0.01
ANSWER_S = 30.0
CREATE_EACH = 10
BEGUN = b"asking\n"


@attrs.define
class Bystander:
    """What it met; filled when its time is over."""

    answers: int = 0
    wrong: list[str] = attrs.field(factory=list)
    seconds: list[float] = attrs.field(factory=list)
    per_s: float = 0.0
    reopened: int = 0

    def tell(self, report: Report, when: str) -> None:
        report.figure(f"right answers for others {when}", self.answers - len(self.wrong))
        report.figure(f"  of these per second {when}", self.per_s)
        report.figure(f"  p50 of their answers {when} (ms)", percentile(self.seconds, 0.5) * 1000)
        report.figure(f"  p99 of their answers {when} (ms)", percentile(self.seconds, 0.99) * 1000)
        report.none("others got right answers meanwhile", self.wrong, of=self.answers)


@asynccontextmanager
async def bystander(url: str) -> AsyncIterator[Bystander]:
    """One that asks during the block, and has told what it met after it."""
    met = Bystander()
    command = [sys.executable, "-m", "drills.frame.bystander", url]
    async with trio.open_nursery() as nursery:
        output = bytearray()
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=own_environ(),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        stdout = process.stdout

        async def read() -> None:
            async for piece in stdout:
                output.extend(piece)

        nursery.start_soon(read)
        try:
            await until(partial(_has_begun, output), START_S)
            yield met
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(2 * ANSWER_S):
                await process.stdin.aclose()
                await process.wait()
            if process.returncode is None:
                process.kill()
    for name, value in json.loads(output.removeprefix(BEGUN)).items():
        setattr(met, name, value)


async def _has_begun(output: bytearray) -> bool:
    return output.startswith(BEGUN)


def main(url: str) -> dict[str, Any]:
    address = urlsplit(url).netloc
    wrong: list[str] = []
    seconds: list[float] = []
    reopened = 0
    kept = HTTPConnection(address, timeout=ANSWER_S)

    def ask(method: str, path: str, code: int, over: HTTPConnection | None = None, /, **wanted: Any) -> dict[str, Any]:
        nonlocal reopened
        at = time.monotonic()
        got: tuple[int, dict[str, Any]]
        try:
            try:
                got = _ask(over, address, method, path)
            except (HTTPException, ConnectionError):
                if over is None:
                    raise
                reopened += 1  # it was idle, and a service may close it then
                got = _ask(over, address, method, path)
        except (HTTPException, OSError, ValueError) as exc:
            got = (0, {"error": repr(exc)})
        seconds.append(time.monotonic() - at)
        if got[0] != code or any(got[1].get(name) != value for name, value in wanted.items()):
            wrong.append(f"{method} {path}: {got[0]} {str(got[1])[:200]}")
        return got[1]

    began = time.monotonic()
    mine = ask("POST", "/sessions", 201, status="Created").get("session_id")
    print(BEGUN.decode(), end="", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        ask("GET", "/health", 200, status="healthy")
        ask("GET", f"/sessions/{mine}", 200, kept, session_id=mine, status="Created")
        if len(seconds) % CREATE_EACH == 1:
            made = ask("POST", "/sessions", 201, status="Created").get("session_id")
            ask("DELETE", f"/sessions/{made}", 200, session_id=made)
    per_s = round(len(seconds) / (time.monotonic() - began), 1)
    return {"answers": len(seconds), "wrong": wrong, "seconds": seconds, "per_s": per_s, "reopened": reopened}


def _ask(over: HTTPConnection | None, address: str, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """Ask over this connection, or over one of its own."""
    connection = over or HTTPConnection(address, timeout=ANSWER_S)
    try:
        creates = method == "POST"
        headers = {"Content-Type": "application/json"} if creates else {}
        connection.request(method, path, '{"provider": "daily"}' if creates else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (HTTPException, OSError, ValueError):
        connection.close()
        raise
    finally:
        if over is None:
            connection.close()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
