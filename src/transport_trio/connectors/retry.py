"""How long to wait before asking a provider again. Pure: time and chance come from outside."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

from transport_trio.concurrency import doubling_s

# A provider that asks for more is not believed to the letter; our callers are told to come back within the hour.
RETRY_AFTER_MAX_S = 3600.0


@attrs.frozen(kw_only=True)
class Backoff:
    """Exponential, with full jitter: many clients that failed together do not come back together."""

    base_s: float = 0.25
    max_s: float = 8.0

    def delay_s(self, failures: int, jitter: random.Random) -> float:
        """The wait after the given number of failures in a row (1: the first)."""
        return jitter.uniform(0.0, doubling_s(failures, base_s=self.base_s, max_s=self.max_s))


def parse_http_date(text: str | None) -> datetime | None:
    """A `Date` or `Retry-After` date, aware and in UTC; None for anything else."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after_s(text: str | None, now: datetime) -> float | None:
    """The wait that a `Retry-After` header asks for, as seconds or as a date; None when it says nothing sensible."""
    if not text:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        date = parse_http_date(text)
        if date is None:
            return None
        wait_s = (date - now).total_seconds()
    if math.isnan(wait_s):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
