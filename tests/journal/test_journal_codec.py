"""Rows as bytes and numbers, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_builders import a_session, somebody

from transport_trio.errors import InvalidRequest, StorageUnavailable
from transport_trio.journal import codec
from transport_trio.models import (
    EndReason,
    FurtherGrant,
    Participant,
    ParticipantConfig,
    Permissions,
    Presence,
    Privacy,
    ProviderCleanup,
    Room,
    RoomConfig,
    Session,
    SessionId,
    SessionStatus,
    TokenGrant,
    TokenOptions,
    TokenStage,
)
from transport_trio.ports import Change

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def made(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **fields)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


PARTICIPANTS = made(Participant, id=TEXT, user_id=maybe(TEXT), name=maybe(TEXT), joined_at=MOMENTS)
SESSIONS: st.SearchStrategy[Session] = made(
    Session,
    id=st.uuids().map(lambda value: SessionId(str(value))),
    provider=TEXT,
    status=st.sampled_from(SessionStatus),
    room=made(
        Room,
        name=TEXT,
        url=TEXT,
        provider_id=maybe(TEXT),
        expires_at=maybe(MOMENTS),
        created_at=maybe(MOMENTS),
        metadata=st.dictionaries(TEXT, JSON, max_size=3),
    ),
    room_config=made(
        RoomConfig,
        name=maybe(TEXT),
        privacy=st.sampled_from(Privacy),
        max_participants=maybe(st.integers(1, 2**40)),
        enable_recording=st.booleans(),
    ),
    participant_config=made(
        ParticipantConfig,
        name=maybe(TEXT),
        user_id=maybe(TEXT),
        is_owner=st.booleans(),
        permissions=made(Permissions, can_admin=st.booleans()),
    ),
    token=made(TokenGrant, expires_at=MOMENTS, stage=st.sampled_from(TokenStage)),
    created_at=MOMENTS,
    updated_at=MOMENTS,
    expires_at=MOMENTS,
    present=st.lists(
        made(Presence, participant=PARTICIPANTS, last_seen_at=MOMENTS, missing_since=maybe(MOMENTS)), max_size=3
    ).map(tuple),
    departed=st.lists(TEXT, max_size=3).map(tuple),
    presence_checked_at=maybe(MOMENTS),
    room_missing_since=maybe(MOMENTS),
    ended_at=maybe(MOMENTS),
    end_reason=maybe(st.sampled_from(EndReason)),
    provider_cleanup=maybe(st.sampled_from(ProviderCleanup)),
    further_tokens=st.lists(
        made(
            FurtherGrant,
            id=TEXT,
            participant=made(ParticipantConfig, name=maybe(TEXT)),
            options=made(TokenOptions, not_before=maybe(MOMENTS), eject_after_s=maybe(st.integers(1, 2**20))),
            grant=made(TokenGrant, expires_at=MOMENTS, stage=st.sampled_from(TokenStage)),
            ttl_s=maybe(st.integers(1, 2**20)),
            created_at=MOMENTS,
        ),
        max_size=2,
    ).map(tuple),
)


@given(SESSIONS, st.integers(0, 2**40))
def test_a_session_comes_back_as_it_was(session: Session, version: int) -> None:
    prepared = codec.prepare(Change(session=session, expected_version=version))
    assert prepared.session == attrs.evolve(session, version=version + 1)
    assert codec.session_from(prepared.session_body) == prepared.session


def test_the_test_of_sessions_leaves_no_field_out() -> None:
    """A field that is new in the model and optional would otherwise go untested."""
    session = a_session(present=(somebody(),))
    assert set(msgspec.json.decode(codec.encode(session))) == {field.name for field in attrs.fields(Session)}


@given(MOMENTS)
def test_microseconds_are_exact(at: datetime) -> None:
    assert codec.moment(codec.micros(at)) == at


def test_a_moment_counts_wherever_it_was_read() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert codec.micros(noon.astimezone(timezone(timedelta(hours=5)))) == codec.micros(noon)


@given(st.integers(1, 2**59))
def test_a_cursor_leads_back_to_its_row(row: int) -> None:
    assert codec.row_of(codec.cursor_after(row)) == row


@given(st.text(max_size=40))
def test_any_other_cursor_is_refused_and_nothing_worse(text: str) -> None:
    try:
        row = codec.row_of(text)
    except InvalidRequest:
        return
    assert codec.row_of(codec.cursor_after(row)) == row


@pytest.mark.parametrize("body", [b"", b"{}", b"[1", b'{"id": 1}', b"\xff", None])
def test_what_is_no_record_is_told_as_damage(body: Any) -> None:
    for decode in (codec.session_from, codec.intent_from, codec.debt_from, codec.record_from):
        with pytest.raises(StorageUnavailable, match="damaged"):
            decode(body)
