"""The body of `POST /sessions`: what is filled in, what is refused, and where the fault is said to be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transport_trio.errors import InvalidRequest, UnknownProvider
from transport_trio.models import Emptiness, ParticipantConfig, Permissions, Privacy, RoomConfig, SessionRequest
from transport_trio.settings import Settings
from transport_trio.wire.requests import create_body, fingerprint, session_request

SETTINGS = Settings(session_ttl_s=7200, token_ttl_s=1800)

FULL = {
    "provider": "daily",
    "room_config": {
        "name": "Room_1-a",
        "privacy": "Public",
        "max_participants": 12,
        "enable_recording": True,
        "enable_transcription": True,
        "enable_chat": False,
        "enable_screen_sharing": False,
        "auto_start_recording": True,
        "auto_start_transcription": True,
    },
    "participant_config": {
        "name": "Änne 🎤",
        "user_id": "u-1",
        "is_owner": True,
        "permissions": {
            "can_admin": True,
            "can_send_video": False,
            "can_send_audio": False,
            "can_send_screen_video": False,
            "can_send_screen_audio": False,
        },
    },
    "options": {"session_ttl_s": 600, "token_ttl_s": 300, "daily": {"lang": "de"}},
}


def managed(provider: str) -> frozenset[str]:
    if provider != "daily":
        raise UnknownProvider(provider, ("daily",))
    return frozenset({"exp", "nbf"})


def read(body: Any, settings: Settings = SETTINGS) -> SessionRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return session_request(create_body(data), settings, managed)


def faults(body: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    return list(caught.value.faults)


def paths(body: Any) -> list[str]:
    return [path for path, _ in faults(body)]


def with_value(path: str, value: Any) -> dict[str, Any]:
    """A small request with one value in it, at a path such as `room_config.name`."""
    body: dict[str, Any] = {"provider": "daily"}
    inner = body
    *parents, last = path.split(".")
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    return body


def test_only_the_provider_is_required_and_the_rest_has_the_defaults_of_the_contract() -> None:
    assert read({"provider": "daily"}) == SessionRequest(
        provider="daily",
        room_config=RoomConfig(
            name=None,
            privacy=Privacy.PRIVATE,
            max_participants=None,
            enable_recording=False,
            enable_transcription=False,
            enable_chat=True,
            enable_screen_sharing=True,
            auto_start_recording=False,
            auto_start_transcription=False,
        ),
        participant_config=ParticipantConfig(
            name=None,
            user_id=None,
            is_owner=False,
            permissions=Permissions(
                can_admin=False,
                can_send_video=True,
                can_send_audio=True,
                can_send_screen_video=True,
                can_send_screen_audio=True,
            ),
        ),
        session_ttl_s=7200,
        token_ttl_s=1800,
        provider_options={},
    )


def test_every_field_of_the_full_request_arrives() -> None:
    request = read(FULL)
    assert request.room_config == RoomConfig(**(FULL["room_config"] | {"privacy": Privacy.PUBLIC}))  # type: ignore[operator]
    assert request.participant_config.permissions == Permissions(**FULL["participant_config"]["permissions"])  # type: ignore[index]
    assert (request.participant_config.name, request.participant_config.user_id) == ("Änne 🎤", "u-1")
    assert request.participant_config.is_owner
    assert (request.session_ttl_s, request.token_ttl_s) == (600, 300)
    assert request.provider_options == {"lang": "de"}


def test_empty_objects_mean_their_defaults() -> None:
    empty = {
        "provider": "daily",
        "room_config": {},
        "participant_config": {"permissions": {}},
        "options": {"daily": {}},
    }
    assert read(empty) == read({"provider": "daily"})


@pytest.mark.parametrize("path", ["room_config.name", "participant_config.name", "participant_config.user_id"])
def test_names_may_be_null(path: str) -> None:
    assert read(with_value(path, None)) == read({"provider": "daily"})


def test_max_participants_may_be_null() -> None:
    assert read(with_value("room_config.max_participants", None)).room_config.max_participants is None


def test_an_empty_user_id_is_none() -> None:
    assert read(with_value("participant_config.user_id", "")).participant_config.user_id is None


@pytest.mark.parametrize("text", ["Public", "public", "PUBLIC", "pUbLiC"])
def test_privacy_is_read_in_any_case(text: str) -> None:
    assert read(with_value("room_config.privacy", text)).room_config.privacy is Privacy.PUBLIC


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("room_config.name", "a"),
        ("room_config.name", "Az09-_" + "x" * 122),
        ("room_config.max_participants", 1),
        ("room_config.max_participants", 100_000),
        ("participant_config.name", "n" * 128),
        ("participant_config.name", "名" * 128),
        ("participant_config.user_id", "u" * 36),
        ("options.session_ttl_s", 2_592_000),
        ("options.session_ttl_s", 1),
        ("options.empty_timeout_s", 1),
        ("options.empty_timeout_s", None),
        ("options.bot_user_id_prefix", None),
        ("options.token_ttl_s", 1),
        ("options.token_ttl_s", 7200),
        ("options.daily", {"anything": [1, 2.5, None, {"deep": True}], "huge": 10**400}),
    ],
)
def test_values_at_the_edge_are_taken(path: str, value: Any) -> None:
    read(with_value(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("provider", None),
        ("provider", 1),
        ("provider", "d" * 65),
        ("room_config", None),
        ("room_config", []),
        ("room_config", "x"),
        ("room_config.name", ""),
        ("room_config.name", "x" * 129),
        ("room_config.name", "two words"),
        ("room_config.name", "umläut"),
        ("room_config.name", "line\n"),
        ("room_config.name", "a/b"),
        ("room_config.name", 7),
        ("room_config.privacy", "secret"),
        ("room_config.privacy", ""),
        ("room_config.privacy", None),
        ("room_config.privacy", True),
        ("room_config.max_participants", 0),
        ("room_config.max_participants", -1),
        ("room_config.max_participants", 100_001),
        ("room_config.max_participants", 3.0),
        ("room_config.max_participants", "3"),
        ("room_config.max_participants", True),
        ("room_config.max_participants", 10**30),
        ("room_config.enable_recording", None),
        ("room_config.enable_recording", "true"),
        ("room_config.enable_transcription", 1),
        ("room_config.enable_chat", 0),
        ("room_config.enable_screen_sharing", []),
        ("room_config.auto_start_recording", {}),
        ("room_config.auto_start_transcription", "no"),
        ("participant_config", None),
        ("participant_config.name", ""),
        ("participant_config.name", "x" * 129),
        ("participant_config.name", "bell\u0007"),
        ("participant_config.name", "delete\u007f"),
        ("participant_config.name", "next line\u0085"),
        ("participant_config.name", 5),
        ("participant_config.user_id", "u" * 37),
        ("participant_config.user_id", "nul\u0000"),
        ("participant_config.user_id", 5),
        ("participant_config.is_owner", "yes"),
        ("participant_config.permissions", None),
        ("participant_config.permissions.can_admin", None),
        ("participant_config.permissions.can_send_video", 1),
        ("participant_config.permissions.can_send_audio", "on"),
        ("participant_config.permissions.can_send_screen_video", {}),
        ("participant_config.permissions.can_send_screen_audio", []),
        ("options", None),
        ("options.session_ttl_s", 0),
        ("options.session_ttl_s", -5),
        ("options.session_ttl_s", 2_592_001),
        ("options.session_ttl_s", None),
        ("options.session_ttl_s", 60.0),
        ("options.session_ttl_s", "60"),
        ("options.session_ttl_s", 1e300),
        ("options.empty_timeout_s", 0),
        ("options.empty_timeout_s", 2_592_001),
        ("options.bot_user_id_prefix", ""),
        ("options.bot_user_id_prefix", "x" * 37),
        ("options.bot_user_id_prefix", "bot-"),  # without a timeout
        ("options.token_ttl_s", 0),
        ("options.token_ttl_s", None),
        ("options.token_ttl_s", 7201),  # longer than the session
        ("options.daily", None),
        ("options.daily", []),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_path(path: str, value: Any) -> None:
    assert paths(with_value(path, value)) == [f"$.{path}"]


@pytest.mark.parametrize(
    "place", ["", "room_config.", "participant_config.", "participant_config.permissions.", "options."]
)
@pytest.mark.parametrize("name", ["surprise", "Provider", "a.b", "", "tick`tick", "ünï", "x" * 60])
def test_an_unknown_field_is_refused_with_its_full_path(place: str, name: str) -> None:
    body: dict[str, Any] = {"provider": "daily"}
    inner = body
    for parent in place.split(".")[:-1]:
        inner = inner.setdefault(parent, {})
    inner[name] = 1
    assert faults(body) == [(f"$.{place}{name}", "is not known here")]


def test_a_very_long_unknown_field_is_not_repeated_whole() -> None:
    [(path, _)] = faults({"provider": "daily", "x" * 50_000: 1})
    assert len(path) < 100


def test_the_provider_must_be_there() -> None:
    assert faults({"room_config": {}}) == [("$.provider", "is required")]


def test_an_unknown_provider_is_told_with_those_that_are_known() -> None:
    with pytest.raises(UnknownProvider, match="known: daily"):
        read({"provider": "twilio", "room_config": {"name": "not looked at any further ..."}})


def test_options_that_the_service_sets_itself_are_refused_each_with_its_path() -> None:
    assert paths(with_value("options.daily", {"nbf": 1, "lang": "de", "exp": 2})) == [
        "$.options.daily.exp",
        "$.options.daily.nbf",
    ]


def test_options_of_another_provider_are_refused() -> None:
    body = create_body(b'{"provider": "other", "options": {"daily": {"lang": "de"}}}')
    with pytest.raises(InvalidRequest) as caught:
        session_request(body, SETTINGS, lambda provider: frozenset())
    assert [path for path, _ in caught.value.faults] == ["$.options.daily"]


def test_all_faults_of_meaning_are_told_at_once() -> None:
    body = with_value("room_config.name", "a b") | {
        "participant_config": {"name": "\0"},
        "options": {"token_ttl_s": 9999},
    }
    assert paths(body) == ["$.room_config.name", "$.participant_config.name", "$.options.token_ttl_s"]


# --- lifetimes


def test_the_default_token_is_cut_to_fit_a_short_session() -> None:
    assert read(with_value("options.session_ttl_s", 60)).token_ttl_s == 60


def test_an_explicit_token_longer_than_its_session_is_refused() -> None:
    body = {"provider": "daily", "options": {"session_ttl_s": 60, "token_ttl_s": 61}}
    assert faults(body) == [("$.options.token_ttl_s", "must not be longer than the session, 60 s")]


def test_a_token_as_long_as_its_session_is_fine() -> None:
    request = read({"provider": "daily", "options": {"session_ttl_s": 60, "token_ttl_s": 60}})
    assert request.token_ttl_s == request.session_ttl_s == 60


def test_the_defaults_come_from_the_settings() -> None:
    request = read({"provider": "daily"}, Settings())
    assert (request.session_ttl_s, request.token_ttl_s) == (14400, 3600)


# --- JSON itself


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"provider": "daily"',
        b'{"provider": "daily"} {}',
        b'{"provider": "daily",}',
        b"{'provider': 'daily'}",
        b'{"provider": daily}',
        b'{"provider": "daily", "options": {"daily": {"x": NaN}}}',
        b'{"provider": "daily", "options": {"daily": {"x": -Infinity}}}',
        b'{"provider": "daily", "options": {"daily": {"x": 1e999}}}',
        b'{"provider": "daily", "options": {"daily": {"x": ' + b"9" * 5000 + b"}}}",
        b'{"provider": "\xff"}',
        b'{"provider": "\\ud800"}',
        b'{"provider": "\\udc00\\ud800"}',
        b'{"provider": "tab\there"}',
        b'\xef\xbb\xbf{"provider": "daily"}',
        '{"provider": "daily"}'.encode("utf-16"),
        b"\x00",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"[]",
        b'"daily"',
        b"null",
        b"1",
    ],
)
def test_what_is_no_json_object_is_refused_at_the_root(data: bytes) -> None:
    assert paths(data) == ["$"]


def nested(levels: int) -> bytes:
    """A request with objects and arrays in this many levels."""
    inner = levels - 3  # the request, `options`, `daily`
    return b'{"provider": "daily", "options": {"daily": {"x": ' + b"[" * inner + b"]" * inner + b"}}}"


def test_bytes_that_are_not_utf8_are_told_by_their_place() -> None:
    assert faults(b'{"provider":"\xff"}') == [("$", "is not UTF-8 from byte 13 on")]


def test_thirty_two_levels_are_the_deepest() -> None:
    read(nested(32))
    assert faults(nested(33)) == [("$", "is nested deeper than 32")]


def test_of_a_duplicate_key_the_last_wins_even_where_the_first_is_wrong() -> None:
    data = b'{"provider": 1, "provider": "daily", "room_config": null, "room_config": {"name": "x", "name": "y"}}'
    assert read(data).room_config.name == "y"


def test_when_an_empty_session_ends() -> None:
    request = read({"provider": "daily", "options": {"empty_timeout_s": 60, "bot_user_id_prefix": "bot-"}})
    assert request.emptiness == Emptiness(timeout_s=60, bot_user_id_prefix="bot-")
    assert read({"provider": "daily"}).emptiness == Emptiness(timeout_s=None, bot_user_id_prefix=None)


def test_how_long_a_session_may_last() -> None:
    short = Settings(session_max_s=600)
    assert read({"provider": "daily"}, short).session_ttl_s == 600
    own = read({"provider": "daily", "options": {"max_duration_s": 60}}, short)
    assert (own.session_ttl_s, own.max_duration_s) == (60, 60)
    for options in ({"session_ttl_s": 601}, {"session_ttl_s": 61, "max_duration_s": 60}, {"max_duration_s": 601}):
        with pytest.raises(InvalidRequest):
            read({"provider": "daily", "options": options}, short)


# --- fingerprints


def test_a_request_keeps_its_fingerprint_over_an_update() -> None:
    """Keys are remembered for a day, and a repeat must not be taken for another request by a newer version."""
    request = read({"provider": "daily"})
    assert fingerprint(request) == "0cd18ff7573db2e0de22c56c7a28e05c81cab797b54b9c3750d12f1c38d560e2"
    for option in ({"empty_timeout_s": 60}, {"events_after_end": True}, {"max_duration_s": 20000}):
        assert fingerprint(read({"provider": "daily", "options": option})) != fingerprint(request)


def test_equal_requests_have_equal_fingerprints_however_they_are_written() -> None:
    one = read(b'{"provider":"daily","options":{"session_ttl_s":7200,"daily":{"a":1,"b":{"c":2,"d":3}}}}')
    two = read(
        b'{ "options": {"daily": {"b": {"d": 3, "c": 2}, "a": 1}}, "room_config": {}, "provider": "d\\u0061ily"}'
    )
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("room_config.name", "x"),
        ("room_config.enable_chat", False),
        ("participant_config.permissions.can_admin", True),
        ("options.session_ttl_s", 100),
        ("options.daily", {"lang": "de"}),
    ],
)
def test_different_requests_have_different_fingerprints(path: str, value: Any) -> None:
    assert fingerprint(read(with_value(path, value))) != fingerprint(read({"provider": "daily"}))


# --- anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KNOWN = ("provider", "room_config", "participant_config", "options", "name", "permissions", "session_ttl_s", "daily")
near_misses = st.recursive(
    json_values | st.just("daily"),
    lambda inner: st.dictionaries(st.sampled_from(KNOWN), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _check_outcome(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_values | near_misses)
def test_any_json_is_read_or_refused(value: Any) -> None:
    _check_outcome(json.dumps(value).encode())


def _check_outcome(data: bytes) -> None:
    match _outcome(data):
        case InvalidRequest(faults=found):
            assert found
            assert all(path.startswith("$") and message for path, message in found)
        case UnknownProvider(provider=name):
            assert name != "daily"
        case SessionRequest() as request:
            assert request.provider == "daily"
            assert request.token_ttl_s <= request.session_ttl_s
            assert fingerprint(request) == fingerprint(read(data))


def _outcome(data: bytes) -> SessionRequest | InvalidRequest | UnknownProvider:
    try:
        return read(data)
    except (InvalidRequest, UnknownProvider) as refused:
        return refused
