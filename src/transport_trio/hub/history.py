"""Feeds the journal's past to listeners, a page at a time and only when they have taken the page before."""

from __future__ import annotations

import logging

import trio

from transport_trio.errors import HistoryGone, StorageUnavailable
from transport_trio.hub.listener import Listener, Phase
from transport_trio.hub.pages import Pages
from transport_trio.hub.snapshots import Snapshots
from transport_trio.ports import EventQuery, Journal

log = logging.getLogger(__name__)

PAGE_EVENTS = 100  # at 64 KiB each the most that one replaying listener can hold is 6.4 MiB
RETRY_S = 1.0


class History:
    def __init__(self, journal: Journal) -> None:
        self._pages = Pages(journal)
        self._snapshots = Snapshots(journal)
        self._failing = False

    async def load(self, listener: Listener) -> None:
        """Load the listener's next page or snapshot; if the journal cannot be read, return after a short rest."""
        asked = listener.filter
        try:
            if listener.phase is Phase.SNAPSHOT:
                snapshot = await self._snapshots.read(asked.session_ids)
                if listener.filter is asked:  # else the new filter wants a snapshot of its own
                    listener.take_snapshot(snapshot)
            else:
                page = await self._pages.read(
                    EventQuery(
                        after=listener.cursor,
                        epoch=listener.epoch,
                        limit=PAGE_EVENTS,
                        session_ids=asked.session_ids,
                        types=asked.types,
                    )
                )
                if listener.filter is asked:
                    listener.take_page(page)
        except HistoryGone as gone:
            listener.take_gap(gone)
        except StorageUnavailable as exc:
            if not self._failing:
                log.warning("replay waits for the journal", extra={"error": str(exc)})
            self._failing = True
            await trio.sleep(RETRY_S)
            return
        self._failing = False
