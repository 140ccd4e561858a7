"""Any story of comings and goings, with lagging answers and pushes that get lost, doubled, late and out of order.

Whatever is told makes sense in itself, and is the truth as soon as nothing has happened for a while.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from session_builders import a_session, after, somebody

from transport_trio.events import ParticipantJoined, ParticipantLeft, SessionUpdated, Source
from transport_trio.models import News, Session
from transport_trio.sessions.lifecycle import Observed, Policy, Pushed, decide

POLICY = Policy(confirm_s=15.0, token_warning_s=60.0, grace_s=30.0)
BEAT_S = 15.0
QUIET_S = 200.0  # after which everything has been settled
PEOPLE = ("u1", "u2", None)


@attrs.define
class Connection:
    id: str
    user_id: str | None
    came_s: float
    went_s: float | None = None

    @property
    def person(self) -> str:
        return self.user_id or self.id


@attrs.frozen
class Delivery:
    at_s: float
    connection: Connection
    came: bool


@attrs.define
class Listener:
    """Hears a session's events and finds fault."""

    inside: dict[str, str] = attrs.field(factory=dict)  # who, by the id that they were told with
    by: list[Source] = attrs.field(factory=list)

    def hear(self, event: object) -> None:
        match event:
            case ParticipantJoined(participant=who):
                person = who.user_id or who.id
                assert person not in self.inside.values(), f"{person} joined twice"
                self.inside[who.id] = person
                self.by.append(event.source)
            case ParticipantLeft(participant=who):
                assert self.inside.pop(who.id, None) is not None, f"{who.id} left without having joined"
                assert event.duration_s >= 0
            case SessionUpdated(participants=people):
                assert [who.id for who in people] == list(self.inside)


# A step: so much later, this person connects anew, or closes the oldest connection; and what becomes of the push.
steps = st.lists(
    st.tuples(
        st.floats(0.1, 12),
        st.sampled_from(PEOPLE),
        st.booleans(),
        st.lists(st.floats(0, 25), max_size=2),  # how late it comes: not at all, once, twice
    ),
    max_size=12,
)


def lived(told: Sequence[tuple[float, str | None, bool, list[float]]]) -> tuple[list[Connection], list[Delivery]]:
    """What happened, and what was pushed of it in which order."""
    connections: list[Connection] = []
    deliveries: list[Delivery] = []
    now_s = 0.0
    for later_s, user_id, comes, late_s in told:
        now_s += later_s
        if comes:
            connection = Connection(f"c{len(connections)}", user_id, now_s)
            connections.append(connection)
        else:
            open_ = [one for one in connections if one.went_s is None and one.user_id == user_id]
            if not open_:
                continue
            connection = open_[0]
            connection.went_s = now_s
        deliveries += [Delivery(now_s + late, connection, comes) for late in late_s]
    return connections, sorted(deliveries, key=lambda one: one.at_s)


def shown(connections: Sequence[Connection], at_s: float) -> list[Connection]:
    return [one for one in connections if one.came_s <= at_s and (one.went_s is None or one.went_s > at_s)]


def play(connections: Sequence[Connection], deliveries: Sequence[Delivery], lag_s: float, offset_s: float) -> Listener:
    session: Session = a_session()
    listener = Listener()
    last_s = max([one.at_s for one in deliveries] + [one.went_s or one.came_s for one in connections], default=0.0)
    looks = [offset_s + beat * BEAT_S for beat in range(int((last_s + QUIET_S) / BEAT_S))]
    for at_s, delivery in sorted([(at_s, None) for at_s in looks] + [(one.at_s, one) for one in deliveries], key=_when):
        if delivery is None:
            seen = tuple(somebody(one.id, one.user_id, joined_s=one.came_s) for one in shown(connections, at_s - lag_s))
            outcome = decide(session, Observed(at=after(at_s), seen=seen), POLICY)
        else:
            one = delivery.connection
            occurred_s = one.came_s if delivery.came else one.went_s
            assert occurred_s is not None
            news = News(
                participant=somebody(one.id, one.user_id, joined_s=one.came_s),
                came=delivery.came,
                occurred_at=after(occurred_s),
            )
            outcome = decide(session, Pushed(at=after(at_s), news=news), POLICY)
        session = outcome.session
        for event in outcome.events:
            listener.hear(event)
    return listener


def _when(entry: tuple[float, object]) -> tuple[float, bool]:
    return entry[0], entry[1] is None  # pushes first


@settings(max_examples=300)
@given(told=steps, lag_s=st.floats(0, 25), offset_s=st.floats(0, BEAT_S))
def test_whatever_is_pushed_the_story_makes_sense_and_ends_with_the_truth(
    told: list[tuple[float, str | None, bool, list[float]]], lag_s: float, offset_s: float
) -> None:
    connections, deliveries = lived(told)
    listener = play(connections, deliveries, lag_s, offset_s)
    truth = {one.person for one in connections if one.went_s is None}
    assert set(listener.inside.values()) == truth


@given(told=steps, lag_s=st.floats(0, 25), offset_s=st.floats(0, BEAT_S))
def test_where_every_push_comes_at_once_nobody_is_told_by_looks(
    told: list[tuple[float, str | None, bool, list[float]]], lag_s: float, offset_s: float
) -> None:
    prompt = [(later_s, user_id, comes, [0.0]) for later_s, user_id, comes, _ in told]
    connections, deliveries = lived(prompt)
    assert set(play(connections, deliveries, lag_s, offset_s).by) <= {Source.WEBHOOK}
