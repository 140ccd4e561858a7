"""What is owed to a provider, by session and by room name. Plain memory: the journal keeps it, the reaper pays it."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import datetime

import attrs
import trio

from transport_trio.models import RoomDebt, RoomIntent, Session, SessionId

# Between two tries for somebody who waits, and the first wait for everybody else.
RETRY_MIN_S = 1.0


@attrs.define(eq=False)
class Owed:
    """A room to delete, and how far that has come."""

    debt: RoomDebt
    due: float
    written: bool = True  # False: the journal still holds the intent that it came of
    tries: int = 0
    busy: bool = False
    settled: bool = False
    waiting: int = 0  # creations that want its room's name
    looks: int = 0  # begun
    vacant_look: int = 0  # the latest one that found no room of ours
    missing_since: float | None = None  # since when every look found no room at all
    failed_at: float = float("-inf")  # the latest try, where it failed
    looked: trio.Event = attrs.field(factory=trio.Event)  # set, and made anew, at the end of each look

    def hurry(self, now: float) -> None:
        """Somebody waits: try now, or a moment after a try that failed."""
        self.due = min(self.due, max(now, self.failed_at + RETRY_MIN_S))

    def tell(self) -> None:
        self.looked.set()
        self.looked = trio.Event()


class Ledger:
    """All that is owed now."""

    def __init__(self) -> None:
        self._by_session: dict[SessionId, Owed] = {}
        self._by_name: defaultdict[tuple[str, str], dict[SessionId, Owed]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._by_session)

    def __contains__(self, session_id: SessionId) -> bool:
        return session_id in self._by_session

    def add(self, owed: Owed) -> None:
        debt = owed.debt
        self._by_session[debt.session_id] = owed
        self._by_name[debt.provider, debt.room_name][debt.session_id] = owed

    def remove(self, owed: Owed) -> None:
        debt = owed.debt
        del self._by_session[debt.session_id]
        same_name = self._by_name[debt.provider, debt.room_name]
        del same_name[debt.session_id]
        if not same_name:
            del self._by_name[debt.provider, debt.room_name]
        owed.settled = True

    def named(self, provider: str, room_name: str) -> tuple[Owed, ...]:
        return tuple(self._by_name.get((provider, room_name), {}).values())

    def ends(self, provider: str, room_name: str) -> Collection[datetime]:
        """The ends of the rooms of this name."""
        debts = [owed.debt for owed in self.named(provider, room_name)]
        return {end for debt in debts for end in (debt.expires_at, debt.other_end) if end is not None}

    def by_provider(self) -> Counter[str]:
        """How much is owed to whom."""
        return Counter(owed.debt.provider for owed in self._by_session.values())

    def next(self, now: float, workers: int) -> list[Owed]:
        """What to try now: all that somebody waits for, and of the rest as many as there are workers free.

        Each provider has workers of its own: one that answers nobody keeps those who wait for it busy for long.
        """
        due = [owed for owed in self._by_session.values() if not owed.busy and owed.due <= now]
        busy = Counter(owed.debt.provider for owed in self._by_session.values() if owed.busy)
        others: defaultdict[str, list[Owed]] = defaultdict(list)
        for owed in due:
            if not owed.waiting:
                others[owed.debt.provider].append(owed)
        chosen = [owed for owed in due if owed.waiting]
        for provider, waiting in others.items():
            free = max(workers - busy[provider], 0)
            chosen += heapq.nsmallest(free, waiting, key=lambda owed: owed.due)
        return chosen

    def next_due(self, now: float) -> float:
        """When something comes due that is not so yet."""
        return min(
            (owed.due for owed in self._by_session.values() if not owed.busy and owed.due > now), default=float("inf")
        )


def debt_of(intent: RoomIntent, provider_id: str | None, owed_at: datetime) -> RoomDebt:
    """The debt for a room that came, or may have come, of `intent`."""
    return RoomDebt(
        session_id=intent.session_id,
        provider=intent.provider,
        room_name=intent.room_name,
        provider_id=provider_id,
        expires_at=intent.expires_at,
        owed_at=owed_at,
        intended_at=intent.intended_at,
    )


def debt_of_end(session: Session) -> RoomDebt:
    """The debt for the room of a session that has ended."""
    assert session.ended_at is not None
    return RoomDebt(
        session_id=session.id,
        provider=session.provider,
        room_name=session.room.name,
        provider_id=session.room.provider_id,
        expires_at=session.room.expires_at or session.expires_at,
        owed_at=session.ended_at,
        other_end=session.extending_to,
    )
