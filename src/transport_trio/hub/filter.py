"""What a listener wants to hear, and the index that finds the listeners of an event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import attrs

from transport_trio.events import EventType, RecordedEvent


@attrs.frozen
class Filter:
    """`None` lets everything through, an empty set nothing."""

    session_ids: frozenset[str] | None = None
    types: frozenset[EventType] | None = None


@attrs.frozen(kw_only=True)
class Subscription:
    """How a listener wants to start. `after=None`: live only, or from a snapshot; else the events after that id."""

    filter: Filter = attrs.field(factory=Filter)
    after: int | None = None
    epoch: str | None = None  # the journal that `after` belongs to; None: whichever this is
    snapshot: bool = False


class _Filtered(Protocol):
    @property
    def filter(self) -> Filter: ...


L = TypeVar("L", bound=_Filtered)


class Audience(Generic[L]):
    """Those who hear live events, found by session and type, so that an event costs nothing to the others.

    Dicts serve as ordered sets: everybody is told in the order of arrival.
    """

    def __init__(self) -> None:
        self._all: dict[L, None] = {}
        self._by_type: dict[EventType, dict[L, None]] = {}
        self._by_session: dict[str, dict[L, None]] = {}

    def add(self, listener: L) -> None:
        for place in self._places(listener.filter):
            place[listener] = None

    def discard(self, listener: L) -> None:
        """Forget the listener, whose filter must be the one it was added with."""
        for place in self._places(listener.filter):
            place.pop(listener, None)
        for session_id in listener.filter.session_ids or ():
            if not self._by_session[session_id]:
                del self._by_session[session_id]

    @property
    def sessions(self) -> int:
        """How many sessions are listened to by name."""
        return len(self._by_session)

    def of(self, event: RecordedEvent) -> Iterator[L]:
        yield from self._all
        yield from self._by_type.get(event.type, ())
        for listener in self._by_session.get(event.session_id, ()):
            if listener.filter.types is None or event.type in listener.filter.types:
                yield listener

    def _places(self, filter_: Filter) -> list[dict[L, None]]:
        if filter_.session_ids is not None:
            return [self._by_session.setdefault(session_id, {}) for session_id in filter_.session_ids]
        if filter_.types is not None:
            return [self._by_type.setdefault(type_, {}) for type_ in filter_.types]
        return [self._all]
