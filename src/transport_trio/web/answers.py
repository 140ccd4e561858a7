"""Successful answers: JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Response

from transport_trio.wire.out import encode


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return answer_bytes(encode(value), status, headers)


def answer_bytes(json: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json, status=status, headers=dict(headers or {}), content_type="application/json")
