"""Query parameters, read strictly: an unknown one, one too often, or one that makes no sense is named in the 400."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TypeVar
from urllib.parse import parse_qsl

from transport_trio.errors import InvalidRequest
from transport_trio.events import EventType
from transport_trio.models import SessionStatus

EVENT_ID_MAX = 2**63 - 1  # what the journal can count to
LIMIT_MAX = 500
TEXT_MAX_CHARS = 1024
SHOWN_MAX_CHARS = 80  # how much of a caller's own words an error repeats

T = TypeVar("T")
Values = dict[str, list[str]]


def parse_query(raw: bytes, known: Collection[str], *, repeatable: Collection[str] = ()) -> Values:
    """The query's values by key.

    Raises:
        InvalidRequest: it is not UTF-8 in percent-encoding, has a key that is not known here, or has one too often.
    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict")
    except ValueError:
        raise InvalidRequest(("query", "is not valid percent-encoded UTF-8")) from None
    values: Values = {}
    for key, value in pairs:
        if key not in known:
            hint = f"known are {', '.join(known)}" if known else "none is known here"
            raise InvalidRequest((key[:SHOWN_MAX_CHARS], f"is not a known query parameter; {hint}"))
        if key in values and key not in repeatable:
            raise InvalidRequest((key, "is given more than once"))
        values.setdefault(key, []).append(value)
    return values


def one(query: Values, key: str, parse: Callable[[str], T]) -> T | None:
    """The parameter as `parse` reads it, None when it is not given.

    Raises:
        InvalidRequest: `parse` raised ValueError, whose words say what would be right.
    """
    if key not in query:
        return None
    try:
        return parse(query[key][0])
    except ValueError as exc:
        raise InvalidRequest((key, str(exc))) from None


def limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise ValueError(f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def event_id(text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > EVENT_ID_MAX:
        raise ValueError("must be the id of an event: a whole number, 0 or more")
    return int(text)


def event_types(text: str) -> frozenset[EventType]:
    try:
        return frozenset(EventType(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"must be a comma-separated list of {', '.join(EventType)}") from None


def status(text: str) -> SessionStatus:
    for known in SessionStatus:
        if known.lower() == text.lower():
            return known
    raise ValueError(f"must be one of {', '.join(SessionStatus)}")


def switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def short_text(text: str) -> str:
    if not 1 <= len(text) <= TEXT_MAX_CHARS:
        raise ValueError(f"must have 1 to {TEXT_MAX_CHARS} characters")
    return text
