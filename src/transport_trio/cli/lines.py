"""Messages of the service as lines for a person. What others wrote (names, say) cannot steer the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

COLOURS = {
    "session_created": "cyan",
    "participant_joined": "green",
    "participant_left": "yellow",
    "session_updated": "bright_black",
    "participants_ejected": "yellow",
    "permissions_changed": "bright_black",
    "message_sent": "bright_black",
    "token_created": "magenta",
    "token_renewed": "magenta",
    "token_expiring": "magenta",
    "token_expired": "magenta",
    "session_extended": "cyan",
    "recording_started": "cyan",
    "recording_updated": "bright_black",
    "recording_stopped": "cyan",
    "recording_ready": "cyan",
    "recording_error": "red",
    "transcription_started": "cyan",
    "transcription_updated": "bright_black",
    "transcription_stopped": "cyan",
    "transcript_ready": "cyan",
    "transcript_error": "red",
    "live_stream_started": "cyan",
    "live_stream_updated": "bright_black",
    "live_stream_ended": "cyan",
    "live_stream_error": "red",
    "session_ended": "blue",
    "session_summary": "blue",
    "snapshot": "cyan",
    "gap": "red",
    "error": "red",
}
CAPTURES = ("recording_", "transcript", "live_stream_")
GAP_REASONS = {
    "pruned": "they are older than what the service keeps",
    "epoch": "the service has a new journal",
    "ahead": "the service has not come that far",
}
# Talk between the service and its listener, of no news to a person.
SILENT = frozenset({"welcome", "ping", "pong", "subscribed"})
SHORT_ID = 8
NAMES_MAX = 8
KIND_WIDTH = max(len(kind) for kind in COLOURS)


def plain(value: object) -> str:
    """The text on one line, with every character that does not print (escape sequences, say) spelled out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(value))


class Lines:
    """Turns messages into lines; tells the date once a day instead of on every line."""

    def __init__(self) -> None:
        self._day = ""

    def of(self, message: Mapping[str, Any]) -> Iterator[str]:
        kind = str(message.get("type"))
        if kind in SILENT:
            return
        day, _, time = plain(message.get("time", "")).partition("T")
        if day and day != self._day:
            self._day = day
            yield click.style(f"-- {day} (UTC)", dim=True)
        if kind == "snapshot":
            yield from _snapshot(message)
            return
        label = click.style(f"{plain(kind):<{KIND_WIDTH}}", fg=COLOURS.get(kind))
        number = f"#{plain(message['id'])}" if "id" in message else ""
        # Ids begin with the time of their making: those of one minute differ at the end.
        session = plain(message.get("session_id", ""))[-SHORT_ID:]
        clock = time[:8]
        details = _recording(message) if kind.startswith(CAPTURES) else _details(kind, message)
        yield f"{clock:<8} {number:>7}  {label}  {session:<{SHORT_ID}}  {details}".strip()


def _snapshot(message: Mapping[str, Any]) -> Iterator[str]:
    sessions = message.get("sessions") or []
    label = click.style("snapshot", fg=COLOURS["snapshot"])
    yield f"-- {label} at #{plain(message.get('last_event_id'))}: {count(len(sessions), 'session')}" + (
        ", more to come" if message.get("more") else ""
    )
    for session in sessions:
        people = session.get("participants") or []
        yield f"   {plain(session.get('session_id'))}  {plain(session.get('status')):<8} {_names(people)}"


def _details(kind: str, message: Mapping[str, Any]) -> str:
    match kind:
        case "session_created":
            return f"{plain(message.get('session_id'))} at {plain(message.get('room_url'))}"
        case "participant_joined":
            again = " (had not left after all)" if message.get("again") else ""
            return f"{person(message.get('participant'))} joined{again}"
        case "participant_left":
            inferred = ", not seen any more" if message.get("source") == "inferred" else ""
            return f"{person(message.get('participant'))} left after {length(message.get('duration_s'))}{inferred}"
        case "session_updated":
            people = message.get("participants") or []
            total = message.get("participants_total", len(people))
            return f"{plain(message.get('status'))}, {plain(total)} in the room: {_names(people, total)}"
        case "participants_ejected":
            ban = ", and cannot come back" if message.get("ban") else ""
            return f"{_ids(message.get('participant_ids'), message.get('participants_total'))} put out{ban}"
        case "permissions_changed":
            return f"{_everybody(message.get('participant_id'))}: {_permissions(message.get('permissions'))}"
        case "message_sent":
            return f"{plain(message.get('data_bytes'))} bytes to {_everybody(message.get('recipient'))}"
        case "token_created" | "token_renewed" | "token_expiring" | "token_expired":
            who = message.get("participant_name") or message.get("user_id") or "the meeting token"
            return f"{plain(who)}: {plain(message.get('expires_at'))}"
        case "session_extended" | "session_ended" | "session_summary":
            return _end(message)
        case "gap":
            reason = GAP_REASONS.get(str(message.get("reason")), plain(message.get("reason")))
            return f"events after #{plain(message.get('after'))} are lost: {reason}; a snapshot follows"
        case "error":
            return f"{plain(message.get('code'))}: {plain(message.get('message'))}"
        case _:
            return "(a type that this version does not know; --json shows all of it)"


def person(who: object) -> str:
    """A participant's name, or what else tells them apart."""
    if not isinstance(who, Mapping):
        return "somebody"
    return plain(who.get("name") or who.get("user_id") or f"guest {str(who.get('id'))[:SHORT_ID]}")


def _end(message: Mapping[str, Any]) -> str:
    """Why a session has ended, when it will, or who was there."""
    if "people" in message:
        told = [f"{person(one)} {length(one.get('duration_s'))}" for one in message["people"][:NAMES_MAX]]
        missing = int(message.get("people_total") or 0) - len(told)
        return (", ".join(told) or "nobody was there") + (f" and {missing} more" if missing > 0 else "")
    if "reason" in message:
        return plain(message["reason"])
    early = message.get("participants_total")
    put_out = f"; {plain(early)} in the room will be put out before" if early else ""
    return f"until {plain(message.get('session_expires_at'))}{put_out}"


def _everybody(who: object) -> str:
    return "everybody" if who == "*" else plain(who)


def _ids(ids: object, total: object) -> str:
    shown = [plain(id_) for id_ in ids[:NAMES_MAX]] if isinstance(ids, list) else []
    missing = total - len(shown) if isinstance(total, int) else 0
    return ", ".join(shown) + (f" and {missing} more" if missing > 0 else "")


def _recording(message: Mapping[str, Any]) -> str:
    ids = (message.get(name) for name in ("recording_id", "transcript_id", "stream_id"))
    parts = [plain(next((id_ for id_ in ids if id_), "none"))]
    if message.get("duration_s") is not None:
        parts.append(f"{length(message['duration_s'])} long")
    if message.get("reason"):
        parts.append(plain(message["reason"]))
    return ", ".join(parts)


def _permissions(given: object) -> str:
    """`can_admin yes, can_send_audio no`."""
    if not isinstance(given, Mapping):
        return ""
    return ", ".join(f"{plain(name)} {'yes' if may else 'no'}" for name, may in given.items())


def _names(people: list[object], total: object = None) -> str:
    if not people:
        return "nobody"
    shown = ", ".join(person(who) for who in people[:NAMES_MAX])
    missing = (total if isinstance(total, int) else len(people)) - min(len(people), NAMES_MAX)
    return f"{shown} and {missing} more" if missing > 0 else shown


def length(seconds: object) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    if not isinstance(seconds, int | float):
        return "an unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(number: object, thing: str) -> str:
    """`1 session`, `2 sessions`."""
    return f"{plain(number)} {thing}" if number == 1 else f"{plain(number)} {thing}s"
