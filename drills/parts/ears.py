"""Many listeners that behave, in processes of their own, so that who makes the load does not hold up who measures.

`python -m drills.parts.ears PORT COUNT AFTER` listens until its standard input names an event id, then until all have
heard that one, and prints what each heard and when.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from drills.frame.launcher import own_environ
from drills.frame.wire import CLOSE, HOST, PING, PONG, TEXT, frame, upgrade_request

EVENT_ID = re.compile(rb'"id":(\d+)[,}]')
EVENT_TIME = re.compile(rb'"time":"([^"]+)"')
QUIET_S = 60.0
READY_S = 60.0


@attrs.define(eq=False)
class Ear:
    """One listener: the ids that it heard, in order, and how long after the event's `time`."""

    peer: socket.socket
    buffer: bytearray = attrs.field(factory=bytearray)
    ids: list[int] = attrs.field(factory=list)
    delays_s: list[float] = attrs.field(factory=list)
    code: int | None = None  # of the close frame; 0 without one

    def read(self) -> bool:
        """Take what has come; False at the end."""
        try:
            data = self.peer.recv(262_144)
        except ConnectionError:
            data = b""
        now = time.time()
        self.buffer += data
        while (found := self._frame()) is not None:
            opcode, payload = found
            if opcode == TEXT and (event_id := EVENT_ID.search(payload)):
                self.ids.append(int(event_id[1]))
                happened = EVENT_TIME.search(payload)
                assert happened is not None
                self.delays_s.append(now - datetime.fromisoformat(happened[1].decode()).timestamp())
            elif opcode == PING:
                self.peer.send(frame(PONG, payload))
            elif opcode == CLOSE:
                self.code = int.from_bytes(payload[:2])
                self.peer.send(frame(CLOSE, payload[:2]))
        if not data and self.code is None:
            self.code = 0
        return bool(data)

    def _frame(self) -> tuple[int, bytes] | None:
        data = self.buffer
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start])
        if len(data) < start + size:
            return None
        found = data[0] & 0xF, bytes(data[start : start + size])
        del data[: start + size]
        return found


def listen(port: int, count: int, after: int) -> dict[str, Any]:
    ears = []
    selector = selectors.DefaultSelector()
    for _ in range(count):
        peer = socket.create_connection((HOST, port), timeout=30)
        peer.sendall(upgrade_request(f"?after={after}"))
        ear = Ear(peer)
        while b"\r\n\r\n" not in ear.buffer:
            ear.buffer += peer.recv(4096)
        assert ear.buffer.startswith(b"HTTP/1.1 101 "), ear.buffer
        del ear.buffer[: ear.buffer.index(b"\r\n\r\n") + 4]
        peer.setblocking(False)
        selector.register(peer, selectors.EVENT_READ, ear)
        ears.append(ear)
    print("listening", flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    last, deadline = -1, time.monotonic() + 600
    began, busy_s = time.monotonic(), time.process_time()
    while time.monotonic() < deadline:
        for key, _ in selector.select(0.5):
            if key.fileobj is sys.stdin:
                last, deadline = int(sys.stdin.readline()), time.monotonic() + QUIET_S
                selector.unregister(sys.stdin)
            elif not key.data.read():
                selector.unregister(key.fileobj)
        if last >= 0 and all(ear.code is not None or (ear.ids and ear.ids[-1] >= last) for ear in ears):
            break
    return {
        "ears": [{"ids": ear.ids, "delays_s": ear.delays_s, "code": ear.code} for ear in ears],
        "busy": (time.process_time() - busy_s) / (time.monotonic() - began),
    }


@attrs.define(eq=False)
class Ears:
    """All of them, over several processes; `finish` gives what they heard."""

    processes: list[trio.Process] = attrs.field(factory=list)
    outputs: list[bytearray] = attrs.field(factory=list)
    heard: list[list[int]] = attrs.field(factory=list)  # by listener
    delays_s: list[list[float]] = attrs.field(factory=list)
    codes: list[int | None] = attrs.field(factory=list)
    busy: list[float] = attrs.field(factory=list)  # share of a processor, by process

    async def start(self, nursery: trio.Nursery, port: int, counts: list[int], after: int) -> None:
        """So many listeners in each process; returns when all are connected."""
        for count in counts:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "drills.parts.ears", str(port), str(count), str(after)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                env=own_environ(),
            )
            self.processes.append(process)
            self.outputs.append(bytearray())
            nursery.start_soon(self._collect, process, self.outputs[-1])
        with trio.fail_after(READY_S):
            while not all(output.startswith(b"listening\n") for output in self.outputs):
                await trio.sleep(0.05)

    async def finish(self, last: int) -> None:
        """Have them hear this event, or their end, and tell."""
        for process in self.processes:
            assert process.stdin is not None
            await process.stdin.send_all(b"%d\n" % last)
        with trio.fail_after(2 * QUIET_S):
            for process in self.processes:
                await process.wait()
            while not all(output.endswith(b"}\n") for output in self.outputs):
                await trio.sleep(0.05)
        for output in self.outputs:
            told = json.loads(output.removeprefix(b"listening\n"))
            self.busy.append(told["busy"])
            for ear in told["ears"]:
                self.heard.append(ear["ids"])
                self.delays_s.append(ear["delays_s"])
                self.codes.append(ear["code"])

    async def _collect(self, process: trio.Process, output: bytearray) -> None:
        assert process.stdout is not None
        async for piece in process.stdout:
            output += piece


@asynccontextmanager
async def ears(port: int, counts: list[int], after: int) -> AsyncIterator[Ears]:
    """Listeners during the block."""
    them = Ears()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        try:
            await them.start(nursery, port, counts, after)
            yield them
        finally:
            for process in them.processes:
                if process.returncode is None:
                    process.kill()


if __name__ == "__main__":
    print(json.dumps(listen(*(int(each) for each in sys.argv[1:4]))))
