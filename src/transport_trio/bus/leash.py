"""Becomes another program, which dies with its parent: `python leash.py PARENT_PID LOCK_FILE PROGRAM ARGUMENT...`.

A parent that was killed cannot stop its children, and nats-server outlives it. The kernel can (on Linux), when the
child asks before it becomes the program. Doing that between fork and exec of a process with threads is not safe, so
a small single-threaded process does it.

The program holds a lock on LOCK_FILE for as long as it lives, and the file has its process id: whatever became of the
parents, no two of them run at a time.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, lock: str, program: str, arguments: list[str]) -> None:  # pragma: no cover -- it turns into it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)  # waits for one that is about to end
    if os.getppid() != parent:
        sys.exit("the parent has died already")
    os.ftruncate(held, 0)
    os.pwrite(held, b"%d" % os.getpid(), 0)
    os.set_inheritable(held, True)
    # Python ignores it, and what is ignored stays so in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(program, [program, *arguments])  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":  # pragma: no cover -- as above
    become(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
