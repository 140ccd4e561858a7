"""Thousands of listeners in one process of their own, written in C: it must cost less than what is measured."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from harness import LOAD_CORE

DELIVERY_S = 60.0
SOURCE = Path(__file__).with_suffix(".c")


@attrs.frozen
class Heard:
    """What all listeners together have had since they connected."""

    messages: int
    bytes: int
    lost: int  # connections that have ended
    cpu_s: float
    last_at: float  # seconds since the epoch


class Sink:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.connected_in_s = 0.0

    def heard(self) -> Heard:
        return Heard(**self.ask("heard"))

    def wait_heard(self, messages: int) -> Heard:
        """What they have had once it is so many messages."""
        give_up = time.monotonic() + DELIVERY_S
        while (heard := self.heard()).messages < messages:
            if time.monotonic() > give_up:
                raise SystemExit(f"only {heard.messages:,} of {messages:,} messages had come after {DELIVERY_S:g} s")
            time.sleep(0.001)
        return heard

    def times(self) -> dict[int, tuple[int, float, float]]:
        """By event: how many listeners had it, when the first and when the last."""
        return {id_: (count, first, last) for id_, count, first, last in self.ask("times")["told"]}

    def ask(self, question: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the sink has ended; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@cache
def _program() -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("the listeners of this benchmark are written in C: install a compiler (Debian: gcc libc6-dev)")
    folder = tempfile.mkdtemp(prefix="transport-trio-bench-")
    atexit.register(shutil.rmtree, folder)
    program = f"{folder}/sink"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE], check=True)
    return program


@contextmanager
def listening(port: int, path: str, listeners: int, *, first_message: str = "", mark: str = "") -> Iterator[Sink]:
    """So many connected listeners; see sink.c for the rest."""
    command = [_program(), "127.0.0.1", str(port), path, str(listeners), first_message, *([mark] if mark else [])]
    process = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        sink = Sink(process)
        answer = sink.read()
        if answer["failed"]:
            raise SystemExit(f"{answer['failed']} of {listeners} listeners could not connect")
        sink.connected_in_s = answer["seconds"]
        yield sink
    finally:
        process.communicate()  # closes its standard input, which ends it
