"""The service's answers about sessions as text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transport_trio.cli.lines import length, person, plain

SENDABLE = ("video", "audio", "screen_video", "screen_audio")

Fields = Sequence[tuple[str, object]]


def created(session: Mapping[str, Any], *, replayed: bool) -> str:
    """What somebody needs who has just created a session: the address and the token."""
    token = session.get("meeting_token")
    url = session.get("room_url")
    heading = f"session {plain(session.get('session_id'))} created at {plain(session.get('provider'))}"
    if replayed:
        heading += " (by an earlier request with this key)"
    fields = [
        ("room", url),
        ("session ends", session.get("session_expires_at")),
        ("token", token or "none: it has expired, or the session has ended"),
    ]
    if token:
        fields += [("token ends", session.get("expires_at")), ("join", f"{url}?t={token}")]
    return f"{heading}\n{block(fields)}"


def shown(session: Mapping[str, Any]) -> str:
    """All that is known of one session."""
    people = session.get("participants") or []
    fields = [
        ("session", session.get("session_id")),
        ("status", session.get("status")),
        ("provider", session.get("provider")),
        ("room", session.get("room_url")),
        ("created", session.get("created_at")),
        ("updated", session.get("updated_at")),
        ("session ends", session.get("session_expires_at")),
        ("token ends", session.get("expires_at")),
        *_set(session),
        ("looked into room", session.get("presence_checked_at") or "not yet"),
    ]
    if session.get("ended_at"):
        fields += [
            ("ended", f"{session['ended_at']} ({session.get('end_reason')})"),
            ("room's deletion", session.get("provider_cleanup")),
        ]
    fields.append(("participants", "nobody" if not people else len(people)))
    return "\n".join([block(fields), *(f"    {attendance(who)}" for who in people)])


def _set(session: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What may end it at another time than its end, and what its creator has set."""
    options = session.get("options") or {}
    if session.get("room_expires_at"):
        yield "room ends", session["room_expires_at"]
    if options.get("max_duration_s") is not None:
        yield "lasts at most", length(options["max_duration_s"])
    if options.get("empty_timeout_s") is not None:
        yield "empty timeout", length(options["empty_timeout_s"])
    if options.get("bot_user_id_prefix"):
        yield "bots' prefix", options["bot_user_id_prefix"]
    if options.get("events_after_end"):
        yield "events after end", "yes"
    if session.get("empty_since"):
        yield "empty since", session["empty_since"]
    if session.get("ends_empty_at"):
        yield "ends empty at", session["ends_empty_at"]


def attendance(who: Mapping[str, Any]) -> str:
    """Somebody in the room, with what is known of their rights and of when they are put out."""
    parts = [person(who)]
    if who.get("user_id"):
        parts.append(f"user {plain(who['user_id'])}")
    parts.append(f"since {plain(who.get('joined_at'))}")
    if who.get("is_owner"):
        parts.append("owner")
    may = who.get("permissions")
    if isinstance(may, Mapping):
        parts += ["admin"] if may.get("can_admin") else []
        parts.append(f"sends {_sent(may)}")
    if who.get("will_eject_at"):
        parts.append(f"put out at {plain(who['will_eject_at'])}")
    return ", ".join(parts)


def _sent(may: Mapping[str, Any]) -> str:
    kinds = [kind for kind in SENDABLE if may.get(f"can_send_{kind}")]
    return "all" if len(kinds) == len(SENDABLE) else " and ".join(kinds) or "nothing"


def listing(page: Mapping[str, Any]) -> str:
    """A table of sessions, and how to see more of them."""
    sessions = page.get("sessions") or []
    total = page.get("total", len(sessions))
    if not sessions:
        return "no sessions"
    columns = ("session_id", "status", "provider", "created_at", "room_name")
    rows = [["SESSION", "STATUS", "PROVIDER", "CREATED", "ROOM"]]
    rows += [[plain(session.get(column)) for column in columns] for session in sessions]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    footer = f"{len(sessions)} of {total}"
    if page.get("next_cursor"):
        footer += f"; more with --cursor {plain(page['next_cursor'])}"
    return f"{table}\n{footer}"


def extended(answer: Mapping[str, Any]) -> str:
    """The new end, who is put out before it, and the tokens for them."""
    lines = [f"session {plain(answer.get('session_id'))} ends at {plain(answer.get('session_expires_at'))}"]
    lines += [
        f"  put out before: {person(one.get('participant'))} at {plain(one.get('at'))}"
        for one in answer.get("will_still_be_ejected") or []
    ]
    for token in answer.get("tokens") or []:
        lines.append(f"  new token: {person(token.get('participant'))} {plain(token.get('meeting_token'))}")
    return "\n".join(lines)


def summed_up(answer: Mapping[str, Any]) -> str:
    """Everybody with their visits, and how far that is agreed on with the provider."""
    people = answer.get("people") or []
    lines = []
    for who in people:
        lines.append(f"{person(who)}: {length(who.get('duration_s'))}")
        for visit in who.get("visits") or []:
            span = f"{plain(visit.get('joined_at'))} to {plain(visit.get('left_at') or 'now')}"
            lines.append(f"    {span}, {length(visit.get('duration_s'))} ({plain(visit.get('source'))})")
    lines.append(
        f"{len(people) or 'nobody'} altogether, {plain(answer.get('people_at_most'))} at once at most;"
        f" the provider's account: {plain(answer.get('reconciled'))}"
    )
    return "\n".join(lines)


def ended(answer: Mapping[str, Any]) -> str:
    return f"session {plain(answer.get('session_id'))} ended"


def captured(one: Mapping[str, Any]) -> str:
    """All that is known of a recording or a transcript; what is not known yet is left out."""
    fields = [(name.removesuffix("_s").replace("_", " "), _value(name, value)) for name, value in one.items()]
    return block([(name, value) for name, value in fields if value is not None])


def _value(name: str, value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return length(value) if name == "duration_s" and value is not None else value


def block(fields: Fields) -> str:
    width = max(len(name) for name, _ in fields)
    return "\n".join(f"  {name:<{width}}  {plain(value)}" for name, value in fields)
