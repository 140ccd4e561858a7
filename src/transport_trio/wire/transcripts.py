"""What comes in about transcriptions, read as strictly as `POST /sessions`, and how transcripts are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from transport_trio.errors import InvalidRequest
from transport_trio.models import Capture, CaptureKind, CaptureLink, CaptureOptions, CaptureStatus, Session
from transport_trio.wire.captures import link_answer, managed_faults, shown_times
from transport_trio.wire.people import Id
from transport_trio.wire.requests import Body, body_of

WORD_MAX_CHARS = 64
PARTICIPANTS_MAX = 100
# Statuses that have another name in the words of a transcription.
SHOWN = {CaptureStatus.RUNNING: "transcribing"}

Word = Annotated[str, Meta(min_length=1, max_length=WORD_MAX_CHARS)]
Ids = Annotated[tuple[Id, ...], Meta(min_length=1, max_length=PARTICIPANTS_MAX)]


class StartBody(Body, frozen=True):
    language: Word | UnsetType = UNSET
    model: Word | UnsetType = UNSET
    profanity_filter: bool | UnsetType = UNSET
    punctuate: bool | UnsetType = UNSET
    include_raw_response: bool | UnsetType = UNSET
    participant_ids: Ids | UnsetType = UNSET
    transcription_geo: Literal["global", "eu"] | UnsetType = UNSET
    additional: bool = False
    daily: dict[str, Any] | UnsetType = UNSET


class UpdateBody(Body, frozen=True):
    participant_ids: Ids
    transcript_id: Id | None = None


class StopBody(Body, frozen=True):
    transcript_id: Id | None = None


def transcription_options(data: bytes, managed: frozenset[str]) -> CaptureOptions:
    """How a call is to be transcribed; no body at all leaves everything to the provider.

    Raises:
        InvalidRequest: it has the wrong shape, or sets in `daily` what has a name of its own.
    """
    body = body_of(data or b"{}", StartBody)
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    more = given.pop("daily", {})
    additional = given.pop("additional")
    if faults := managed_faults(more, managed):
        raise InvalidRequest(*faults)
    return CaptureOptions(given=given, provider_options=more, additional=additional)


def transcription_changes(data: bytes) -> tuple[str | None, CaptureOptions]:
    """Of which transcript, if that is said, and whom it is to be about.

    Raises:
        InvalidRequest: it has the wrong shape.
    """
    body = body_of(data or b"{}", UpdateBody)
    return body.transcript_id, CaptureOptions(given={"participant_ids": body.participant_ids})


def transcription_stop(data: bytes) -> str | None:
    """Which transcript, if that is said.

    Raises:
        InvalidRequest: it has the wrong shape.
    """
    return body_of(data or b"{}", StopBody).transcript_id


def transcript_answer(capture: Capture) -> dict[str, Any]:
    return {
        "transcript_id": capture.id,
        "provider_transcript_id": capture.provider_id,
        "status": SHOWN.get(capture.status, capture.status.value),
        "stored": capture.stored,
        **shown_times(capture),
    }


def transcripts_answer(session: Session) -> dict[str, Any]:
    """All of a session's, the oldest first."""
    of_kind = [one for one in session.captures if one.kind is CaptureKind.TRANSCRIPTION]
    return {"transcripts": [transcript_answer(one) for one in of_kind], "total": len(of_kind)}


def transcript_link_answer(capture_id: str, link: CaptureLink) -> dict[str, Any]:
    answer = link_answer(capture_id, link)
    return {"transcript_id": answer.pop("recording_id"), **answer}
