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


class Pauses:
    """How long the latest full collection took. A plain number: its reader may be halted by a collection, too."""

    latest_s = 0.0


@contextmanager
def short_pauses(*, long_s: float = LONG_S, look_again_s: float = LOOK_AGAIN_S) -> Iterator[Pauses]:
    """In the block, what outlives a full collection longer than `long_s` is left out of those of the next while.

    So is what is there when the block begins: enter it when everything is imported.
    """
    pauses = Pauses()
    began_s, look_at = 0.0, time.monotonic() + look_again_s

    def notice(phase: str, info: dict[str, int]) -> None:
        nonlocal began_s, look_at
        if info["generation"] < 2:
            return
        now = time.monotonic()
        if phase == "stop":
            pauses.latest_s = now - began_s
            if pauses.latest_s > long_s:
                gc.freeze()
            return
        began_s = now
        if now >= look_at:
            look_at = now + look_again_s
            gc.unfreeze()  # so this one is long, and sets aside what is still there

    gc.collect()
    gc.freeze()
    gc.callbacks.append(notice)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(notice)
        gc.unfreeze()
