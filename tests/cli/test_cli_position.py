"""Where a follower resumes: against a model of the service whose connections break anywhere, nothing is lost unsaid."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from transport_trio.cli.position import Position

Message = dict[str, Any]
FILTERED_OUT = 3  # every third event is not for this listener


class ModelService:
    """What the contract says of `after`, `epoch`, `snapshot` and `gap`, as lists."""

    def __init__(self) -> None:
        self.epoch, self.head, self.oldest = 1, 0, 1

    def happen(self, events: int) -> None:
        self.head += events

    def prune(self, events: int) -> None:
        self.oldest = min(self.oldest + events, self.head + 1)

    def begin_epoch(self) -> None:
        self.epoch, self.head, self.oldest = self.epoch + 1, 5, 1

    def connection(self, query: dict[str, str], later: int) -> list[Message]:
        """All that one connection says, with `later` events happening while it lasts."""
        epoch = str(self.epoch)
        said: list[Message] = [{"type": "welcome", "epoch": epoch, "last_event_id": self.head}]
        after = int(query["after"]) if "after" in query else None
        start = self.head if after is None else after
        gone = after is not None and (
            query.get("epoch", epoch) != epoch or after < self.oldest - 1 or after > self.head
        )
        if gone:
            said.append({"type": "gap", "after": after, "epoch": epoch})
        if gone or (after is None and "snapshot" in query):
            half = {"type": "snapshot", "last_event_id": self.head}
            said += [{**half, "more": True}, {**half, "more": False}]
            start = self.head
        self.happen(later)
        for number in range(start + 1, self.head + 1):
            if number % FILTERED_OUT:
                said.append({"type": "session_updated", "id": number, "of_epoch": self.epoch})
            else:
                said.append({"type": "ping", "last_event_id": number})
        return said


class Ear:
    """Checks each message as it comes: an event out of order, twice, or after a hole that nobody told of."""

    def __init__(self) -> None:
        self.known: tuple[int, int] | None = None  # epoch and the last id up to which nothing is missing

    def hear(self, message: Message) -> None:
        match message:
            case {"type": "gap"}:
                self.known = None
            case {"type": "snapshot", "more": False, "last_event_id": last}:
                self.known = (0, last)
            case {"id": number, "of_epoch": epoch}:
                if self.known is not None:
                    last = self.known[1]
                    assert self.known[0] in {0, epoch}, "another epoch without a gap"
                    assert number > last, "twice, or out of order"
                    between = range(last + 1, number)
                    assert all(missing % FILTERED_OUT == 0 for missing in between), "lost without a gap"
                self.known = (epoch, number)


breaks = st.tuples(
    st.integers(0, 8),  # events before the connection
    st.integers(0, 6),  # events during it
    st.integers(0, 20),  # messages that arrive before it breaks
    st.sampled_from(["nothing", "nothing", "nothing", "prune", "epoch"]),
)


@settings(deadline=None)
@given(st.lists(breaks, max_size=12), st.booleans(), st.one_of(st.none(), st.integers(0, 10)))
def test_over_any_breaks_nothing_comes_twice_and_nothing_is_lost_in_silence(
    story: list[tuple[int, int, int, str]], snapshot: bool, after: int | None
) -> None:
    service, ear = ModelService(), Ear()
    position = Position(after=after, snapshot=snapshot)
    for before, during, arriving, disaster in story:
        service.happen(before)
        if disaster == "prune":
            service.prune(before + 2)
        elif disaster == "epoch":
            service.begin_epoch()
        for message in service.connection(dict(position.query()), during)[:arriving]:
            ear.hear(message)
            position.note(message)


def test_live_only_begins_at_the_welcome() -> None:
    position = Position()
    assert position.query() == []
    assert not position.welcomed
    position.note({"type": "welcome", "epoch": "e", "last_event_id": 41})
    assert position.welcomed
    assert position.query() == [("after", "41"), ("epoch", "e")]


def test_half_a_snapshot_is_asked_for_again() -> None:
    position = Position(snapshot=True)
    position.note({"type": "welcome", "epoch": "e", "last_event_id": 41})
    position.note({"type": "snapshot", "last_event_id": 41, "sessions": [], "more": True})
    position.note({"type": "ping", "last_event_id": 41})
    assert position.query() == [("snapshot", "true")]
    position.note({"type": "snapshot", "last_event_id": 41, "sessions": [], "more": False})
    assert position.query() == [("after", "41"), ("epoch", "e")]


def test_an_old_number_is_not_taken_into_a_new_epoch() -> None:
    """The connection broke between the welcome of another journal and its gap."""
    position = Position(after=7, epoch="old")
    position.note({"type": "welcome", "epoch": "new", "last_event_id": 90})
    position.note({"type": "ping", "last_event_id": 90})
    assert position.query() == [("after", "7"), ("epoch", "old")]
    position.note({"type": "gap", "after": 7, "oldest": 1, "reason": "epoch"})
    position.note({"type": "snapshot", "last_event_id": 90, "sessions": [], "more": False})
    assert position.query() == [("after", "90"), ("epoch", "new")]


def test_an_epoch_that_begins_while_we_listen_comes_with_its_gap() -> None:
    position = Position(after=7, epoch="old")
    position.note({"type": "welcome", "epoch": "old", "last_event_id": 7})
    position.note({"type": "gap", "after": 7, "oldest": 1, "reason": "epoch", "epoch": "new"})
    position.note({"type": "snapshot", "last_event_id": 2, "sessions": [], "more": False})
    assert position.query() == [("after", "2"), ("epoch", "new")]


def test_a_ping_moves_a_filtered_listener_on_but_never_back() -> None:
    position = Position(after=7, epoch="e")
    position.note({"type": "welcome", "epoch": "e", "last_event_id": 7})
    position.note({"type": "ping", "last_event_id": 19})
    position.note({"type": "ping", "last_event_id": 12})
    assert position.after == 19


def test_messages_without_news_of_the_place_change_nothing() -> None:
    position = Position(after=7, epoch="e")
    for message in ({"type": "pong"}, {"type": "subscribed", "last_event_id": 3}, {"type": "error", "code": "x"}):
        position.note(message)
    assert position.query() == [("after", "7"), ("epoch", "e")]
