"""Waits before another attempt: bounded, spread, and as the provider asks where it asks sensibly."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.connectors.retry import RETRY_AFTER_MAX_S, Backoff, parse_http_date, parse_retry_after_s

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@given(failures=st.integers(1, 10_000), seed=st.integers())
def test_backoff_grows_to_its_maximum_and_is_jittered_in_full(failures: int, seed: int) -> None:
    backoff = Backoff(base_s=0.5, max_s=8.0)
    ceiling_s = min(0.5 * 2 ** min(failures - 1, 10), 8.0)
    waits = [backoff.delay_s(failures, random.Random(seed + n)) for n in range(50)]
    assert all(0 <= wait_s <= ceiling_s for wait_s in waits)
    assert min(waits) < ceiling_s / 2 < max(waits)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("1e9", RETRY_AFTER_MAX_S),
        ("inf", RETRY_AFTER_MAX_S),
        (format_datetime(NOON + timedelta(seconds=40), usegmt=True), 40.0),
        (format_datetime(NOON - timedelta(seconds=40), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_garbage_is_ignored(
    header: str | None, wait_s: float | None
) -> None:
    assert parse_retry_after_s(header, NOON) == wait_s


@given(st.text())
def test_retry_after_takes_any_text(header: str) -> None:
    wait_s = parse_retry_after_s(header, NOON)
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("header", "date"),
    [
        ("Thu, 01 Jan 2026 12:00:00 GMT", NOON),
        ("Thu, 01 Jan 2026 12:00:00 -0000", NOON),  # parsed without a zone
        (format_datetime(NOON.astimezone(timezone(timedelta(hours=5)))), NOON),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),  # beyond what UTC can say
        ("yesterday", None),
        (None, None),
    ],
)
def test_a_date_header_is_aware_or_nothing(header: str | None, date: datetime | None) -> None:
    assert parse_http_date(header) == date
