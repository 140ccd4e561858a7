"""Which of our errors an answer of Daily's is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from connectors_helpers import NOON
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.connectors.daily.answers import Answer, Failed, understand
from transport_trio.connectors.daily.operations import CHECK, CREATE_ROOM, CREATE_TOKEN, OPERATIONS, Operation
from transport_trio.errors import ProviderRejected, ProviderThrottled, ProviderUnreachable, RoomNotFound

OF_ROOM = [op for op in OPERATIONS if op.of_room]


def failed(op: Operation, status: int, content: bytes = b"", retry_after_s: float | None = None) -> Failed:
    answer = Answer(status=status, content=content, at=NOON, retry_after_s=retry_after_s)
    with pytest.raises(Failed) as caught:
        understand(op, answer, lambda _: None, room="lobby", secret="sandbox", provider="daily")
    return caught.value


@pytest.mark.parametrize("op", OF_ROOM, ids=lambda op: op.name)
@pytest.mark.parametrize(
    "body", [b'{"error":"not-found"}', b'{"error":"not-found","deleted":true}', b'{"deleted":true,"name":"lobby"}']
)
def test_dailys_404_is_a_missing_room(op: Operation, body: bytes) -> None:
    failure = failed(op, 404, body)
    assert isinstance(failure.error, RoomNotFound)
    assert not failure.again
    assert not failure.trouble


@pytest.mark.parametrize("op", OF_ROOM, ids=lambda op: op.name)
@pytest.mark.parametrize(
    "body",
    [b"", b"<h1>Not Found</h1>", b'{"error":"other"}', b"[]", b'{"deleted":"perhaps"}', b'{"error":["not-found"]}'],
)
def test_somebody_elses_404_is_not_a_missing_room(op: Operation, body: bytes) -> None:
    failure = failed(op, 404, body)
    assert isinstance(failure.error, ProviderUnreachable)
    assert failure.again is op.repeatable
    assert failure.trouble


@pytest.mark.parametrize("op", [CHECK, CREATE_ROOM, CREATE_TOKEN], ids=lambda op: op.name)
def test_a_404_where_no_room_was_asked_for_is_a_rejection(op: Operation) -> None:
    error = failed(op, 404, b'{"error":"not-found","info":"room not found"}').error
    assert isinstance(error, ProviderRejected)
    assert (error.status, error.detail) == (404, "room not found")


@given(op=st.sampled_from(OPERATIONS), status=st.integers(100, 999), content=st.binary(max_size=50))
def test_every_status_is_a_success_or_one_of_the_ports_errors(op: Operation, status: int, content: bytes) -> None:
    if 200 <= status < 300:
        answer = Answer(status=status, content=content, at=NOON)
        assert understand(op, answer, lambda _: "read", room="lobby", secret="sandbox", provider="daily") == "read"
        return
    failure = failed(op, status, content)
    error = failure.error
    assert isinstance(error, (ProviderRejected, ProviderThrottled, ProviderUnreachable, RoomNotFound))
    # What may have taken effect and cannot be repeated is in doubt, and nothing else is.
    assert error.in_doubt is (isinstance(error, ProviderUnreachable) and not op.repeatable)
    assert not (error.in_doubt and failure.again)


def test_an_answer_knows_the_providers_time_and_falls_back_to_ours() -> None:
    theirs = Answer.of(
        200, b"", "Thu, 01 Jan 2026 12:00:00 GMT", "Thu, 01 Jan 2026 12:01:00 GMT", NOON - timedelta(days=1)
    )
    assert (theirs.date, theirs.at, theirs.retry_after_s) == (NOON, NOON, 60)
    ours = Answer.of(200, b"", None, "5", NOON)
    assert (ours.date, ours.at, ours.retry_after_s) == (None, NOON, 5)
