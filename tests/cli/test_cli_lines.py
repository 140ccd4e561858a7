"""Events as lines for a person."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport_trio.cli.lines import COLOURS, Lines, count, length, person, plain
from transport_trio.events import EventType

SESSION = "7b0c0c56-9f5b-4b8e-a6b4-6f0f8a2f7c11"
ADA = {"id": "p-1", "user_id": "u-1", "name": "Ada", "joined_at": "2026-01-01T12:00:00Z"}


def event(kind: str, number: int = 12, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": number, "time": "2026-01-01T12:00:03.250Z", "session_id": SESSION, **fields}


def said(*messages: dict[str, Any]) -> list[str]:
    lines = Lines()
    return [click.unstyle(line) for message in messages for line in lines.of(message)]


EXAMPLES = [
    (
        event(
            "session_created",
            provider="daily",
            room_url="https://x.daily.co/r",
            session_expires_at="2026-01-01T15:00:00Z",
        ),
        f"{SESSION} at https://x.daily.co/r",
    ),
    (event("participant_joined", participant=ADA, source="poll"), "Ada joined"),
    (event("participant_joined", participant=ADA, again=True), "Ada joined (had not left after all)"),
    (event("participant_left", participant=ADA, duration_s=62.4, source="poll"), "Ada left after 1 min 2 s"),
    (
        event("participant_left", participant=ADA, duration_s=3, source="inferred"),
        "Ada left after 3 s, not seen any more",
    ),
    (
        event("session_updated", status="Active", participants=[ADA], participants_total=1),
        "Active, 1 in the room: Ada",
    ),
    (
        event("session_updated", status="Active", participants=[], participants_total=0),
        "Active, 0 in the room: nobody",
    ),
    (
        event("session_updated", status="Active", participants=[ADA] * 200, participants_total=1000),
        "Active, 1000 in the room: " + ", ".join(["Ada"] * 8) + " and 992 more",
    ),
    (event("participants_ejected", participant_ids=["p1", "p2"], participants_total=2, ban=False), "p1, p2 put out"),
    (
        event("participants_ejected", participant_ids=["p"] * 100, participants_total=150, ban=True),
        ", ".join(["p"] * 8) + " and 142 more put out, and cannot come back",
    ),
    (
        event("permissions_changed", participant_id="*", permissions={"can_admin": True, "can_send_audio": False}),
        "everybody: can_admin yes, can_send_audio no",
    ),
    (event("message_sent", recipient="*", data_bytes=15), "15 bytes to everybody"),
    (event("message_sent", recipient="p1", data_bytes=2), "2 bytes to p1"),
    (
        event("token_expiring", participant_name="Ada", user_id=None, expires_at="2026-01-01T12:01:00Z"),
        "Ada: 2026-01-01T12:01:00Z",
    ),
    (
        event("token_expired", participant_name=None, user_id=None, expires_at="2026-01-01T12:01:00Z"),
        "the meeting token: 2026-01-01T12:01:00Z",
    ),
    (
        event("token_created", participant_name="Bob", user_id=None, expires_at="2026-01-01T12:01:00Z"),
        "Bob: 2026-01-01T12:01:00Z",
    ),
    (
        event("token_renewed", participant_name=None, user_id="u-bob", expires_at="2026-01-01T12:09:00Z"),
        "u-bob: 2026-01-01T12:09:00Z",
    ),
    (
        event("session_extended", session_expires_at="2026-01-01T12:09:00Z", participants_total=2),
        "until 2026-01-01T12:09:00Z; 2 in the room will be put out before",
    ),
    (
        event("session_extended", session_expires_at="2026-01-01T12:09:00Z", participants_total=0),
        "until 2026-01-01T12:09:00Z",
    ),
    (event("recording_started", recording_id="c1"), "c1"),
    (event("recording_updated", recording_id="c1"), "c1"),
    (event("recording_stopped", recording_id="c1"), "c1"),
    (event("recording_ready", recording_id="c1", duration_s=65.0), "c1, 1 min 5 s long"),
    (event("recording_error", recording_id=None, reason="out\nof disk"), "none, out\\nof disk"),
    (event("transcription_started", transcript_id="t1"), "t1"),
    (event("transcription_updated", transcript_id="t1"), "t1"),
    (event("transcription_stopped", transcript_id="t1"), "t1"),
    (event("transcript_ready", transcript_id="t1", duration_s=5.0), "t1, 5 s long"),
    (event("transcript_error", transcript_id="t1", reason="no model"), "t1, no model"),
    (event("live_stream_started", stream_id="s1"), "s1"),
    (event("live_stream_updated", stream_id="s1"), "s1"),
    (event("live_stream_ended", stream_id="s1"), "s1"),
    (event("live_stream_error", stream_id="s1", reason="no route"), "s1, no route"),
    (event("session_ended", reason="requested"), "requested"),
    (
        event("session_summary", people=[{"name": "Ada", "duration_s": 75.2}], people_total=3),
        "Ada 1 min 15 s and 2 more",
    ),
    (event("session_summary", people=[], people_total=0), "nobody was there"),
    (
        {"type": "gap", "after": 7, "oldest": 20, "reason": "pruned"},
        "events after #7 are lost: they are older than what the service keeps; a snapshot follows",
    ),
    ({"type": "error", "code": "bad_message", "message": "not JSON"}, "bad_message: not JSON"),
    (
        event("of_tomorrow"),
        "(a type that this version does not know; --json shows all of it)",
    ),
]


@pytest.mark.parametrize(
    ("message", "details"), EXAMPLES, ids=lambda value: value["type"] if isinstance(value, dict) else ""
)
def test_each_type_has_its_words(message: dict[str, Any], details: str) -> None:
    assert said(message)[-1].endswith(f"  {details}")
    assert message["type"] in said(message)[-1]


def test_every_event_type_has_a_colour_and_an_example() -> None:
    assert set(EventType) <= set(COLOURS)
    assert set(EventType) <= {message["type"] for message, _ in EXAMPLES}


def test_a_line_begins_with_time_and_number_and_the_date_comes_once_a_day() -> None:
    first, second = event("session_ended", 9, reason="empty"), event("session_ended", 10, reason="empty")
    next_day = {**event("session_ended", 11, reason="empty"), "time": "2026-01-02T00:00:01Z"}
    assert said(first, second, next_day) == [
        "-- 2026-01-01 (UTC)",
        "12:00:03      #9  session_ended          8a2f7c11  empty",
        "12:00:03     #10  session_ended          8a2f7c11  empty",
        "-- 2026-01-02 (UTC)",
        "00:00:01     #11  session_ended          8a2f7c11  empty",
    ]


def test_a_snapshot_names_each_session_and_who_is_there() -> None:
    sessions = [
        {"session_id": SESSION, "status": "Active", "participants": [ADA]},
        {"session_id": "other", "status": "Created", "participants": []},
    ]
    assert said({"type": "snapshot", "last_event_id": 41, "sessions": sessions, "more": False}) == [
        "-- snapshot at #41: 2 sessions",
        f"   {SESSION}  Active   Ada",
        "   other  Created  nobody",
    ]
    assert said({"type": "snapshot", "last_event_id": 41, "sessions": sessions[:1], "more": True})[0] == (
        "-- snapshot at #41: 1 session, more to come"
    )


@pytest.mark.parametrize("kind", ["welcome", "ping", "pong", "subscribed"])
def test_talk_about_the_connection_is_no_news(kind: str) -> None:
    assert said({"type": kind, "last_event_id": 3}) == []


def test_somebody_without_a_name_is_told_apart() -> None:
    assert person({"id": "0123456789", "user_id": "u-1", "name": None}) == "u-1"
    assert person({"id": "0123456789", "user_id": None, "name": None}) == "guest 01234567"
    assert person(None) == "somebody"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3600, "1 h 0 min"),
        (7260, "2 h 1 min"),
        (None, "an unknown time"),
    ],
)
def test_lengths_read_easily(seconds: float | None, text: str) -> None:
    assert length(seconds) == text


def test_a_name_cannot_steer_the_terminal() -> None:
    evil = {**ADA, "name": "\x1b[2J\r\nAda\x9b31m\u202e"}
    (_, line) = said(event("participant_joined", participant=evil))
    assert line.isprintable()
    assert "\\x1b[2J\\r\\nAda\\x9b31m\\u202e joined" in line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.sampled_from([*EventType, "gap", "error", "snapshot", "unheard_of"]),
    st.dictionaries(
        st.sampled_from(
            ["time", "session_id", "participant", "reason", "id", "source", "last_event_id", "status", "code"]
        ),
        json_values,
    ),
)
def test_odd_fields_still_give_printable_lines(kind: str, fields: dict[str, Any]) -> None:
    for line in said({**fields, "type": kind}):
        assert line.isprintable()


def test_plain_leaves_ordinary_text_alone() -> None:
    assert plain("Zoë 日本 🎧") == "Zoë 日本 🎧"


def test_details_begin_in_one_column_whatever_the_event() -> None:
    shown = [next(line for line in Lines().of(event(kind)) if "#" in line) for kind in EventType]
    assert len({line.index(SESSION[-8:]) for line in map(click.unstyle, shown)}) == 1


@pytest.mark.parametrize(("number", "words"), [(0, "0 recordings"), (1, "1 recording"), (2, "2 recordings")])
def test_one_is_one(number: int, words: str) -> None:
    assert count(number, "recording") == words
