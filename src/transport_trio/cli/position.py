"""Where a follower stands in the service's history, and so where its next connection has to begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.define(eq=False, kw_only=True)
class Position:
    """Moves on with every message; `query` asks for exactly what has not come yet.

    While a snapshot is due or under way `after` is None: half a snapshot is no place to go on from.
    """

    after: int | None = None
    epoch: str | None = None
    snapshot: bool = False
    _offered_epoch: str | None = attrs.field(default=None, init=False)

    @property
    def welcomed(self) -> bool:
        """Whether a connection has ever come about."""
        return self._offered_epoch is not None

    def query(self) -> list[tuple[str, str]]:
        query = []
        if self.after is not None:
            query.append(("after", str(self.after)))
            if self.epoch is not None:
                query.append(("epoch", self.epoch))
        if self.snapshot:
            query.append(("snapshot", "true"))
        return query

    def note(self, message: Mapping[str, Any]) -> None:
        """Take a message of the service into account."""
        match message:
            case {"type": "welcome", "epoch": str(epoch), "last_event_id": int(last)}:
                self._offered_epoch = epoch
                if self.after is None and not self.snapshot:
                    self.after = last  # live only: what came before is not ours
                if self.epoch is None or self.after is None:
                    self.epoch = epoch
                # Otherwise ids of another epoch stay with their epoch until the gap is told: a connection that
                # breaks in between must not resume in the new history with a number of the old one.
            case {"type": "gap"}:
                # A journal can begin a new epoch while we listen; the gap names it then.
                self._offered_epoch = message.get("epoch", self._offered_epoch)
                self.after, self.epoch, self.snapshot = None, self._offered_epoch, True
            case {"type": "snapshot", "last_event_id": int(last)}:
                if not message.get("more"):
                    self.after, self.snapshot = last, False
            case {"type": "ping", "last_event_id": int(last)}:
                if self.after is not None and self.epoch == self._offered_epoch:
                    self.after = max(self.after, last)
            case {"id": int(number)}:
                self.after = number
            case _:
                pass
