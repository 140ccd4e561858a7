"""What was stored before sessions had recordings is read, and what is stored now comes back whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import attrs
from test_journal_before_tokens import SESSION

from transport_trio.journal import codec
from transport_trio.models import Capture, CaptureKind, CaptureStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECORDED = Capture(
    id="c1", kind=CaptureKind.RECORDING, status=CaptureStatus.READY, asked_at=NOON, ready_at=NOON, duration_s=1.5
)


def test_a_session_stored_before_has_none() -> None:
    session = codec.session_from(SESSION)
    assert (session.captures, session.auto_starts_checked) == ((), ())


def test_captures_come_back_as_they_were_stored() -> None:
    stream = Capture(
        id="s1", kind=CaptureKind.LIVE_STREAM, asked_at=NOON, stored=False, destinations=("a.example",), updated_at=NOON
    )
    session = attrs.evolve(
        codec.session_from(SESSION), captures=(RECORDED, stream), auto_starts_checked=(CaptureKind.RECORDING,)
    )
    assert codec.session_from(codec.encode(session)) == session


def test_a_recording_stored_before_there_were_live_streams_goes_nowhere() -> None:
    stored = json.loads(codec.encode(attrs.evolve(codec.session_from(SESSION), captures=(RECORDED,))))
    for name in ("destinations", "updated_at", "update_heard_at"):
        del stored["captures"][0][name]
    assert codec.session_from(json.dumps(stored).encode()).captures == (RECORDED,)
