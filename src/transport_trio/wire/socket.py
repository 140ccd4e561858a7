"""The WebSocket's words: client messages, decoded strictly, and the frames that the server sends.

A frame is built once and is the same for every listener: what a server sends is not masked (RFC 6455, 5.1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated, Any

import msgspec

from transport_trio.errors import BadMessage
from transport_trio.events import EventType
from transport_trio.models import Session
from transport_trio.wire.out import PARTICIPANTS_MAX, encode, session_detail

MESSAGE_MAX_BYTES = 4096
MESSAGE_MAX_PIECES = 64  # empty ones have no size, yet each costs work
SNAPSHOT_MAX_BYTES = 256 * 1024
# Leaves room for the envelope of a snapshot frame with a 19-digit id.
SNAPSHOT_SESSION_MAX_BYTES = SNAPSHOT_MAX_BYTES - 128
SESSION_ID_MAX_CHARS = 128  # ours have 36; longer ones cannot match and need not be kept

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A  # first byte of an unfragmented frame


class Close(Enum):
    """Why we close a listener: the close code, the label of `transport_listeners_dropped`, and the words."""

    STOPPING = (1001, "stopping", "the service is stopping; come back with after")
    PROTOCOL = (1002, "protocol", "that is not the WebSocket protocol")
    NOT_UTF8 = (1007, "not_utf8", "a text message is not valid UTF-8")
    TOO_BIG = (1009, "too_big", f"a message of over {MESSAGE_MAX_BYTES} bytes or {MESSAGE_MAX_PIECES} pieces")
    TOO_SLOW = (4008, "too_slow", "too slow; come back with after")
    BAD_MESSAGES = (4400, "bad_messages", "too many bad messages")
    SILENT = (4408, "silent", "nothing heard for three heartbeats")
    FLOODING = (4429, "flooding", "too many messages")

    def __init__(self, code: int, label: str, words: str) -> None:
        self.code, self.label, self.words = code, label, words


# --- from the client -----------------------------------------------------------------------------------------


class Ping(msgspec.Struct, tag="ping", forbid_unknown_fields=True, frozen=True):
    """Answered with a `pong`."""


class Pong(msgspec.Struct, tag="pong", forbid_unknown_fields=True, frozen=True):
    """The answer to our `ping`; being heard is all it is for."""


class Subscribe(msgspec.Struct, tag="subscribe", forbid_unknown_fields=True, frozen=True):
    """Replaces the filter; null, or left out, lets everything through."""

    session_ids: list[Annotated[str, msgspec.Meta(min_length=1, max_length=SESSION_ID_MAX_CHARS)]] | None = None
    types: list[EventType] | None = None


ClientMessage = Ping | Pong | Subscribe
_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def client_message(text: str) -> ClientMessage:
    """The message that a listener sent.

    Raises:
        BadMessage: it is not JSON, no object, of unknown type, or of the wrong shape; says where and what.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as exc:
        raise BadMessage(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise BadMessage(f"not JSON: {exc}") from exc
    except RecursionError as exc:
        raise BadMessage("nested too deeply") from exc


# --- to the client: bodies -----------------------------------------------------------------------------------


def welcome(*, listener_id: str, epoch: str, last_event_id: int, heartbeat_s: float) -> bytes:
    return _body("welcome", listener_id=listener_id, epoch=epoch, last_event_id=last_event_id, heartbeat_s=heartbeat_s)


def gap(*, after: int, oldest: int, reason: str, epoch: str) -> bytes:
    """The history after `after` is gone. `epoch` is the journal's now: another one than before, if that is why."""
    return _body("gap", after=after, oldest=oldest, reason=reason, epoch=epoch)


def subscribed(last_event_id: int) -> bytes:
    return _body("subscribed", last_event_id=last_event_id)


def error(code: str, message: str) -> bytes:
    return _body("error", code=code, message=message)


def ping(last_event_id: int) -> bytes:
    return _body("ping", last_event_id=last_event_id)


def pong() -> bytes:
    return _body("pong")


def snapshots(sessions: Iterable[Session], last_event_id: int) -> Iterator[bytes]:
    """The sessions in one or more bodies of at most `SNAPSHOT_MAX_BYTES`; `more` is true on all but the last."""
    head = b'{"type":"snapshot","last_event_id":%d,"sessions":[' % last_event_id
    parts: list[bytes] = []
    size = 0
    for session in sessions:
        part = _snapshot_session(session)
        if size + len(part) > SNAPSHOT_SESSION_MAX_BYTES:
            yield head + b",".join(parts) + b'],"more":true}'
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 1
    yield head + b",".join(parts) + b'],"more":false}'


def _snapshot_session(session: Session) -> bytes:
    """A session as `GET /sessions/{id}` shows it, with its first participants, cut to what fits into one frame."""
    shown = session_detail(session)
    shown["participants_total"] = len(shown["participants"])
    shown["participants"] = shown["participants"][:PARTICIPANTS_MAX]
    body = encode(shown)
    if len(body) > SNAPSHOT_SESSION_MAX_BYTES:
        # A provider's own object can be of any size; who wants it asks for the session.
        shown["provider_metadata"] = {}
        body = encode(shown)
    while len(body) > SNAPSHOT_SESSION_MAX_BYTES and shown["participants"]:
        shown["participants"] = shown["participants"][: len(shown["participants"]) * 3 // 4]
        body = encode(shown)
    return body


def _body(type_: str, **fields: Any) -> bytes:
    return encode({"type": type_, **fields})


# --- to the client: frames -----------------------------------------------------------------------------------


def text_frame(body: bytes) -> bytes:
    return _frame(TEXT, body)


def ping_frame(last_event_id: int) -> bytes:
    """A heartbeat: the RFC 6455 ping that every client library answers by itself, and our `ping` message.

    In this order: a client that hangs up on reading our message would else find a ping behind its own close frame,
    which trio-websocket 0.12 does not bear.
    """
    return _frame(PING, b"") + text_frame(ping(last_event_id))


def pong_frame(payload: bytes) -> bytes:
    """The RFC 6455 answer to a ping with this payload of at most 125 bytes."""
    return _frame(PONG, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 0x10000:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(close: Close) -> bytes:
    return _frame(CLOSE, struct.pack("!H", close.code) + close.words.encode())


def frames_end(run: bytes, at: int) -> int:
    """Where, in a run of frames as we build them, the frame ends that `at` is in; `at` itself between two frames."""
    end = 0
    while end < at:
        size = run[end + 1]
        if size < 126:
            end += 2 + size
        elif size == 126:
            end += 4 + int.from_bytes(run[end + 2 : end + 4])
        else:
            end += 10 + int.from_bytes(run[end + 2 : end + 10])
    return end
