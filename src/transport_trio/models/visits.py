"""Visits: who was in a room from when to when, as we saw it and as the provider says afterwards."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import attrs


@attrs.frozen(kw_only=True)
class Visit:
    """One stay of somebody in a room. `ids` are their connections, the one told first; `left_at=None`: still there.

    `exact`: the provider has told us of the leave; otherwise it is when somebody was last seen.
    """

    ids: tuple[str, ...]
    user_id: str | None = None
    name: str | None = None
    joined_at: datetime
    left_at: datetime | None = None
    exact: bool = False


class Reconciled(StrEnum):
    PENDING = "pending"
    DONE = "done"
    UNAVAILABLE = "unavailable"


class Account(StrEnum):
    """Whose account a visit rests on."""

    OURS = "ours"
    PROVIDER = "provider"
    BOTH = "both"


@attrs.frozen(kw_only=True)
class Stay:
    """A visit as the summary has it: merged, and as either side says."""

    visit: Visit
    ours: Visit | None = None
    provider: Visit | None = None

    @property
    def account(self) -> Account:
        if self.provider is None:
            return Account.OURS
        return Account.PROVIDER if self.ours is None else Account.BOTH


@attrs.frozen(kw_only=True)
class Person:
    """All stays of one person, the earliest first."""

    user_id: str | None
    name: str | None
    stays: tuple[Stay, ...]


@attrs.frozen(kw_only=True)
class Summary:
    people: tuple[Person, ...]
    people_at_most: int
    visits_dropped: int
    reconciled: Reconciled
    until: datetime  # what is still under way is counted up to then
