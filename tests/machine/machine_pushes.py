"""What is known of one room: what the provider answered, and what it pushed by itself; and what has to come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import attrs
from machine_provider import Look, News
from machine_service import SETTINGS, Service

from transport_trio.sessions.deps import GRACE_S

GRACE = timedelta(seconds=GRACE_S)
CONFIRM = timedelta(seconds=SETTINGS.presence_confirm_s)
MS = timedelta(milliseconds=1)  # what the wire rounds away


@attrs.frozen
class Heard:
    """A push that came in. `sure`: the disk was well, so that nothing of it can have been lost while `by` runs."""

    at: datetime
    news: News
    by: Service
    sure: bool

    @property
    def id(self) -> str:
        return self.news.participant.id

    @property
    def believed(self) -> bool:
        """An older one is for the service no more than a reason to look."""
        return self.at - self.news.occurred_at < GRACE


@attrs.frozen
class Witnesses:
    """Of one room name. `persons` tells by connection who somebody is; `now_runs` is the service that runs."""

    looks: list[Look]
    heard: list[Heard]
    persons: Mapping[str, str]
    now_runs: Service | None

    def came(self, person: str) -> Iterator[Heard]:
        return (one for one in self.heard if one.news.came and one.believed and self.persons[one.id] == person)

    def went(self, person: str) -> Iterator[Heard]:
        return (one for one in self.heard if not one.news.came and one.believed and self.persons[one.id] == person)

    def has_gone(self, id_: str, since: datetime, until: datetime, *, surely: bool) -> bool:
        """Whether a leave of this connection was pushed in that time; `surely`: and not forgotten in a crash."""
        return any(
            one.id == id_ and since < one.at <= until and (not surely or self._holds(one))
            for one in self.went(self.persons[id_])
        )

    def check_join(self, id_: str, at: datetime, *, pushed: bool) -> None:
        person = self.persons[id_]
        if pushed:
            assert any(one.id == id_ and one.at <= at + MS for one in self.came(person)), f"{person} was never pushed"
            assert not self.has_gone(id_, at - GRACE, at - MS, surely=True), f"{person} has left before"
        else:
            named = [look.at for look in self.looks if look.people and id_ in look.people]
            assert any(not self.has_gone(id_, look - GRACE, look, surely=True) for look in named), (
                f"{person} was never named, or by an answer that cannot know of their leave"
            )

    def check_pushed_leave(self, person: str, at: datetime, occurred_at: datetime) -> None:
        told = [one.news.occurred_at for one in self.went(person) if one.at <= at + MS]
        assert any(abs(one - occurred_at) <= MS for one in told), f"no leave of {person} was pushed"
        for one in self.came(person):
            if self._holds(one) and at - GRACE < one.at < at - MS:
                gone = self.has_gone(one.id, one.at - GRACE, at + MS, surely=False)
                assert gone, f"{person} has rejoined as {one.id}"

    def inferred_leave_is_proved(self, person: str, at: datetime, seen_at: datetime, slack: timedelta) -> bool:
        """Whether answers have missed them for long enough; and nothing may tell of another last sight of them."""
        good = [look for look in self.looks if look.people is not None and look.at <= at]
        named = [look.at for look in good if look.names(person)]
        surely = [look.at for look in good if self._is_there(look, person)]
        pushed = [one.at for one in self.came(person) if one.at <= at + MS]
        assert named or pushed, f"{person} was never named"
        earliest = surely[-1] if surely else min(named + pushed)
        latest = max(named + pushed)
        assert earliest - slack <= seen_at <= latest + MS, f"{person} was last seen {latest}, not {seen_at}"
        missed = [look.at for look in good if not named or look.at > named[-1]]
        missed = [look for look in missed if not self._is_awaited(person, look)]
        return bool(missed) and missed[-1] - missed[0] >= CONFIRM

    def check_inside(self, inside: set[str], left_ids: set[str], good: list[Look], now: datetime) -> None:
        """Who was named or pushed is inside, and nobody who has been missing for long."""
        self._check_pushed(inside, left_ids, now)
        if not good:
            return
        last = good[-1]
        there = {person for person in (last.people or {}).values() if self._is_there(last, person, until=now)}
        assert there <= inside, "somebody is there and was not told"
        for person in inside - set((last.people or {}).values()):
            pushed = max((one.at for one in self.came(person)), default=None)
            missed: list[datetime] = []
            for look in reversed(good):
                if look.names(person) or (pushed is not None and look.at < pushed + GRACE):
                    break
                missed.append(look.at)
            assert not missed or missed[0] - missed[-1] < CONFIRM, f"{person} has left and it was not told"

    def _check_pushed(self, inside: set[str], left_ids: set[str], now: datetime) -> None:
        for one in self.heard:
            if not self._holds(one) or not one.believed or now - one.at >= GRACE:
                continue
            person = self.persons[one.id]
            gone = {other.id for other in self.went(person)}
            if not one.news.came:
                known = {id_ for look in self.looks for id_, whose in (look.people or {}).items() if whose == person}
                known |= {other.id for other in self.came(person)}
                assert known - gone or person not in inside, f"{person} has left by a push and it was not told"
            elif one.id not in gone | left_ids:
                assert person in inside, f"{person} has come by a push and it was not told"

    def _holds(self, one: Heard) -> bool:
        return one.sure and one.by is self.now_runs

    def _is_there(self, look: Look, person: str, until: datetime | None = None) -> bool:
        """Whether the answer names a connection that no push has said to be over."""
        return any(
            whose == person and not self.has_gone(id_, look.at - GRACE, until or look.at, surely=False)
            for id_, whose in (look.people or {}).items()
        )

    def _is_awaited(self, person: str, at: datetime) -> bool:
        """Whether an answer of that moment need not know yet of somebody who was pushed."""
        for one in self.came(person):
            first = next(other for other in self.came(person) if other.id == one.id)
            named = any(look.people and one.id in look.people and look.at <= at for look in self.looks)
            gone = any(other.id == one.id for other in self.went(person))
            if one is first and self._holds(one) and not named and not gone and one.at <= at < one.at + GRACE:
                return True
        return False
