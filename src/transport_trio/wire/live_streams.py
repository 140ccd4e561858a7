"""What comes in about live streams, read as strictly as `POST /sessions`, and how they are shown.

An address to stream to holds a key. What is refused of it is said without repeating it, and of what is accepted only
the host is ever shown.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

import attrs
from msgspec import UNSET, Meta, UnsetType

from transport_trio.errors import InvalidRequest
from transport_trio.models import Capture, CaptureKind, CaptureOptions, Session
from transport_trio.wire.captures import PictureBody, picture_options, shown_times
from transport_trio.wire.requests import body_of

ADDRESSES_MAX = 10
URL_MAX_CHARS = 1024
NAME_MAX_CHARS = 128

Urls = Annotated[list[Annotated[str, Meta(max_length=URL_MAX_CHARS)]], Meta(min_length=1, max_length=ADDRESSES_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX_CHARS, pattern="^[^:/@\\s]+$")]
Names = Annotated[list[Name], Meta(min_length=1, max_length=ADDRESSES_MAX)]


class LiveStreamBody(PictureBody, frozen=True):
    rtmp_urls: Urls | UnsetType = UNSET
    endpoints: Names | UnsetType = UNSET
    additional: bool = False


def live_stream_options(data: bytes, managed: frozenset[str]) -> CaptureOptions:
    """How and where to a call is to be streamed.

    Raises:
        InvalidRequest: it has the wrong shape, or does not say where to in exactly one way.
    """
    body = body_of(data or b"{}", LiveStreamBody)
    if (body.rtmp_urls is UNSET) == (body.endpoints is UNSET):
        raise InvalidRequest(("$.rtmp_urls", "either this or endpoints is required, and not both"))
    options = picture_options(body, managed)
    if body.endpoints is not UNSET:
        return attrs.evolve(options, destinations=tuple(body.endpoints))
    urls = body.rtmp_urls or []
    hosts = [_host_of(url) for url in urls]
    faults = [
        (f"$.rtmp_urls[{number}]", "must be an rtmp:// or rtmps:// address with a host")
        for number, host in enumerate(hosts)
        if host is None
    ]
    if faults:
        raise InvalidRequest(*faults)
    return attrs.evolve(options, destinations=tuple(host for host in hosts if host is not None))


def _host_of(url: str) -> str | None:
    """The host alone; None: it is no address to stream to."""
    if not url.isprintable() or not url.isascii() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"rtmp", "rtmps"} and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts.hostname or None if usable else None


def live_stream_answer(capture: Capture) -> dict[str, Any]:
    times = shown_times(capture)
    return {
        "stream_id": capture.id,
        "status": capture.status.value,
        "destinations": list(capture.destinations),
        **{name: times[name] for name in ("started_by", "requested_at", "started_at")},
        "ended_at": times["stopped_at"],
        "error": capture.error,
    }


def live_streams_answer(session: Session) -> dict[str, Any]:
    """All of a session's, the oldest first."""
    streams = [live_stream_answer(one) for one in session.captures if one.kind is CaptureKind.LIVE_STREAM]
    return {"live_streams": streams, "total": len(streams)}
