"""How long to wait before the next attempt: the step that every back-off has in common. Its jitter is the caller's."""

from __future__ import annotations

# Far past every bound in use, and short of what a float can hold.
DOUBLINGS_MAX = 30


def doubling_s(attempt: int, *, base_s: float, max_s: float) -> float:
    """`base_s` for the first attempt (1), twice as long for each further one, at most `max_s`."""
    return min(base_s * 2.0 ** min(attempt - 1, DOUBLINGS_MAX), max_s)
