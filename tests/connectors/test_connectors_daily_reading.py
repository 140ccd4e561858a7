"""Daily's JSON read tolerantly: odd entries cost themselves only, and nothing odd gets through."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from connectors_helpers import NOON
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.connectors.daily.reading import (
    BrokenAnswer,
    clean,
    error_of,
    parse_deleted,
    parse_domain_name,
    parse_json,
    parse_people,
    parse_room,
    parse_token,
)

SECRET = "0123456789abcdef0123456789abcdef"
ROOM = {
    "id": "d61cd7b2-a273-42b4-89bd-be763fd562c1",
    "name": "lobby",
    "api_created": True,
    "privacy": "private",
    "url": "https://mine.daily.co/lobby",
    "created_at": "2026-01-01T11:00:00.000Z",
    "config": {"exp": int(NOON.timestamp())},
}
PERSON = {
    "room": "lobby",
    "id": "p1",
    "userId": "u1",
    "userName": "Ada",
    "mtgSessionId": "m1",
    "joinTime": "2026-01-01T11:30:00.000Z",
    "duration": 1800,
}
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def people_of(*entries: Any, **answer: Any) -> Any:
    return parse_people({"total_count": len(entries), "data": list(entries), **answer}, NOON)


def test_a_room_is_read_whole() -> None:
    room = parse_room(ROOM, "lobby", "mine")
    assert (room.name, room.url, room.provider_id) == ("lobby", ROOM["url"], ROOM["id"])
    assert (room.expires_at, room.created_at) == (NOON, NOON - timedelta(hours=1))
    assert room.metadata == ROOM


@pytest.mark.parametrize(
    ("exp", "expires_at"),
    [
        (NOON.timestamp(), NOON),
        (NOON.timestamp() + 0.5, NOON + timedelta(seconds=0.5)),
        (str(NOON.timestamp()), None),
        (True, None),
        (None, None),
        (1e300, None),
        (-1e300, None),
        (10**15, None),
    ],
)
def test_an_end_may_be_a_float_and_nonsense_is_none(exp: Any, expires_at: datetime | None) -> None:
    assert parse_room({**ROOM, "config": {"exp": exp}}, "lobby", "mine").expires_at == expires_at


@pytest.mark.parametrize("part", ["id", "url", "created_at", "config", "privacy", "api_created"])
@pytest.mark.parametrize("value", [None, "", 7, [], {}, "nonsense"])
def test_a_room_is_one_without_what_we_can_do_without(part: str, value: Any) -> None:
    room = parse_room({**ROOM, part: value}, "lobby", "mine")
    missing = parse_room({key: ROOM[key] for key in ROOM if key != part}, "lobby", "mine")
    assert room.name == missing.name == "lobby"
    assert missing.url == "https://mine.daily.co/lobby"


@pytest.mark.parametrize("body", [None, [], "room", 7, {}, {**ROOM, "name": "other"}, {**ROOM, "name": None}])
def test_another_room_is_not_ours(body: Any) -> None:
    with pytest.raises(BrokenAnswer):
        parse_room(body, "lobby", "mine")


def test_people_are_read() -> None:
    people = people_of(PERSON, {**PERSON, "id": "p2", "userName": "Bob"})
    ada, bob = people.participants
    assert (ada.id, ada.user_id, ada.name) == ("p1", "u1", "Ada")
    assert ada.joined_at == NOON - timedelta(minutes=30)
    assert (bob.id, bob.name) == ("p2", "Bob")
    assert (people.skipped, people.listed, people.total) == (0, 2, 2)


@pytest.mark.parametrize("entry", [None, 7, "p1", [], {}, {**PERSON, "id": 7}, {**PERSON, "id": ""}])
@pytest.mark.parametrize("place", [0, 1])
def test_an_entry_without_a_usable_id_costs_itself_only(entry: Any, place: int) -> None:
    entries = [PERSON]
    entries.insert(place, entry)
    people = people_of(*entries)
    assert [one.id for one in people.participants] == ["p1"]
    assert (people.skipped, people.listed) == (1, 2)


@pytest.mark.parametrize("id_", ["x" * 129, "a\nb", "a\ud800"])
def test_an_id_that_would_have_to_be_changed_is_not_usable(id_: str) -> None:
    assert people_of({**PERSON, "id": id_}).participants == ()
    assert people_of({**PERSON, "userId": id_}).participants[0].user_id is None


def test_the_same_entry_twice_is_one_person() -> None:
    (ada,) = people_of(PERSON, {**PERSON, "userName": "twin"}).participants
    assert ada.name == "Ada"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Ada", "Ada"),
        ("A\x00d\x1b[31ma\n", "A\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}[31ma\N{REPLACEMENT CHARACTER}"),
        ("\N{LINE SEPARATOR}", "\N{REPLACEMENT CHARACTER}"),
        ("é" * 200, "é" * 128),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_names_lose_control_characters_and_excess_length(name: Any, read: str | None) -> None:
    assert people_of({**PERSON, "userName": name}).participants[0].name == read
    without = {key: PERSON[key] for key in PERSON if key != "userName"}
    assert people_of(without).participants[0].name is None


@pytest.mark.parametrize(
    ("join_time", "duration", "joined_at"),
    [
        ("2026-01-01T11:30:00.000Z", 5, NOON - timedelta(minutes=30)),
        ("2026-01-01T12:30:00+01:00", 5, NOON - timedelta(minutes=30)),
        ("2026-01-01T11:30:00", 5, NOON - timedelta(minutes=30)),
        ("0001-01-01T00:00:00+14:00", 5, NOON - timedelta(seconds=5)),
        ("9999-12-31T23:59:59Z", 5, NOON - timedelta(seconds=5)),
        ("at noon", 5, NOON - timedelta(seconds=5)),
        (1700000000, 5.5, NOON - timedelta(seconds=5.5)),
        (None, None, NOON),
        (None, "5", NOON),
        (None, True, NOON),
        (None, -5, NOON),
        (None, 1e300, NOON),
        (None, 10**11, NOON),
    ],
)
def test_a_missing_join_time_is_reckoned_from_the_duration(join_time: Any, duration: Any, joined_at: datetime) -> None:
    person = people_of({**PERSON, "joinTime": join_time, "duration": duration}).participants[0]
    assert person.joined_at == joined_at
    assert person.joined_at.tzinfo is UTC


@pytest.mark.parametrize("total", [None, "5", True, 1.5])
def test_an_odd_total_is_what_is_listed(total: Any) -> None:
    assert people_of(PERSON, total_count=total).total == 1


@pytest.mark.parametrize("body", [None, [], "", {}, {"data": None}, {"data": {"p1": PERSON}}, {"total_count": 1}])
def test_no_list_of_people_is_no_empty_room(body: Any) -> None:
    with pytest.raises(BrokenAnswer):
        parse_people(body, NOON)


@pytest.mark.parametrize("body", [None, [], {}, {"token": None}, {"token": ""}, {"token": 7}])
def test_no_token_is_no_token(body: Any) -> None:
    with pytest.raises(BrokenAnswer):
        parse_token(body)


def test_a_token_is_read() -> None:
    assert parse_token({"token": "eyJ", "more": 1}) == "eyJ"


@pytest.mark.parametrize("body", [None, [], {}, {"deleted": False}, {"deleted": "true"}])
def test_a_deletion_must_say_so(body: Any) -> None:
    with pytest.raises(BrokenAnswer):
        parse_deleted(body)


def test_the_domain_may_be_missing_but_the_answer_not() -> None:
    assert parse_domain_name({"domain_name": "mine"}) == "mine"
    for odd in (None, "", 7):
        assert parse_domain_name({"domain_name": odd}) is None
    with pytest.raises(BrokenAnswer):
        parse_domain_name([])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": "not-found", "info": "room x not found"}, ("not-found", "room x not found")),
        ({"error": "authentication-error"}, ("authentication-error", "authentication-error")),
        ({"error": "e", "info": ""}, ("e", "e")),
        ({"error": 7, "info": ["x"]}, ("", "")),
        ({"info": "only words"}, ("", "only words")),
        (None, ("", "")),
        ([], ("", "")),
    ],
)
def test_an_error_tells_its_type_and_its_words(body: Any, told: tuple[str, str]) -> None:
    assert error_of(body, SECRET) == told


def test_daily_words_are_cut_and_cleaned_and_never_quote_our_key() -> None:
    _, info = error_of({"info": "x" * 1000}, SECRET)
    assert len(info) == 300
    assert error_of({"info": "a\r\nb\x1b"}, SECRET)[1] == clean("a\r\nb\x1b", 300)
    # In the middle of the cut, too.
    _, info = error_of({"error": f"bad key {SECRET}", "info": "x" * 290 + SECRET}, SECRET)
    assert SECRET[:8] not in info
    assert error_of({"error": f"bad key {SECRET}"}, SECRET)[0] == "bad key (hidden)"
    # The sandbox's key is also its domain's name: hiding a word would hide the sense.
    assert error_of({"info": "the sandbox says no"}, "sandbox")[1] == "the sandbox says no"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a":1', b"<html>", b"\xff\xfe", b"NaN", b"[Infinity]", b"[1e999]", b"9" * 400, b"[" * 100_000],
)
def test_what_is_no_json_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        parse_json(content)


def test_halves_of_characters_become_question_marks() -> None:
    assert parse_json(rb'{"a\udc00": "\ud800 \u00e9 \ud83d\ude00"}') == {"a?": "? é 😀"}
    assert parse_json(b'"a\xffb"') == "a\N{REPLACEMENT CHARACTER}b"


def test_numbers_beyond_64_bits_become_doubles() -> None:
    assert parse_json(b"123456789012345678") == 123456789012345678
    assert parse_json(b"[1234567890123456789012]") == [1.2345678901234568e21]


@given(JSON)
def test_whatever_json_comes_in_can_go_out_again(value: Any) -> None:
    content = json.dumps(value).encode()
    try:
        read = parse_json(content)
    except BrokenAnswer:
        assert "Infinity" in content.decode() or "NaN" in content.decode()
    else:
        msgspec.json.encode(read)


@given(JSON, st.dictionaries(st.sampled_from([*PERSON, *ROOM, "data", "total_count", "token"]), JSON))
def test_whatever_shape_comes_is_read_or_broken_and_never_a_crash(value: Any, parts: dict[str, Any]) -> None:
    for body in (value, parts, {**ROOM, **parts}, {"data": [value, {**PERSON, **parts}]}):
        for read in (
            lambda body: parse_room(body, "lobby", "mine"),
            lambda body: parse_people(body, NOON),
            parse_token,
            parse_domain_name,
            parse_deleted,
            lambda body: error_of(body, SECRET),
        ):
            try:
                read(body)
            except BrokenAnswer:
                continue


@given(st.text(st.characters()), st.integers(1, 50))
def test_clean_text_is_short_and_printable_and_good_text_stays(text: str, longest: int) -> None:
    cleaned = clean(text, longest)
    assert len(cleaned) == min(len(text), longest)
    cleaned.encode()
    assert not {unicodedata.category(char) for char in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
    assert clean(cleaned, longest) == cleaned
