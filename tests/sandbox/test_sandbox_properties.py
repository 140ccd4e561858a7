"""Every property of rooms, tokens and the domain: what it takes and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.sandbox import jsonform
from transport_trio.sandbox.properties import DOMAIN, LANGUAGES, RECORDINGS, ROOM, TOKEN, checked, merged
from transport_trio.sandbox.refusals import ApiError, js_text

NOW = 1_800_000_000.0
TABLES = {"room": ROOM, "token": TOKEN, "domain": DOMAIN}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)

GOOD: dict[str, list[Any]] = {
    "exp": [NOW + 1, NOW + 0.5, 10**15],
    "nbf": [0, NOW - 100],
    "max_participants": [1, 2.0, 500],
    "enable_recording": ["cloud", ["cloud", "local"], *RECORDINGS],
    "enable_raw_tracks_transcoded_audio": ["aac", "wav-48k-mono", ""],
    "recordings_bucket": [{"bucket_name": "b", "allow_streaming_from_bucket": True}],
    "transcription_bucket": [{"bucket_name": "b"}],
    "auto_transcription_settings": [{}, {"language": "de", "anything": 1}],
    "dialout_config": [{"allow_room_start": True}],
    "sip": [{"display_name": "x", "sip_mode": "dial-in", "num_endpoints": 1, "provider": "daily"}],
    "streaming_endpoints": [[], [{"name": "x", "type": "hls"}]],
    "permissions": [{}, {"canSend": ["video"], "canReceive": {"base": {"customVideo": {"x": True}}}}],
    "lang": list(LANGUAGES),
    "geo": ["eu-central-1"],
    "rtmp_geo": ["ap-south-1"],
    "sfu_switchover": [0.25, 3],
    "eject_after_elapsed": [0, 5, 2.5],
    "meeting_join_hook": ["https://example.com/hook"],
    "user_id": ["", "u" * 36],
    "start_cloud_recording_opts": [{"fps": 30}],
    "redirect_on_meeting_exit": ["http://example.com"],
}
BAD: dict[str, list[Any]] = {
    "exp": [NOW, NOW - 1, 0, -1, "1900000000", True, [], float("inf"), float("nan")],
    "nbf": ["0", False, {}],
    "max_participants": [0, -1, 2.5, "5", True],
    "enable_recording": ["off", "", [], ["cloud", 1], True, {}],
    "enable_raw_tracks_transcoded_audio": ["mp3", 1],
    "recordings_bucket": ["b", {"name": "b"}],
    "transcription_bucket": [{"allow_streaming_from_bucket": True}],
    "auto_transcription_settings": [[], "de"],
    "dialout_config": [{"x": 1}],
    "sip": [{}, {"display_name": "x"}, {"display_name": "x", "sip_mode": "out"}, {"x": 1}, "dial-in"],
    "streaming_endpoints": [{}, [1], [{"name": "x"}], [{"name": "x", "type": "dash"}]],
    "permissions": [
        [],
        {"canSend": "video"},
        {"canSend": ["smell"]},
        {"canSend": [[]]},
        {"canAdmin": ["video"]},
        {"hasPresence": 1},
        {"canReceive": True},
        {"canReceive": {"all": True}},
        {"canReceive": {"base": 1}},
        {"canReceive": {"base": {"video": 1}}},
        {"canReceive": {"base": {"customVideo": {"x": 1}}}},
        {"canReceive": {"byUserId": True}},
        {"canReceive": {"byUserId": {"u": {"smell": True}}}},
    ],
    "lang": ["xx", "DE", 1, []],
    "geo": ["mars"],
    "rtmp_geo": ["eu-west-2"],
    "sfu_switchover": ["0.5", True],
    "eject_after_elapsed": [-1, "5"],
    "meeting_join_hook": ["example.com", 1, "https://" + "x" * 255],
    "user_id": ["u" * 37, 1],
    "start_cloud_recording_opts": ["x"],
    "redirect_on_meeting_exit": ["/home"],
}
EVERY = [(kind, name) for kind, table in TABLES.items() for name in table]


def samples(name: str, source: dict[str, list[Any]], otherwise: list[Any]) -> list[Any]:
    return source.get(name, otherwise)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_good_values_pass_and_null_always(kind: str, name: str) -> None:
    table = TABLES[kind]
    texts = {"room_name", "user_name", "recordings_template", "transcription_template"}
    for value in [None, *samples(name, GOOD, ["text", ""] if name in texts else [True, False])]:
        assert checked({name: value}, table, NOW) == {name: value}


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_bad_values_are_refused_by_name(kind: str, name: str) -> None:
    for value in samples(name, BAD, [1, {}, []]):
        with pytest.raises(ApiError) as refused:
            checked({name: value}, TABLES[kind], NOW)
        assert refused.value.status == 400
        assert name in refused.value.body["info"]


@pytest.mark.parametrize(
    "name",
    [
        "enable_transcription",
        "auto_start_recording",
        "auto_start_transcription",
        "redirect_on_meeting_exit",
        "enable_screenshot",
        "close_tab_on_exit",
        "start_cloud_recording",
        "owner_only_broadcast",
        "sip_uri",
    ],
)
def test_what_looks_like_a_room_property_and_is_none_is_refused(name: str) -> None:
    with pytest.raises(ApiError) as refused:
        checked({name: True}, ROOM, NOW)
    assert refused.value.body["info"] == f"invalid property name '{name}'"


names = st.sampled_from(sorted({*ROOM, *TOKEN})) | st.text()


@given(st.sampled_from(list(TABLES)), st.dictionaries(names, json_values))
def test_any_json_either_passes_or_is_a_400(kind: str, properties: dict[str, Any]) -> None:
    refusal = None
    try:
        assert checked(properties, TABLES[kind], NOW) == properties
    except ApiError as exc:
        refusal = exc
    if refusal is not None:
        assert (refusal.status, refusal.body["error"]) == (400, "invalid-request-error")
        jsonform.write(refusal.body)


@given(st.dictionaries(st.sampled_from(sorted(ROOM)), json_values))
def test_a_config_never_holds_null_or_a_default(properties: dict[str, Any]) -> None:
    config = merged({}, properties, ROOM)
    assert all(value is not None and value != ROOM[name].default for name, value in config.items())
    assert merged(config, dict.fromkeys(config), ROOM) == {}


@given(json_values)
def test_a_value_is_quoted_whatever_it_is(value: Any) -> None:
    assert isinstance(js_text(value), str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.0, "1"),
        (1.5, "1.5"),
        (12, "12"),
        ("x", "x"),
        ([1, None, "a", [2]], "1,,a,2"),
        ({}, "[object Object]"),
    ],
)
def test_values_are_quoted_as_javascript_does(value: Any, text: str) -> None:
    assert js_text(value) == text


@given(json_values.filter(lambda value: isinstance(value, (dict, list))))
def test_json_is_read_as_python_reads_it_but_for_long_integers(value: Any) -> None:
    again = jsonform.read(json.dumps(value).encode())
    assert json.dumps(again) == json.dumps(json.loads(json.dumps(value), parse_int=_javascript_integer))


def _javascript_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= jsonform.SAFE_DIGITS else float(digits)


@given(json_values)
def test_wrong_types_are_wrong_in_every_place(value: Any) -> None:
    wrong = jsonform.with_wrong_types(value)
    if isinstance(value, dict):
        assert [type(item) for item in wrong.values()] != [type(item) for item in value.values()] or not value
        assert all(type(wrong[name]) is not type(item) for name, item in value.items())
    elif isinstance(value, list):
        assert all(type(after) is not type(before) for after, before in zip(wrong, value, strict=True))
    else:
        assert type(wrong) is not type(value)
