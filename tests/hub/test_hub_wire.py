"""Snapshot bodies: whatever the sessions are like, each fits into its frame."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fakes_hub import NOW, make_session
from transport_trio.models import Participant, Presence, Room, Session
from transport_trio.wire.socket import SNAPSHOT_MAX_BYTES, snapshots


def crowded(session_id: str, people: int, name: str = "x", metadata: int = 0) -> Session:
    room = Room(name="r", url="https://x.daily.co/r", metadata={"blob": "m" * metadata})
    present = tuple(
        Presence(participant=Participant(id=f"p{n}", name=name, joined_at=NOW), last_seen_at=NOW) for n in range(people)
    )
    return make_session(session_id, room=room, present=present)


@given(
    st.lists(
        st.builds(
            crowded,
            st.sampled_from("abc"),
            st.sampled_from((0, 1, 150, 250)),
            st.sampled_from(("x", "ü" * 128, '"' * 128, "😀" * 500)),
            st.sampled_from((0, 1000, 250_000, 300_000)),
        ),
        max_size=5,
    )
)
def test_every_body_fits_and_every_session_is_in_one(sessions: list[Session]) -> None:
    bodies = list(snapshots(sessions, 2**63 - 1))
    assert max(map(len, bodies)) <= SNAPSHOT_MAX_BYTES
    frames = [json.loads(body) for body in bodies]
    assert [shown["session_id"] for frame in frames for shown in frame["sessions"]] == [one.id for one in sessions]
    assert [frame["more"] for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert all(frame["sessions"] for frame in frames) or not sessions


def shown_of(session: Session) -> dict[str, object]:
    (body,) = snapshots([session], 1)
    shown: dict[str, object] = json.loads(body)["sessions"][0]
    return shown


def people_in(shown: dict[str, object]) -> int:
    assert isinstance(shown["participants"], list)
    return len(shown["participants"])


def test_the_first_200_participants_are_named_and_all_are_counted() -> None:
    shown = shown_of(crowded("a", 250))
    assert (people_in(shown), shown["participants_total"]) == (200, 250)


def test_a_session_too_large_loses_the_providers_object_first_and_then_people() -> None:
    shown = shown_of(crowded("a", 50, metadata=300_000))
    assert (people_in(shown), shown["provider_metadata"]) == (50, {})
    shown = shown_of(crowded("a", 200, name="😀" * 500))
    assert 50 < people_in(shown) < 200
    assert shown["participants_total"] == 200
