"""What was stored before sessions had recordings is read, and what is stored now comes back whole."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
from test_journal_before_tokens import SESSION

from transport_trio.journal import codec
from transport_trio.models import Capture, CaptureKind, CaptureStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_session_stored_before_has_none() -> None:
    session = codec.session_from(SESSION)
    assert (session.captures, session.auto_starts_checked) == ((), ())


def test_captures_come_back_as_they_were_stored() -> None:
    capture = Capture(
        id="c1", kind=CaptureKind.RECORDING, status=CaptureStatus.READY, asked_at=NOON, ready_at=NOON, duration_s=1.5
    )
    session = attrs.evolve(
        codec.session_from(SESSION), captures=(capture,), auto_starts_checked=(CaptureKind.RECORDING,)
    )
    assert codec.session_from(codec.encode(session)) == session
