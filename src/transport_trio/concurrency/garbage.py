"""Short pauses of Python's garbage collector, however much a process holds.

A full collection looks at every object: with ten thousand listeners it takes a third of a second, in which nobody is
told anything, and in a busy service one comes every few seconds. What has outlived a long one will be there for a
while, and modules and classes for ever. So they are set aside (`gc.freeze`), and looked at again now and then, since
what was kept may have become garbage meanwhile.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG_S = 0.02
LOOK_AGAIN_S = 600.0
# At the latest when so many times as much is set aside as the latest look at all of it has left: so garbage in there
# is never more than what is in use.
LOOK_AGAIN_GROWTH = 2


class Pauses:
    """How long the latest full collection took. A plain number: its reader may be halted by a collection, too."""

    latest_s = 0.0


@contextmanager
def short_pauses(*, long_s: float = LONG_S, look_again_s: float = LOOK_AGAIN_S) -> Iterator[Pauses]:
    """In the block, what outlives a full collection longer than `long_s` is left out of those of the next while.

    So is what is there when the block begins: enter it when everything is imported.
    """
    pauses = Pauses()
    gc.collect()
    gc.freeze()
    kept = gc.get_freeze_count()
    began_s, look_at, complete = 0.0, time.monotonic() + look_again_s, False

    def notice(phase: str, info: dict[str, int]) -> None:
        nonlocal began_s, look_at, complete, kept
        if info["generation"] < 2:
            return
        now = time.monotonic()
        if phase == "start":
            began_s = now
            complete = now >= look_at or gc.get_freeze_count() > LOOK_AGAIN_GROWTH * kept
            if complete:
                gc.unfreeze()
            return
        pauses.latest_s = now - began_s
        if complete or pauses.latest_s > long_s:
            gc.freeze()
        if complete:
            look_at, kept = now + look_again_s, gc.get_freeze_count()

    gc.callbacks.append(notice)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(notice)
        gc.unfreeze()
