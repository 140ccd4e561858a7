"""Clients that hang up: at which point each does, and what may and must have become of its request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import attrs

from drills.frame.report import Report
from drills.parts.creations import Creation, creation_number


class Point(StrEnum):
    """How far the client comes."""

    HEAD_PART = "after part of the head"
    HEAD = "after the head of a POST"
    BODY_PART = "in the middle of the body"
    WHOLE = "after the whole request"
    WAITING = "while it waits for its answer"
    READING = "while it reads its answer"


OF_POST = tuple(Point)
OF_DELETE = (Point.HEAD_PART, Point.WHOLE, Point.WAITING, Point.READING)
UNFINISHED = {Point.HEAD_PART, Point.HEAD, Point.BODY_PART}


class Again(StrEnum):
    """Whether the client of a POST asks again with its key."""

    NEVER = "never"
    AT_ONCE = "at once"
    LATER = "later"


@attrs.define(eq=False)
class Client:
    point: Point
    reset: bool
    creation: Creation  # what it makes, or what its DELETE ends
    again: Again | None = None  # None: it is a DELETE
    answered: bool = False  # the beginning of an answer was read

    @property
    def unfinished(self) -> bool:
        return self.point in UNFINISHED


def check_clients(
    report: Report,
    clients: Sequence[Client],
    sessions: Sequence[dict[str, Any]],
) -> None:
    """What was begun is done and whole, and what did not come whole was never begun."""
    posts = [client for client in clients if client.again]
    deletes = [client for client in clients if not client.again]
    count = Counter(creation_number(one) for one in sessions)
    ended = {one["session_id"] for one in sessions if one["status"] == "Ended"}

    def but(those: Sequence[Client], allowed: set[int]) -> list[str]:
        found = [(client, count[client.creation.number]) for client in those]
        return [f"{client.creation.key}, {client.point}: {many}" for client, many in found if many not in allowed]

    once = [client for client in posts if client.again is Again.NEVER]
    unfinished = [client for client in once if client.unfinished]
    again = [client for client in posts if client.again is not Again.NEVER]
    answered = [client for client in posts if client.answered]
    report.none("a POST that did not come whole begins nothing", but(unfinished, {0}), of=len(unfinished))
    report.none("one that is not asked again makes one session or none", but(once, {0, 1}), of=len(once))
    report.none("one asked again with its key has exactly one session", but(again, {1}), of=len(again))
    report.none("one whose answer began has its session", but(answered, {1}), of=len(answered))
    unfinished = [client for client in deletes if client.unfinished]
    wrong = [client.creation.key for client in unfinished if client.creation.session_id in ended]
    report.none("a DELETE that did not come whole ends nothing", wrong, of=len(unfinished))
    answered = [client for client in deletes if client.answered]
    wrong = [client.creation.key for client in answered if client.creation.session_id not in ended]
    report.none("one whose answer began has ended its session", wrong, of=len(answered))
    _count(report, clients, count, ended)


def _count(report: Report, clients: Sequence[Client], count: Counter[int], ended: set[str]) -> None:
    whole = [client for client in clients if not client.unfinished and not client.answered]
    made = [client for client in whole if client.again is Again.NEVER and count[client.creation.number]]
    done = [client for client in whole if not client.again and client.creation.session_id in ended]
    report.count("clients that hung up", len(clients))
    report.count("of these with RST", sum(client.reset for client in clients))
    report.count("sessions made for a client that had gone", len(made))
    report.count("sessions ended for a client that had gone", len(done))
