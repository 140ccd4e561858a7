"""Daily's JSON as our models, read tolerantly: what we do not need may be missing, odd or new.

Whatever text comes from outside leaves here without control characters, lone surrogates and excess length.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from transport_trio.connectors.daily.stream_keys import without_addresses
from transport_trio.models import Participant, Room

NAME_MAX = 128
ID_MAX = 128
DETAIL_MAX = 300
SECRET_MIN = 16
# Beyond these years a time is nonsense; sums and differences of others stay what a datetime can hold.
YEARS = range(1970, 9000)
# Control characters, lone surrogates, line and paragraph separators: what would break a terminal, UTF-8 or a log line.
UNWANTED = frozenset({"Cc", "Cs", "Zl", "Zp"})


class BrokenAnswer(Exception):
    """The answer is not what the API promises; the text says why."""


@attrs.frozen(kw_only=True)
class People:
    """Who an answer names, how many entries made no sense, and how many people there are by the answer's own count."""

    participants: tuple[Participant, ...]
    skipped: int
    listed: int
    total: int


def parse_json(body: bytes) -> Any:
    """The JSON value in `body`, such that it can be encoded again.

    Raises:
        BrokenAnswer: it is not JSON, or holds numbers beyond the range of a double.
    """
    try:
        text = body.decode("utf-8", "replace")
        value = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
        if "\\u" in text:
            # An escape can hold half a character, which no encoder of ours would take.
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            value = json.loads(whole)
    except (ValueError, RecursionError) as exc:
        raise BrokenAnswer("it is not JSON") from exc
    return value


def parse_room(body: Any, name: str, domain: str) -> Room:
    """The room called `name` as Daily describes it.

    Raises:
        BrokenAnswer: it is no object, or it describes another room.
    """
    room = object_of(body)
    if room.get("name") != name:
        raise BrokenAnswer("it describes no room of that name")
    url, provider_id, config = room.get("url"), room.get("id"), room.get("config")
    return Room(
        name=name,
        url=url if isinstance(url, str) and url else f"https://{domain}.daily.co/{name}",
        provider_id=provider_id if isinstance(provider_id, str) and provider_id else None,
        expires_at=unix_time(config.get("exp")) if isinstance(config, dict) else None,
        created_at=iso_time(room.get("created_at")),
        metadata=dict(room),
    )


def parse_token(body: Any) -> str:
    token = object_of(body).get("token")
    if not isinstance(token, str) or not token:
        raise BrokenAnswer("it holds no token")
    return token


def parse_deleted(body: Any) -> None:
    """Accept a room's deletion. Strict, since asking again does no harm and a proxy's 200 would."""
    if object_of(body).get("deleted") is not True:
        raise BrokenAnswer("it does not say that the room is deleted")


def parse_entries(body: Any) -> list[Any]:
    """What a page of a list holds.

    Raises:
        BrokenAnswer: there is no list.
    """
    entries = object_of(body).get("data")
    if not isinstance(entries, list):
        raise BrokenAnswer("it holds no list")
    return entries


def parse_deleted_count(body: Any, wanted: int) -> None:
    """Accept that so many rooms were deleted at once."""
    count = object_of(body).get("deleted_count")
    if isinstance(count, bool) or count != wanted:
        raise BrokenAnswer(f"it does not say that {wanted} rooms are deleted")


def parse_ejected(body: Any) -> tuple[str, ...]:
    """The ids of those who were put out.

    Raises:
        BrokenAnswer: it does not say.
    """
    ids = object_of(body).get("ejectedIds")
    if not isinstance(ids, list):
        raise BrokenAnswer("it does not say who was ejected")
    return tuple(id_ for each in ids if (id_ := short(each)) is not None)


def parse_sent(body: Any) -> None:
    """Accept that something was passed on to a call. Daily has two ways to say so, one of them with a string."""
    answer = object_of(body)
    if answer.get("sent") not in ("true", True) and answer.get("status") != "sent":
        raise BrokenAnswer("it does not say that it was sent")


def parse_domain_name(body: Any) -> str | None:
    name = object_of(body).get("domain_name")
    return name if isinstance(name, str) and name else None


def parse_people(body: Any, now: datetime) -> People:
    """Who is in a room. An entry without a usable id is skipped: nobody could tell when that person leaves.

    Raises:
        BrokenAnswer: there is no list of people.
    """
    answer = object_of(body)
    entries = answer.get("data")
    if not isinstance(entries, list):
        raise BrokenAnswer("it holds no list of people")
    people = parse_list(entries, now)
    count = answer.get("total_count")
    total = count if isinstance(count, int) and not isinstance(count, bool) else people.total
    return attrs.evolve(people, total=total)


def parse_rooms(body: Any) -> Mapping[str, Any]:
    """The people of each room of the domain, not looked at yet. What is no list is of no room that can be known.

    Raises:
        BrokenAnswer: it is no object, or one that holds something, but people of no room. Believing that would end
            everybody's visit.
    """
    rooms = object_of(body)
    if rooms and not any(isinstance(entries, list) for entries in rooms.values()):
        raise BrokenAnswer("it holds no people of any room")
    return rooms


def parse_list(entries: list[Any], now: datetime) -> People:
    """The people in a list that is held to be complete."""
    found: dict[str, Participant] = {}
    skipped = 0
    for entry in entries:
        person = _participant(entry, now)
        if person is None:
            skipped += 1
        else:
            found.setdefault(person.id, person)
    listed = len(entries)
    return People(participants=tuple(found.values()), skipped=skipped, listed=listed, total=listed)


def error_of(body: Any, secret: str) -> tuple[str, str]:
    """(error type, words for people) of an answer that is no success; empty where it has none."""
    if not isinstance(body, dict):
        return "", ""
    kind, info = (_told(body.get(key), secret) for key in ("error", "info"))
    return kind, info or kind


def _told(value: Any, secret: str) -> str:
    if not isinstance(value, str):
        return ""
    # Should the provider ever quote our key. Daily's have 64 characters; a short one is a word, like the sandbox's.
    told = value.replace(secret, "(hidden)") if len(secret) >= SECRET_MIN else value
    return clean(without_addresses(told), DETAIL_MAX)


def clean(text: str, max_length: int) -> str:
    """`text` without what breaks lines, terminals or encoders, and not longer than `max_length` characters."""
    cut = text[:max_length]
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in UNWANTED else char for char in cut)


def _participant(entry: Any, now: datetime) -> Participant | None:
    if not isinstance(entry, dict):
        return None
    id_ = short(entry.get("id"))
    if id_ is None:
        return None
    name = entry.get("userName")
    return Participant(
        id=id_,
        user_id=short(entry.get("userId")),
        name=clean(name, NAME_MAX) if isinstance(name, str) and name else None,
        joined_at=iso_time(entry.get("joinTime")) or _since(entry.get("duration"), now),
    )


def short(value: Any) -> str | None:
    """An identifier, unchanged: a shortened one could be somebody else's."""
    usable = isinstance(value, str) and 0 < len(value) <= ID_MAX and value == clean(value, ID_MAX)
    return value if usable else None


def object_of(body: Any) -> Mapping[str, Any]:
    """Raises:
    BrokenAnswer: it is none.
    """
    if not isinstance(body, dict):
        raise BrokenAnswer("it is no JSON object")
    return body


def iso_time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return _sane(time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def unix_time(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return _sane(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _sane(time: datetime) -> datetime | None:
    return time if time.year in YEARS else None


def _since(duration_s: Any, now: datetime) -> datetime:
    """When somebody came who has been there for `duration_s`; now, when that is not known."""
    if isinstance(duration_s, bool) or not isinstance(duration_s, (int, float)) or duration_s < 0:
        return now
    try:
        return _sane(now - timedelta(seconds=duration_s)) or now
    except OverflowError:
        return now


def _integer(text: str) -> int | float:
    # Encoders stop at 64 bits; nothing of Daily's needs more.
    return int(text) if len(text) <= 18 else _finite(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number in JSON")
    return number
