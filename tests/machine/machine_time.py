"""Time that passes when we say so, over code that also works in threads.

Trio's own autojump is out: it sees that every task is blocked and not that a thread is still writing to the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

# Of real time: how long a look waits for a thread to report before it looks again.
THREAD_LOOK_S = 0.0003
# No deadline is so close that a jump to it would not move the clock.
LEAST_S = 1e-6


def tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task that lives."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    left = [root]
    while left:
        task = left.pop()
        yield task
        for nursery in task.child_nurseries:
            left += nursery.child_tasks


def a_thread_works() -> bool:
    """Whether some task waits for what a worker thread does for it."""
    return any(
        frame.f_code.co_name == "to_thread_run_sync"
        for task in tasks()
        if task is not trio.lowlevel.current_task()
        for frame, _ in task.iter_await_frames()
    )


async def settle() -> None:
    """Return when nothing can happen any more before time passes: all tasks are blocked, and no thread works."""
    await wait_all_tasks_blocked()
    while a_thread_works():
        await wait_all_tasks_blocked(cushion=THREAD_LOOK_S)


async def pass_time(clock: MockClock, seconds: float) -> None:
    """Let time pass as it does: from deadline to deadline, and all that is due happens before the next."""
    end = trio.current_time() + seconds
    await settle()
    while (left_s := end - trio.current_time()) > 0:
        next_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        clock.jump(min(left_s, max(next_s, LEAST_S)))
        await settle()


async def stand_still(clock: MockClock, seconds: float) -> None:
    """Let the time pass in which the process was not run: everything that was due comes late and at once."""
    await settle()
    clock.jump(seconds)
    await settle()
