"""What was stored before a session had more than one meeting token is read as it was meant."""

from __future__ import annotations

from transport_trio.journal import codec
from transport_trio.sessions.grants import grants_of

SESSION = (
    b'{"created_at":"2026-01-01T12:00:00Z","departed":[],"end_reason":null,"ended_at":null,'
    b'"expires_at":"2026-01-01T16:00:00Z","id":"6f1c6ad4-4b36-4b5e-9d3c-0d1f3a3e6a11","participant_config":'
    b'{"is_owner":false,"name":"Ada","permissions":{"can_admin":false,"can_send_audio":true,'
    b'"can_send_screen_audio":true,"can_send_screen_video":true,"can_send_video":true},"user_id":"u-ada"},'
    b'"presence_checked_at":null,"present":[],"provider":"daily","provider_cleanup":null,"pushed_leaves":[],"room":'
    b'{"created_at":null,"expires_at":"2026-01-01T16:00:00Z","metadata":{},"name":"r","provider_id":"room-1",'
    b'"url":"https://sandbox.daily.co/r"},"room_config":{"auto_start_recording":false,'
    b'"auto_start_transcription":false,"enable_chat":true,"enable_recording":false,"enable_screen_sharing":true,'
    b'"enable_transcription":false,"max_participants":null,"name":null,"privacy":"Private"},'
    b'"room_missing_since":null,"status":"Created","token":{"expires_at":"2026-01-01T13:00:00Z","stage":"valid"},'
    b'"updated_at":"2026-01-01T12:00:00Z","version":3}'
)
RECORD = b'{"caller":"c","created_at":"2026-01-01T12:00:00Z","fingerprint":"f","key":"k","session_id":"s"}'


def test_a_session_stored_before_has_its_first_token() -> None:
    session = codec.session_from(SESSION)
    assert session.further_tokens == ()
    (first,) = grants_of(session)
    assert (first.id, first.participant.name, first.grant) == (session.id, "Ada", session.token)


def test_a_key_remembered_before_is_a_session_s() -> None:
    assert codec.record_from(RECORD).token_id is None
