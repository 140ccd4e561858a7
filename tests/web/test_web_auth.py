"""Keys: who needs one, and what a wrong one tells."""

from __future__ import annotations

import hashlib

import pytest
from web_rig import MINIMAL, assert_problem, serving

from transport_trio.web import KeyRing
from transport_trio.web.auth import ANYBODY, bearer, require_caller
from transport_trio.web.problems import Unauthorized

KEYS = ("first-key-of-tests", "second-key-of-tests")
PROTECTED = [
    ("POST", "/sessions"),
    ("GET", "/sessions"),
    ("GET", "/sessions/x"),
    ("DELETE", "/sessions/x"),
    ("GET", "/events"),
    ("GET", "/ws"),
    ("GET", "/nothing/here"),
    ("PATCH", "/sessions"),
    ("OPTIONS", "/sessions"),
]


def test_a_ring_knows_its_keys_and_no_others() -> None:
    ring = KeyRing(KEYS)
    assert ring.required
    callers = {ring.caller(key) for key in KEYS}
    assert None not in callers
    assert len(callers) == 2
    for wrong in ("", "first-key-of-test", "first-key-of-tests ", "FIRST-KEY-OF-TESTS", "sch\ud800lüssel"):
        assert ring.caller(wrong) is None


def test_a_caller_is_named_by_a_digest_that_survives_restarts() -> None:
    caller = KeyRing(KEYS).caller(KEYS[0])
    assert caller is not None
    assert hashlib.sha256(KEYS[0].encode()).hexdigest().startswith(caller)
    assert caller == KeyRing((KEYS[0],)).caller(KEYS[0])
    assert KEYS[0] not in repr(vars(KeyRing(KEYS)))


def test_without_keys_anybody_may_call() -> None:
    assert not KeyRing(()).required
    assert require_caller(KeyRing(()), ["Bearer whatever"]) == ANYBODY


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        (["Bearer abc"], "abc"),
        (["bearer abc"], "abc"),
        (["BEARER   abc "], "abc"),
        ([], None),
        ([""], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["Basic abc"], None),
        (["abc"], None),
        (["Bearer abc", "Bearer abc"], None),
    ],
)
def test_a_bearer_is_read_from_exactly_one_header(headers: list[str], key: str | None) -> None:
    assert bearer(headers) == key


def test_a_wrong_key_is_not_repeated() -> None:
    with pytest.raises(Unauthorized) as caught:
        require_caller(KeyRing(KEYS), ["Bearer wrong-key-of-tests"])
    assert "wrong-key-of-tests" not in str(caught.value)


async def test_every_route_but_three_wants_a_key() -> None:
    async with serving(api_keys=KEYS) as site:
        for method, path in PROTECTED:
            for headers in ({}, {"Authorization": "Bearer wrong-key"}, {"Authorization": f"Basic {KEYS[0]}"}):
                response = await site.client.request(method, site.url + path, headers=headers)
                assert_problem(response, 401, "unauthorized")
                assert response.headers["www-authenticate"] == "Bearer"
        for path in ("/health", "/ready", "/metrics"):
            assert (await site.client.get(path)).status_code == 200


async def test_each_key_opens_and_callers_are_told_apart() -> None:
    async with serving(api_keys=KEYS) as site:
        for key in KEYS:
            headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "same"}
            assert (await site.client.post("/sessions", json=MINIMAL, headers=headers)).status_code == 201
        first, second = site.service.keys
        assert first is not None
        assert second is not None
        assert first.caller != second.caller
        assert (first.key, first.fingerprint) == (second.key, second.fingerprint)


async def test_a_key_in_the_query_opens_no_rest_route() -> None:
    async with serving(api_keys=KEYS) as site:
        assert_problem(await site.client.get(f"/sessions?token={KEYS[0]}"), 401, "unauthorized")
