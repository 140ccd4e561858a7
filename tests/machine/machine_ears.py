"""Whether a listener heard all that its filter lets through, once and in order, and nothing else."""

from __future__ import annotations

from typing import Any

from machine_client import Client, Seen, Stretch

from transport_trio.events import EventType, RecordedEvent
from transport_trio.hub import Filter

Log = list[tuple[RecordedEvent, dict[str, Any]]]


def check_client(client: Client, log: Log) -> None:
    assert not client.gaps, f"a gap that nobody made: {client.gaps}"
    for seen in client.snapshots:
        _check_snapshot(seen, log)
    client.snapshots.clear()
    up_to_date = client.listener is not None and client.reading
    for stretch in client.stretches:
        last = stretch is client.stretches[-1]
        _check_stretch(stretch, log, complete=not last or up_to_date)
    if client.stretches:
        del client.stretches[:-1]


def _check_stretch(stretch: Stretch, log: Log, *, complete: bool) -> None:
    end = len(log) if stretch.end is None else stretch.end
    owed = [body for event, body in log[stretch.start : end] if _wanted(stretch.filter, event)]
    if not complete:
        owed = owed[: len(stretch.heard)]
    assert stretch.heard == owed, "a listener heard something else than the journal tells"


def _check_snapshot(seen: Seen, log: Log) -> None:
    states: dict[str, tuple[str, list[Any]]] = {}
    for event, body in log[: seen.last_event_id]:
        wanted = seen.filter.session_ids is None or event.session_id in seen.filter.session_ids
        if event.type is EventType.SESSION_ENDED:
            states.pop(event.session_id, None)
        elif wanted and event.type is EventType.SESSION_CREATED:
            states[event.session_id] = (body["status"], [])
        elif wanted and event.type is EventType.SESSION_UPDATED:
            states[event.session_id] = (body["status"], body["participants"])
    shown = {one["session_id"]: (one["status"], one["participants"]) for one in seen.sessions}
    assert shown == states, "a snapshot shows something else than the journal tells"


def _wanted(filter_: Filter, event: RecordedEvent) -> bool:
    return (filter_.session_ids is None or event.session_id in filter_.session_ids) and (
        filter_.types is None or event.type in filter_.types
    )
