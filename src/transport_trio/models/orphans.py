"""Rooms of ours without a session: how a name proves whose it is, and what a sweep has found. Pure."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto

import attrs

from transport_trio.models.rooms import Room
from transport_trio.models.sessions import SessionId

# A session id is a UUID of version 7: the time, a counter, and in its last group the mark.
MARK_CHARS = 12
COUNTER_BITS = 26
_FORM = re.compile(r".+-(([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})", re.DOTALL)
# A room is made soon after it was named: a creation has three timeouts of the provider, of 10 s unless somebody sets
# them longer. A room made later under the same name is somebody else's.
MADE_BEFORE = timedelta(minutes=1)
MADE_AFTER = timedelta(minutes=5)


class Claim(Enum):
    """Whose a room is, as far as its name, its age and this data folder can prove it."""

    OURS = auto()
    UNPROVEN = auto()  # the mark is ours, but it was not made by the service of this folder, as far as that knows
    FOREIGN = auto()


@attrs.frozen(kw_only=True)
class Run:
    """The life of one process in this data folder. The rooms that it named carry a mark made with its key.

    `vouched_until`: when it named the latest room that the folder knows of. `is_doubted`: the folder was copied,
    and the run may have gone on elsewhere.
    """

    key: bytes = attrs.field(repr=False)
    began_at: datetime
    vouched_until: datetime
    is_doubted: bool = False

    def named(self, room_name: str) -> bool:
        return hmac.compare_digest(mark(self.key, room_name[:-MARK_CHARS]), room_name[-MARK_CHARS:])


def mark(key: bytes, stem: str) -> str:
    """What only who has the key can write behind `stem`."""
    return hmac.digest(key, stem.encode("utf-8", "replace"), "sha256").hex()[:MARK_CHARS]


def marked_id(key: bytes, room_prefix: str, now: datetime, count: int) -> SessionId:
    """A session id such that `{room_prefix}-{id}` carries the mark; another one for each `count`."""
    at_ms = int(now.timestamp() * 1000)
    number = count & ((1 << COUNTER_BITS) - 1)
    clock, high, low = f"{at_ms:012x}", number >> 14, number & 0x3FFF
    stem = f"{clock[:8]}-{clock[8:]}-7{high:03x}-{0x8000 | low:04x}-"
    return SessionId(stem + mark(key, f"{room_prefix}-{stem}"))


def session_id_in(room_name: str) -> SessionId | None:
    """The session id that a room name ends with; None where it has not the form of those that we choose."""
    match = _FORM.fullmatch(room_name)
    return SessionId(match[1]) if match else None


def named_at(room_name: str) -> datetime | None:
    """When the room was named, if we named it."""
    match = _FORM.fullmatch(room_name)
    if match is None:
        return None
    try:
        return datetime.fromtimestamp(int(match[2] + match[3], 16) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def was_made_when_named(room: Room, at: datetime) -> bool:
    return room.created_at is not None and at - MADE_BEFORE <= room.created_at <= at + MADE_AFTER


class OrphanKind(StrEnum):
    EMPTY = "empty"  # to be deleted, if that is wanted
    OCCUPIED = "occupied"
    YOUNG = "young"
    UNPROVEN = "unproven"


@attrs.frozen(kw_only=True)
class Orphan:
    room: Room
    kind: OrphanKind
    deleted: bool = False


@attrs.frozen(kw_only=True)
class Sweep:
    """What one sweep of a provider's rooms found and did. `rooms` are all that the provider listed.

    `failure`: why it broke off; what it says is then of the part before that.
    """

    provider: str
    started_at: datetime
    finished_at: datetime
    deletes: bool
    rooms: int
    foreign: int
    known: int
    orphans: tuple[Orphan, ...]
    failure: str | None = None

    @property
    def deleted(self) -> int:
        return sum(orphan.deleted for orphan in self.orphans)

    def left(self) -> Mapping[OrphanKind, int]:
        """How many orphans of each kind are still there."""
        there = [orphan.kind for orphan in self.orphans if not orphan.deleted]
        return {kind: there.count(kind) for kind in OrphanKind}
