"""Comparing what the journal holds with what listeners heard, what the stream stores and what the provider has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from drills.frame.report import Report
from nats_server import Stored

Events = Sequence[dict[str, Any]]


def check_heard(report: Report, who: str, heard: Events, journal: Events) -> None:
    """A listener heard exactly these events, in their order."""
    wanted = {event["id"]: event for event in journal}
    ids = [event["id"] for event in heard]
    report.none(f"{who} heard no event twice", _doubles(ids), of=len(ids))
    report.none(f"{who} missed no event", sorted(wanted.keys() - set(ids)), of=len(wanted))
    report.none(f"{who} heard in order", _disorder(ids), of=len(ids))
    report.none(f"{who} heard nothing else", [e["id"] for e in heard if wanted.get(e["id"]) != e], of=len(ids))


def check_stored(report: Report, who: str, stored: Sequence[Stored], journal: Events, *, in_order: bool = True) -> None:
    """The stream holds exactly these events, each once and in order for each session."""
    wanted = {event["id"]: event for event in journal}
    ids = [message.event_id for message in stored]
    report.none(f"{who} has no event twice", _doubles(ids), of=len(ids))
    report.none(f"{who} misses no event", sorted(wanted.keys() - set(ids)), of=len(wanted))
    report.none(
        f"{who} has nothing else",
        [m.event_id for m in stored if wanted.get(m.event_id) != json.loads(m.body)],
        of=len(ids),
    )
    if not in_order:
        return
    by_session: dict[str, list[int]] = {}
    for message in stored:
        by_session.setdefault(message.session_id, []).append(message.event_id)
    report.none(
        f"{who} is in order for each session",
        [s for s, own in by_session.items() if _disorder(own)],
        of=len(by_session),
    )


def check_dense(report: Report, journal: Events, after: int = 0) -> None:
    """The ids of the journal rise by one."""
    ids = [event["id"] for event in journal]
    wanted = list(range(after + 1, after + 1 + len(ids)))
    report.none(
        "event ids have no gap and no double", [a for a, b in zip(ids, wanted, strict=True) if a != b], of=len(ids)
    )


def check_stories(report: Report, journal: Events) -> None:
    """Each session is created once and first, ends at most once and last, and nobody leaves without having come."""
    stories: dict[str, list[dict[str, Any]]] = {}
    for event in journal:
        stories.setdefault(event["session_id"], []).append(event)
    report.none(
        "every session's story makes sense", [s for s, own in stories.items() if not _makes_sense(own)], of=len(stories)
    )


def _makes_sense(story: Events) -> bool:
    types = Counter(event["type"] for event in story)
    if types["session_created"] != 1 or story[0]["type"] != "session_created" or types["session_ended"] > 1:
        return False
    if types["session_ended"] and story[-1]["type"] != "session_ended":
        return False
    inside: set[str] = set()
    for event in story:
        who = event.get("participant", {}).get("id")
        if event["type"] == "participant_joined":
            if who in inside:
                return False
            inside.add(who)
        elif event["type"] == "participant_left":
            if who not in inside:
                return False
            inside.discard(who)
    return not (types["session_ended"] and inside)


def _doubles(ids: Sequence[int]) -> list[int]:
    return [each for each, count in Counter(ids).items() if count > 1]


def _disorder(ids: Sequence[int]) -> list[int]:
    return [b for a, b in pairwise(ids) if b < a]
