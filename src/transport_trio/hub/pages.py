"""Pages of the journal as frames, shared by those who read the same."""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio

from transport_trio.ports import EventQuery, Journal
from transport_trio.wire.socket import text_frame

# What a thousand listeners that come back after a restart read, one behind the other.
HELD_BYTES = 8 * 1024 * 1024


@attrs.frozen
class FramedPage:
    run: bytes
    frames: int
    last_event_id: int


@attrs.define(eq=False)
class _Reading:
    done: trio.Event = attrs.field(factory=trio.Event)
    page: FramedPage | None = None


class Pages:
    """Each page is read once for all who ask at the same time. Full ones, which nothing is added to any more, are held
    for those who come after: in a herd nobody is level with the others for long."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reading: dict[EventQuery, _Reading] = {}
        self._held: OrderedDict[EventQuery, FramedPage] = OrderedDict()
        self._held_bytes = 0

    async def read(self, query: EventQuery) -> FramedPage:
        """The page, as of now or a moment ago.

        Raises:
            HistoryGone, StorageUnavailable: as the journal says.
        """
        while True:
            if query.epoch == self._journal.epoch and (held := self._held.get(query)) is not None:
                self._held.move_to_end(query)
                return held
            other = self._reading.get(query)
            if other is None:
                return await self._read(query)
            await other.done.wait()
            if other.page is not None:
                return other.page

    async def _read(self, query: EventQuery) -> FramedPage:
        mine = self._reading[query] = _Reading()
        try:
            page = await self._journal.events(query)
            run = b"".join([text_frame(event.body) for event in page.events])
            mine.page = FramedPage(run, len(page.events), page.last_event_id)
        finally:
            del self._reading[query]
            mine.done.set()
        if len(page.events) == query.limit and query.epoch == self._journal.epoch:
            self._hold(query, mine.page)
        return mine.page

    def _hold(self, query: EventQuery, page: FramedPage) -> None:
        self._held[query] = page
        self._held_bytes += len(page.run)
        while self._held_bytes > HELD_BYTES:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= len(oldest.run)
