"""One question for the whole domain, asked once in an interval however many rooms wait for its answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import trio

from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.operations import DOMAIN_PRESENCE
from transport_trio.connectors.daily.reading import parse_rooms
from transport_trio.errors import ConnectorError

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Everybody:
    """Whom Daily named, by room. A room is read when somebody asks for it: foreign ones cost nothing but their place.

    `answered_at` is by Trio's clock, `at` by Daily's.
    """

    rooms: Mapping[str, Any] = attrs.field(repr=False)
    answered_at: float
    at: datetime


@attrs.define(eq=False, kw_only=True)
class DomainLook:
    client: DailyClient
    interval_s: float
    _latest: Everybody | None = None
    _failure: ConnectorError | None = None
    _failed_at: float = 0.0
    # Who holds it asks for all. Should they be cancelled, the next in line does.
    _asking: trio.Lock = attrs.field(factory=trio.Lock)

    async def everybody(self) -> Everybody:
        """An answer that is less than an interval old.

        Raises:
            ConnectorError: there is none. For an interval that is the answer to everybody: it is logged once, here.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        known = self._known()
        if known is not None:
            return known
        async with self._asking:
            return self._known() or await self._ask()

    def _known(self) -> Everybody | None:
        now = trio.current_time()
        if self._failure is not None and now < self._failed_at + self.interval_s:
            raise self._failure.with_traceback(None)  # which would grow with everybody who is told
        if self._latest is not None and now < self._latest.answered_at + self.interval_s:
            return self._latest
        return None

    async def _ask(self) -> Everybody:
        try:
            rooms, at = await self.client.call(DOMAIN_PRESENCE, _read)
        except ConnectorError as exc:
            if self._failure is None:
                log.warning(
                    "presence of the domain is unknown", extra={"provider": self.client.provider, "error": str(exc)}
                )
            exc.told = True
            self._failure, self._failed_at = exc, trio.current_time()
            raise
        if self._failure is not None:
            log.info("presence of the domain is known again", extra={"provider": self.client.provider})
        self._failure = None
        self._latest = Everybody(rooms=rooms, answered_at=trio.current_time(), at=at)
        return self._latest


def _read(answer: Answer) -> tuple[Mapping[str, Any], datetime]:
    return parse_rooms(answer.json), answer.at
