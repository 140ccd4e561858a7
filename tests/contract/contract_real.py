"""A real domain behind the connector: what takes people, another time or faults, it has not."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from contract_domain import Domain

from transport_trio.ports import TransportConnector


class RealProvider:
    """The part of `Provider` that tests without the marker `takes` need."""

    def __init__(self, connector: TransportConnector, domain: Domain) -> None:
        self.connector = connector
        self._prefix = domain.room_name(f"{uuid.uuid4().hex[:8]}-")  # each test has rooms of its own

    def room(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def now(self) -> datetime:
        return datetime.now(UTC)
