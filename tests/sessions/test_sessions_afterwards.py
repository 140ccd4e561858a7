"""A session that has ended is written to in one way, and told of only where that is wanted."""

from __future__ import annotations

import json

import attrs
import pytest
from session_builders import a_session, after

from fakes import MemoryJournal
from transport_trio.errors import VersionConflict
from transport_trio.events import Event, SessionUpdated
from transport_trio.models import EndReason, ProviderCleanup, Session
from transport_trio.ports import Change
from transport_trio.sessions.afterwards import CONFLICTS_MAX, change_ended
from transport_trio.sessions.lifecycle import EndWanted, Policy, decide

POLICY = Policy(confirm_s=15.0, token_warning_s=60.0)


def learn(session: Session) -> tuple[Session, tuple[Event, ...]]:
    event = SessionUpdated(session_id=session.id, time=after(100), status=session.status, participants=())
    return attrs.evolve(session, updated_at=after(100)), (event,)


async def ended(journal: MemoryJournal, *, events_after_end: bool) -> Session:
    session = attrs.evolve(a_session(), events_after_end=events_after_end)
    outcome = decide(session, EndWanted(at=after(50), reason=EndReason.REQUESTED), POLICY)
    stored = await journal.commit(Change(session=outcome.session))
    assert stored is not None
    return stored


class Contested(MemoryJournal):
    """Somebody else writes before so many of our commits."""

    def __init__(self, intruders: int) -> None:
        super().__init__()
        self.intruders = intruders

    async def commit(self, change: Change) -> Session | None:
        if self.intruders and change.session is not None and change.expected_version:
            self.intruders -= 1
            stored = self.stored[change.session.id]
            cleaned = attrs.evolve(stored, provider_cleanup=ProviderCleanup.DONE)
            await super().commit(Change(session=cleaned, expected_version=stored.version))
        return await super().commit(change)


async def test_only_who_asked_for_it_is_told() -> None:
    for wanted in (False, True):
        journal = MemoryJournal()
        session = await ended(journal, events_after_end=wanted)
        changed = await change_ended(journal, session.id, learn)
        assert changed is not None
        assert changed.updated_at == after(100)
        assert [json.loads(event.body)["after_end"] for event in journal.log] == [True] * wanted


async def test_what_somebody_else_wrote_in_between_stays() -> None:
    journal = Contested(intruders=CONFLICTS_MAX - 1)
    session = await ended(journal, events_after_end=False)
    changed = await change_ended(journal, session.id, learn)
    assert changed is not None
    assert (changed.updated_at, changed.version) == (after(100), session.version + CONFLICTS_MAX)
    assert changed.provider_cleanup is ProviderCleanup.DONE


async def test_endless_conflicts_end_in_an_error() -> None:
    journal = Contested(intruders=CONFLICTS_MAX)
    session = await ended(journal, events_after_end=False)
    with pytest.raises(VersionConflict):
        await change_ended(journal, session.id, learn)


async def test_nothing_learnt_is_nothing_written() -> None:
    journal = MemoryJournal()
    session = await ended(journal, events_after_end=True)
    assert await change_ended(journal, session.id, lambda session: (session, ())) == session
    assert len(journal.changes) == 1


async def test_a_session_that_is_gone_or_lives() -> None:
    journal = MemoryJournal()
    assert await change_ended(journal, a_session().id, learn) is None
    await journal.commit(Change(session=a_session()))
    with pytest.raises(ValueError, match="has not ended"):
        await change_ended(journal, a_session().id, learn)
