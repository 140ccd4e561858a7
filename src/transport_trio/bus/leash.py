"""Becomes another program, which dies with its parent: `python leash.py PARENT_PID PROGRAM ARGUMENT...`.

A parent that was killed cannot stop its children, and nats-server outlives it. The kernel can (on Linux), when the
child asks before it becomes the program. Doing that between fork and exec of a process with threads is not safe, so
a small single-threaded process does it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, program: str, arguments: list[str]) -> None:  # pragma: no cover -- it turns into the program
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent has died already")
    # Python ignores it, and what is ignored stays so in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(program, [program, *arguments])  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":  # pragma: no cover -- as above
    become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
