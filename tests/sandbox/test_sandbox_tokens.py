"""Meeting tokens, read by an implementation of JSON web tokens that is not the sandbox's."""

from __future__ import annotations

import base64
import hmac
import json
import time
import warnings
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.sandbox import SandboxHandle
from transport_trio.sandbox.jws import claims_of, sign
from transport_trio.sandbox.permissions import ADMIN, SEND, check_permissions, lengthen, shorten

DOMAIN_ID = "8a277c8c-51fd-5832-9153-dc7f56e1eff5"  # follows from the name `sandbox`, so that tokens outlive restarts


def make(api: httpx.Client, **properties: Any) -> str:
    response = api.post("/meeting-tokens", json={"properties": properties})
    assert (response.status_code, list(response.json())) == (200, ["token"])
    token: str = response.json()["token"]
    return token


def payload(token: str) -> dict[str, Any]:
    text = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return claims


def test_a_signature_equals_the_published_vector() -> None:
    claims = {"r": "room-0253", "d": "25df5057-ef0d-4d97-bde6-0cf287276cbb", "iat": 1548722207}
    assert sign(claims, b"test-api-key") == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
        ".eyJyIjoicm9vbS0wMjUzIiwiZCI6IjI1ZGY1MDU3LWVmMGQtNGQ5Ny1iZGU2LTBjZjI4NzI3NmNiYiIsImlhdCI6MTU0ODcyMjIwN30"
        ".OqRHy188-cpzUHyQymDD6Dn-Ya3_aKVXxbDTgch3OR0"
    )


def test_a_token_has_short_claims_in_daily_s_order(api: httpx.Client) -> None:
    exp = int(time.time()) + 60
    token = make(api, room_name="hello", is_owner=True, user_name="Ada", user_id="u1", exp=exp, enable_screenshare=True)
    claims = payload(token)
    assert list(claims) == ["exp", "r", "o", "u", "ud", "ss", "d", "iat"]
    assert abs(claims.pop("iat") - time.time()) < 60
    assert claims == {"exp": exp, "r": "hello", "o": True, "u": "Ada", "ud": "u1", "ss": True, "d": DOMAIN_ID}
    assert list(payload(make(api, room_name="hello"))) == ["r", "d", "iat"]


def test_pyjwt_accepts_the_token_with_the_api_key(api: httpx.Client) -> None:
    token = make(api, room_name="hello")
    with warnings.catch_warnings(action="ignore"):  # of the short key
        assert jwt.decode(token, "sandbox", ["HS256"])["r"] == "hello"
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, "another", ["HS256"])
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


def test_a_token_without_properties_is_good_for_every_room(api: httpx.Client) -> None:
    for body in ({}, {"properties": {}}, {"properties": {"room_name": None}}):
        token = api.post("/meeting-tokens", json=body).json()["token"]
        assert list(payload(token)) == ["d", "iat"]


def test_a_token_is_decoded_under_long_names(api: httpx.Client) -> None:
    properties = {
        "room_name": "hello",
        "is_owner": True,
        "user_name": "host",
        "start_video_off": False,
        "lang": "en",
        "permissions": {"canSend": ["audio", "screenVideo"], "canAdmin": False},
    }
    response = api.get(f"/meeting-tokens/{make(api, **properties)}")
    assert (response.status_code, response.json()) == (200, properties)


@pytest.mark.parametrize(
    ("properties", "info"),
    [
        ({"redirect": "x"}, "invalid property name 'redirect'"),
        ({"exp": 1000}, "exp was '1000', which is in the past rather than in the future"),
        ({"exp": "x"}, "exp was 'x' but should be a number of seconds since the unix epoch"),
        ({"user_id": "u" * 37}, "user_id should be at most 36 characters long"),
        ({"user_name": 5}, "user_name was '5' but should be a string"),
        ({"is_owner": 1}, "is_owner was '1' but should be a boolean"),
        ({"permissions": {"canDance": True}}, "invalid property name 'permissions.canDance'"),
    ],
)
def test_bad_properties_are_refused(api: httpx.Client, properties: dict[str, Any], info: str) -> None:
    response = api.post("/meeting-tokens", json={"properties": properties})
    assert (response.status_code, response.json()) == (400, {"error": "invalid-request-error", "info": info})


def test_the_longest_user_id_passes(api: httpx.Client) -> None:
    assert payload(make(api, user_id="u" * 36))["ud"] == "u" * 36


def test_an_unknown_room_is_accepted_unless_the_sandbox_is_told_otherwise(
    api: httpx.Client, daily_sandbox: SandboxHandle
) -> None:
    make(api, room_name="nowhere")
    daily_sandbox.configure(refuse_unknown_rooms=True)
    response = api.post("/meeting-tokens", json={"properties": {"room_name": "nowhere"}})
    assert (response.status_code, response.json()["info"]) == (400, "room not found")
    api.post("/rooms", json={"name": "here", "properties": {"exp": time.time() + 60}})
    make(api, room_name="here")
    daily_sandbox.advance(61)
    assert api.post("/meeting-tokens", json={"properties": {"room_name": "here"}}).status_code == 400


def test_expired_and_early_tokens_are_not_decoded(api: httpx.Client, daily_sandbox: SandboxHandle) -> None:
    now = time.time()
    token = make(api, nbf=now + 100, exp=now + 200)
    assert api.get(f"/meeting-tokens/{token}").json()["info"] == "the token is not valid yet"
    assert api.get(f"/meeting-tokens/{token}", params={"ignoreNbf": "true"}).status_code == 200
    daily_sandbox.advance(150)
    assert api.get(f"/meeting-tokens/{token}").status_code == 200
    daily_sandbox.advance(100)
    response = api.get(f"/meeting-tokens/{token}", params={"ignoreNbf": "true"})
    assert (response.status_code, response.json()["info"]) == (400, "the token has expired")


GOOD = {"r": "hello", "d": DOMAIN_ID, "iat": 1}


@pytest.mark.parametrize(
    ("claims", "key"),
    [
        (GOOD, b"another key"),
        ({**GOOD, "d": "00000000-0000-4000-8000-000000000000"}, b"sandbox"),
        ({"r": "hello", "iat": 1}, b"sandbox"),
        ({"r": "hello", "d": DOMAIN_ID}, b"sandbox"),
        ({**GOOD, "room_name": "hello"}, b"sandbox"),
        ({**GOOD, "iss": "me"}, b"sandbox"),
        ({**GOOD, "exp": "late"}, b"sandbox"),
        ({**GOOD, "ud": ["u1"]}, b"sandbox"),
        ({**GOOD, "p": "all"}, b"sandbox"),
        ({**GOOD, "p": {"cr": {"u": 1}}}, b"sandbox"),
    ],
    ids=["key", "domain", "no domain", "no iat", "long", "unknown", "exp", "user id", "permissions", "receive"],
)
def test_a_self_signed_token_must_be_in_daily_s_form(
    api: httpx.Client, daily_sandbox: SandboxHandle, claims: dict[str, Any], key: bytes
) -> None:
    assert api.get(f"/meeting-tokens/{sign(GOOD, b'sandbox')}").json() == {"room_name": "hello"}
    response = api.get(f"/meeting-tokens/{sign(claims, key)}")
    assert (response.status_code, response.json()["error"]) == (400, "invalid-request-error")


@pytest.mark.parametrize("token", ["x", "a.b.c", "...", "é.é.é", "W10.W10.W10"])
def test_what_is_no_token_is_refused(api: httpx.Client, token: str) -> None:
    assert api.get(f"/meeting-tokens/{token}").status_code == 400


@pytest.mark.parametrize("header", [b'{"alg":"none"}', b'{"alg":"HS512"}', b"[]"])
def test_only_hs256_counts_even_with_the_right_signature(header: bytes) -> None:
    signed = base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + sign(GOOD, b"k").split(".")[1].encode()
    signature = base64.urlsafe_b64encode(hmac.digest(b"k", signed, "sha256")).rstrip(b"=")
    with pytest.raises(ValueError, match="not signed"):
        claims_of((signed + b"." + signature).decode(), b"k")


media = st.booleans() | st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(SEND, st.booleans()), "customAudio": st.dictionaries(st.text(), st.booleans())}
)
permissions = st.fixed_dictionaries(
    {},
    optional={
        "hasPresence": st.booleans(),
        "canSend": st.booleans() | st.lists(st.sampled_from(list(SEND)), unique=True),
        "canAdmin": st.booleans() | st.lists(st.sampled_from(list(ADMIN)), unique=True),
        "canReceive": st.fixed_dictionaries(
            {},
            optional={
                "base": media,
                "byUserId": st.dictionaries(st.text(), media),
                "byParticipantId": st.dictionaries(st.just("*"), media),
            },
        ),
    },
)


@given(permissions)
def test_permissions_survive_the_short_form(value: dict[str, Any]) -> None:
    check_permissions("permissions", value)
    assert lengthen(shorten(value)) == value


def test_permissions_take_daily_s_short_form() -> None:
    long = {
        "hasPresence": False,
        "canSend": ["video", "audio", "screenVideo", "screenAudio"],
        "canReceive": {"base": False, "byUserId": {"u1": {"video": True, "screenVideo": False}}},
        "canAdmin": ["participants", "streaming", "transcription"],
    }
    short = {"hp": False, "cs": "v,a,sv,sa", "cr": {"b": False, "u": {"u1": {"v": True, "sv": False}}}, "ca": "p,s,t"}
    assert shorten(long) == short


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()), st.binary(min_size=1))
def test_whatever_is_signed_is_read_again(claims: dict[str, Any], key: bytes) -> None:
    assert claims_of(sign(claims, key), key) == claims
