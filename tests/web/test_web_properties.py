"""Whatever is sent: no 5xx, no stack trace, a problem document with a known code, and a state that is unchanged."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from web_rig import SESSION_ID, Site, serving

CODES = {
    "invalid_request",
    "unknown_provider",
    "not_found",
    "session_not_found",
    "method_not_allowed",
    "history_gone",
    "body_too_large",
    "unsupported_media_type",
    "upgrade_required",
}
PROPERTY = settings(
    max_examples=40,
    deadline=None,
    # A log that is read after each example is no state between them; a loaded machine is no fault of the data.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

token = st.text("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]) | token
encoded = st.binary(max_size=12).map(quote_from_bytes)
segments = (
    st.sampled_from(["sessions", "events", "health", "ready", "metrics", "ws", SESSION_ID, "..", "%2e"]) | encoded
)
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts)) | st.sampled_from(
    ["/sessions", "/events", f"/sessions/{SESSION_ID}", "*", "http://x/sessions", "x:1"]
)
keys = st.sampled_from(["limit", "status", "provider", "cursor", "after", "epoch", "types", "session_id", "dry_run"])
values = st.sampled_from(["1", "0", "-1", "true", "daily", "ended", "session_created", "9" * 30, ""]) | encoded
pairs = st.tuples(keys | encoded, values).map("=".join)
queries = st.lists(pairs, max_size=4).map("&".join) | encoded
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)
header_names = st.sampled_from(
    [
        "Content-Type",
        "Idempotency-Key",
        "Accept",
        "Authorization",
        "Cookie",
        "Range",
        "If-None-Match",
        "Origin",
        "Expect",
    ]
)
headers = st.lists(st.tuples(header_names, header_values | st.just("application/json")), max_size=3)

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("daily")
fields = st.sampled_from(
    [
        "provider",
        "room_config",
        "participant_config",
        "options",
        "name",
        "privacy",
        "permissions",
        "token_ttl_s",
        "daily",
    ]
)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields | st.text(max_size=5), inner, max_size=4)
).map(lambda value: json.dumps(value).encode())
bodies = st.just(b"") | st.binary(max_size=60) | documents | st.just(b'{"provider":"daily"}')

requests = st.tuples(methods, paths, queries, headers, bodies)
Request = tuple[str, str, str, list[tuple[str, str]], bytes]


def as_bytes(request: Request) -> bytes:
    method, path, query, more, body = request
    lines = [f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value.strip()}" for name, value in more]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def check_answer(sent: bytes, answer: bytes, site: Site, known: dict[str, Any]) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), (sent, answer)
    status = int(head.split()[1])
    assert status < 500, (sent, answer)
    assert b"Traceback" not in body
    if status >= 400:
        assert site.service.sessions == known
        if b"content-type" in head.lower() and not sent.startswith(b"HEAD "):
            document = json.loads(body)
            assert document["code"] in CODES, (sent, answer)
            assert document["status"] == status


@PROPERTY
@example([("POST", "/sessions", "", [("Content-Type", "application/json")], b'{"provider":"daily"}')])
@example([("GET", "/sessions", "limit=%ff", [], b""), ("GET", "*", "", [("Range", "bytes=0-")], b"")])
@example([("GET", "/metrics", "", [("Accept", "application/openmetrics-text;version=x;q=y")], b"")])
@example([("POST", "/sessions", "", [("Content-Type", 'application/json;charset="'), ("Cookie", "\xff")], b"{}")])
@given(st.lists(requests, min_size=1, max_size=8))
def test_any_request_is_answered_as_the_contract_says(caplog: pytest.LogCaptureFixture, sent: list[Request]) -> None:
    caplog.clear()

    async def ask_all() -> None:
        async with serving() as site:
            for request in sent:
                known = dict(site.service.sessions)
                raw = as_bytes(request)
                check_answer(raw, await site.raw(raw), site, known)

    trio.run(ask_all)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@PROPERTY
@example([b"POST /sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n"])
@example([b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x85"])
@given(st.lists(st.binary(max_size=100) | requests.map(as_bytes).map(lambda raw: raw[: len(raw) // 2]), max_size=8))
def test_any_bytes_at_all_leave_the_service_as_it_was(caplog: pytest.LogCaptureFixture, sent: list[bytes]) -> None:
    caplog.clear()

    async def send_all() -> None:
        async with serving() as site:
            for raw in sent:
                answer = await site.raw(raw, end=True)
                assert b" 500 " not in answer.partition(b"\r\n")[0], (raw, answer)
            assert site.service.sessions == {}
            assert (await site.client.get("/health")).status_code == 200

    trio.run(send_all)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
