"""What a message on the bus looks like: subject, headers, size (contract, section 3). Pure functions."""

from __future__ import annotations

import re

from transport_trio.ports import BusMessage
from transport_trio.wire.out import timestamp

PREFIX = "transport.events"
SUBJECTS = f"{PREFIX}.>"
EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_OF = "Nats-Expected-Last-Subject-Sequence-Subject"
MESSAGE_ID = "Nats-Msg-Id"

_OUR_ID = re.compile(r"([^:\s]+):([0-9]{1,19})")


def subjects_of(session_id: str) -> str:
    """The filter that matches every message of a session, whatever its type."""
    return f"{PREFIX}.{session_id}.>"


def subject_of(message: BusMessage) -> str:
    return f"{PREFIX}.{message.event.session_id}.{message.event.type}"


def headers_of(message: BusMessage) -> dict[str, str]:
    """The contract's headers, and the fence where the message has one."""
    event = message.event
    headers = {
        MESSAGE_ID: f"{message.epoch}:{event.id}",
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": str(event.id),
        "ce-source": f"urn:uuid:{message.epoch}",
        "ce-type": f"transport_trio.{event.type}",
        "ce-time": timestamp(event.time),
        "ce-subject": event.session_id,
    }
    if message.expected_last is not None:
        headers[EXPECTED_LAST] = str(message.expected_last)
        headers[EXPECTED_LAST_OF] = subjects_of(event.session_id)
    return headers


def size_of(headers: dict[str, str], body: bytes) -> int:
    """The bytes that the server holds against its `max_payload`: headers count too.

    The client library looks at the body alone, and the server closes the connection of who sends more.
    """
    lines = sum(len(name) + len(value) + len(": \r\n") for name, value in headers.items())
    return len("NATS/1.0\r\n") + lines + len("\r\n") + len(body)


def identity_of(headers: dict[str, str] | None) -> tuple[str, int] | None:
    """(epoch, event id) of a stored message; None when somebody else wrote it."""
    match = _OUR_ID.fullmatch((headers or {}).get(MESSAGE_ID, ""))
    return (match[1], int(match[2])) if match else None
