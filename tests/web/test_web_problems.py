"""Every error that may leave the use-cases has a status, and becomes a problem document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from transport_trio import errors
from transport_trio.errors import TransportError
from transport_trio.web import problems
from transport_trio.web.problems import STATUS, problem_of, status_of

# What the contract names, section 1.
CONTRACT = {
    errors.InvalidRequest(("$.provider", "is required")): (400, "invalid_request"),
    errors.UnknownProvider("twilio", ("daily",)): (400, "unknown_provider"),
    errors.SessionNotFound("x"): (404, "session_not_found"),
    errors.ParticipantNotFound("x"): (404, "participant_not_found"),
    errors.TokenNotFound("x"): (404, "token_not_found"),
    errors.RoomExists("x"): (409, "room_exists"),
    errors.TooManyTokens(100): (409, "too_many_tokens"),
    errors.TooManyTranscripts(20): (409, "too_many_transcripts"),
    errors.LiveStreamNotFound("x"): (404, "live_stream_not_found"),
    errors.LiveStreamNotInState("x", "ended", "running"): (409, "live_stream_not_in_state"),
    errors.TooManyLiveStreams(20): (409, "too_many_live_streams"),
    errors.TranscriptNotFound("x"): (404, "transcript_not_found"),
    errors.TranscriptNotInState("x", "starting", "ready"): (409, "transcript_not_in_state"),
    errors.AlreadyRunning("recording", "x", "running"): (409, "already_running"),
    errors.TooManyRecordings(20): (409, "too_many_recordings"),
    errors.RecordingNotEnabled("off"): (409, "recording_not_enabled"),
    errors.RecordingNotFound("x"): (404, "recording_not_found"),
    errors.RecordingNotInState("x", "starting", "ready"): (409, "recording_not_in_state"),
    errors.SessionHasEnded("x"): (409, "session_ended"),
    errors.RequestInProgress(0.2): (409, "request_in_progress"),
    errors.HistoryGone(after=1, oldest=5, reason="pruned"): (410, "history_gone"),
    errors.IdempotencyMismatch(): (422, "idempotency_mismatch"),
    errors.Busy("full", 1.5): (429, "busy"),
    errors.ProviderRejected("daily", 401, "no"): (502, "provider_rejected"),
    errors.ProviderNotServed("daily-eu"): (503, "provider_not_served"),
    errors.ProviderThrottled("daily", 2.2): (503, "provider_throttled"),
    errors.ProviderBusy("daily", "no worker", 5.0): (503, "provider_busy"),
    errors.ProviderUnreachable("daily", "down"): (503, "provider_unreachable"),
    errors.ProviderTimeout("daily", "slow"): (504, "provider_timeout"),
    errors.StorageUnavailable("disk full"): (503, "storage_unavailable"),
    errors.Stopping(): (503, "stopping"),
    errors.ListenersFull(5, 1.0): (503, "listeners_full"),
    problems.Unauthorized(): (401, "unauthorized"),
    problems.Forbidden("no"): (403, "forbidden"),
}
# These, and what is made of them, end inside: in a retry, a restart, or the start of the program.
INSIDE = (
    errors.BadMessage,
    errors.RestartLimitExceeded,
    errors.VersionConflict,
    errors.JournalUnusable,
    errors.BusError,
    errors.CannotListen,
    errors.SettingsError,
)
BASES = {errors.TransportError, errors.JournalError}


async def document(error: TransportError) -> tuple[dict[str, Any], dict[str, str]]:
    response = problem_of(error)
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(await response.get_data())
    assert body["status"] == response.status_code
    return body, dict(response.headers)


@pytest.mark.parametrize("error", CONTRACT, ids=lambda error: type(error).__name__)
async def test_an_error_of_the_contract_has_its_status_and_code(error: TransportError) -> None:
    status, code = CONTRACT[error]
    body, _ = await document(error)
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:transport-trio:error:{code}")
    assert body["detail"] == str(error)
    assert body["title"]


def test_every_error_is_in_the_table_or_ends_inside() -> None:
    every = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, TransportError)}
    for error in every - BASES:
        answered = any(base in STATUS for base in error.__mro__)
        assert answered != issubclass(error, INSIDE), error


async def test_what_ends_inside_is_no_answer() -> None:
    assert status_of(errors.VersionConflict("x")) is None
    with pytest.raises(KeyError):
        problem_of(errors.VersionConflict("x"))


async def test_a_subclass_answers_like_its_parent_under_its_own_code() -> None:
    body, _ = await document(errors.RoomNotFound("daily", "x"))
    assert (body["status"], body["code"]) == (502, "room_not_found")


async def test_all_faults_are_in_errors() -> None:
    body, _ = await document(errors.InvalidRequest(("$.a", "is bad"), ("$.b.c", "is worse")))
    assert body["errors"] == [{"path": "$.a", "message": "is bad"}, {"path": "$.b.c", "message": "is worse"}]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (errors.ProviderThrottled("daily", 2.2), "3"),
        (errors.Busy("full", 1.0), "1"),
        (errors.RequestInProgress(0.01), "1"),
        (errors.ListenersFull(5, 10.0), "10"),
    ],
)
async def test_retry_after_is_in_whole_seconds_and_never_zero(error: TransportError, shown: str) -> None:
    _, headers = await document(error)
    assert headers["Retry-After"] == shown


async def test_gone_history_says_where_it_begins() -> None:
    body, _ = await document(errors.HistoryGone(after=1, oldest=5, reason="pruned"))
    assert (body["oldest"], body["reason"]) == (5, "pruned")


async def test_a_wrong_method_names_the_right_ones_sorted() -> None:
    _, headers = await document(problems.MethodNotAllowed("PUT", {"POST", "GET", "HEAD"}))
    assert headers["Allow"] == "GET, HEAD, POST"
