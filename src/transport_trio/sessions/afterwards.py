"""The one way to change a session that has ended, and to tell of it: it has no owner any more.

`session_ended` is a session's last event. Only who asked for `events_after_end` is told what came to be known later.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from transport_trio.errors import VersionConflict
from transport_trio.events import Event
from transport_trio.models import Session, SessionId
from transport_trio.ports import Change, Journal

# Others who write to a session behind its end are the reaper, once, and those who come this way.
CONFLICTS_MAX = 5

Learn = Callable[[Session], tuple[Session, tuple[Event, ...]]]


async def change_ended(journal: Journal, session_id: SessionId, learn: Learn) -> Session | None:
    """Store what `learn` makes of the session, and tell its events where the session asked for that.

    `learn` is called with the session as stored, again when somebody else wrote in between. The session afterwards;
    None when it is not kept any more.

    Raises:
        ValueError: the session has not ended; its owner is the one to ask.
        StorageUnavailable: nothing was stored.
        VersionConflict: it was written in between again and again; nothing was stored.

    Cancellation: it is stored and told, or neither.
    """
    for attempt in range(1, CONFLICTS_MAX + 1):
        session = await journal.get(session_id)
        if session is None:
            return None
        if not session.has_ended:
            raise ValueError(f"session {session_id} has not ended")
        learnt, events = learn(session)
        told = tuple(attrs.evolve(event, after_end=True) for event in events) if session.events_after_end else ()
        if learnt == session and not told:
            return session
        try:
            return await journal.commit(Change(session=learnt, expected_version=session.version, events=told))
        except VersionConflict:
            if attempt == CONFLICTS_MAX:
                raise
    raise AssertionError("the last attempt returns or raises")
