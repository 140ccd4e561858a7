"""JSON as a JavaScript server reads and writes it."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH_MAX = 100  # nobody nests deeper, and what handles JSON here calls itself for each level
SAFE_DIGITS = 15  # integers of more digits lose precision in JavaScript, and become floats here


class NotJson(ValueError):
    """The bytes are no JSON, or hold no object or array."""


def read(raw: bytes) -> Any:
    """The object or array in a request's body; an empty body counts as an empty object.

    Raises:
        NotJson: also for numbers or nesting that nobody means seriously.
    """
    if not raw:
        return {}
    try:
        value = json.loads(raw.decode("utf-8"), parse_int=_integer, parse_float=_float, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise NotJson(str(exc)) from exc
    if not isinstance(value, (dict, list)):
        raise NotJson("neither an object nor an array")
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and _is_deeper_than(DEPTH_MAX, value):
        raise NotJson("nested too deeply")
    return value


def _is_deeper_than(levels: int, value: Any) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return any(isinstance(one, (dict, list)) for one in level)


def write(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= SAFE_DIGITS else _float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def with_wrong_types(value: Any) -> Any:
    """The same shape on the outside, and a value of another type in every place."""
    match value:
        case dict():
            return {name: _other_type(item) for name, item in value.items()}
        case list():
            return [_other_type(item) for item in value]
        case _:
            return _other_type(value)


def _other_type(value: Any) -> Any:
    match value:
        case bool():
            return "yes"
        case str():
            return len(value)
        case int() | float():
            return str(value)
        case list():
            return {"0": "no list"}
        case dict():
            return ["no object"]
        case _:
            return 0
