"""Pages of lists as Daily cuts them: newest first, with the id of an object as the cursor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from transport_trio.sandbox.refusals import invalid

PAGE = 100

T = TypeVar("T")


def page_of(
    items: Iterable[T], query: Mapping[str, str], key: Callable[[T], tuple[float, str]], what: str
) -> tuple[int, list[T]]:
    """How many items there are, and the page of them that the query asks for, newest first.

    `key` tells an item's time, of which the whole second counts, and its id.

    Raises:
        ApiError: a limit or a cursor makes no sense.
    """
    ordered = sorted(items, key=lambda item: (int(key(item)[0]), key(item)[1]), reverse=True)
    limit = page_limit(query)
    places = {key(item)[1]: place for place, item in enumerate(ordered)}
    after, before = query.get("starting_after"), query.get("ending_before")
    if after is not None:
        start = _place(places, after, "starting_after", what) + 1
        return len(ordered), ordered[start : start + limit]
    if before is not None:
        end = len(ordered) if before == "OLDEST" else _place(places, before, "ending_before", what)
        return len(ordered), ordered[max(0, end - limit) : end]
    return len(ordered), ordered[:limit]


def page_limit(query: Mapping[str, str]) -> int:
    """Raises:
    ApiError: `limit` is not a positive number. One above the maximum counts as the maximum.
    """
    text = query.get("limit")
    if text is None:
        return PAGE
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise invalid(f"limit was '{text}' but should be a positive integer")
    return min(int(text), PAGE)


def _place(places: Mapping[str, int], cursor: str, name: str, what: str) -> int:
    if cursor not in places:
        raise invalid(f"{name} was '{cursor}' but should be the id of {what}")
    return places[cursor]
