"""Set arithmetic on presence: no false leave, every leave once, after its join."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from session_builders import after, somebody

from transport_trio.models import Participant, Presence
from transport_trio.sessions.presence import DEPARTED_MAX, Observation, everyone_leaves, observe, recheck_at

CONFIRM_S = 15.0
NOBODY = Observation(present=(), departed=(), joined=(), left=(), renamed=False)


def look(before: Observation, seen: Sequence[Participant], at_s: float) -> Observation:
    return observe(before.present, before.departed, seen, after(at_s), CONFIRM_S)


def joined_ids(seen: Observation) -> list[str]:
    return [join.participant.id for join in seen.joined]


def left_ids(seen: Observation) -> list[str]:
    return [leave.participant.id for leave in seen.left]


def test_somebody_new_has_joined_once() -> None:
    first = look(NOBODY, [somebody("a")], 1)
    second = look(first, [somebody("a")], 16)
    assert joined_ids(first) == ["a"]
    assert not second.changed


def test_one_empty_answer_is_no_leave() -> None:
    here = look(NOBODY, [somebody("a")], 1)
    empty = look(here, [], 16)
    back = look(empty, [somebody("a")], 31)
    assert not empty.changed
    assert not back.changed
    assert back.present[0].missing_since is None


def test_missing_in_two_answers_far_enough_apart_is_a_leave_at_the_time_last_seen() -> None:
    here = look(NOBODY, [somebody("a", joined_s=1)], 10)
    missing = look(here, [], 25)
    too_soon = look(missing, [], 39.9)
    gone = look(too_soon, [], 40)
    assert not too_soon.changed
    assert left_ids(gone) == ["a"]
    assert gone.left[0].last_seen_at == after(10)
    assert gone.left[0].duration_s == 9.0
    assert gone.present == ()


def test_a_ghost_beside_its_rejoin_is_one_person() -> None:
    here = look(NOBODY, [somebody("old", "u1", joined_s=0)], 5)
    both = look(here, [somebody("old", "u1", joined_s=0), somebody("new", "u1", joined_s=8)], 20)
    only_new = look(both, [somebody("new", "u1", joined_s=8)], 35)
    gone_first = look(only_new, [], 50)
    gone = look(gone_first, [], 65)
    assert not both.changed
    assert not only_new.changed
    # The leave names the connection that the join named.
    assert left_ids(gone) == ["old"]


def test_two_people_without_user_id_are_told_apart_by_their_connection() -> None:
    assert joined_ids(look(NOBODY, [somebody("a"), somebody("b", joined_s=-1)], 1)) == ["b", "a"]


def test_a_leave_that_proves_wrong_is_told_as_a_join_again() -> None:
    gone = look(look(look(NOBODY, [somebody("a")], 0), [], 15), [], 30)
    back = look(gone, [somebody("a")], 45)
    newcomer = look(gone, [somebody("b")], 45)
    assert [join.again for join in back.joined] == [True]
    assert back.departed == ()
    assert [join.again for join in newcomer.joined] == [False]


def test_a_new_name_is_a_change_and_a_missing_one_is_not() -> None:
    here = look(NOBODY, [somebody("a", name="Ada")], 0)
    renamed = look(here, [somebody("a", name="Ada L.")], 15)
    nameless = look(renamed, [somebody("a")], 30)
    assert renamed.renamed
    assert renamed.present[0].participant.name == "Ada L."
    assert not nameless.changed


def test_remembered_leaves_are_bounded() -> None:
    crowd = [somebody(f"p{n}") for n in range(DEPARTED_MAX + 10)]
    gone = look(look(look(NOBODY, crowd, 0), [], 15), [], 30)
    assert len(gone.left) == DEPARTED_MAX + 10
    assert len(gone.departed) == DEPARTED_MAX


def test_recheck_is_due_when_the_first_missing_person_can_be_settled() -> None:
    here = look(NOBODY, [somebody("a"), somebody("b")], 0)
    assert recheck_at(here.present, CONFIRM_S) is None
    one_missing = look(here, [somebody("a")], 10)
    both_missing = look(one_missing, [], 20)
    assert recheck_at(both_missing.present, CONFIRM_S) == after(25)


def test_everyone_leaves_at_the_end() -> None:
    here = look(NOBODY, [somebody("a"), somebody("b")], 7)
    assert [leave.participant.id for leave in everyone_leaves(here.present)] == ["a", "b"]


def test_a_join_time_ahead_of_our_clock_gives_no_negative_duration() -> None:
    early = Presence(participant=somebody("a", joined_s=60), last_seen_at=after(30))
    assert everyone_leaves([early])[0].duration_s == 0.0


answers = st.lists(
    st.tuples(st.lists(st.sampled_from("abcdef"), unique=True), st.floats(min_value=0.5, max_value=40)), max_size=30
)


@given(answers, st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["u1", "u2"])))
def test_joins_and_leaves_alternate_for_each_person_and_add_up(
    story: list[tuple[list[str], float]], users: dict[str, str]
) -> None:
    """Whatever the provider says, replaying the told joins and leaves gives who is present."""
    state, at_s = NOBODY, 0.0
    inside: set[str] = set()
    for ids, pause_s in story:
        at_s += pause_s
        state = look(state, [somebody(one, users.get(one), joined_s=at_s) for one in ids], at_s)
        for leave in state.left:
            inside.remove(leave.participant.person)
        for join in state.joined:
            assert join.participant.person not in inside
            inside.add(join.participant.person)
        assert inside == {one.participant.person for one in state.present}
        seen_people = {somebody(one, users.get(one)).person for one in ids}
        assert seen_people <= inside


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_the_answer_does_not_matter(order: list[str]) -> None:
    joins = {"a": 3.0, "b": 1.0, "c": 2.0}
    seen = look(NOBODY, [somebody(one, joined_s=joins[one]) for one in order], 5)
    assert joined_ids(seen) == ["b", "c", "a"]
